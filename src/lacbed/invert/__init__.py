"""From measured patterns back to the crystal: experiments, fit, identification, refinement, retrieval."""
