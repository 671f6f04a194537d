"""What makes the pages that are not written by hand: commands, errors, drawings, the gallery."""
