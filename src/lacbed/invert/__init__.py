"""From measured patterns back to the crystal."""
