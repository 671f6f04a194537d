"""Geometry: the crystal in the microscope, the incident wave, tilts and the symmetry among them."""
