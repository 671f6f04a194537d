"""A crystal compared with an experiment: thickness, common geometry, figures of merit."""
