"""A crystal refined against measured patterns: parameters, beams and waves, exact gradients, stages, reports."""
