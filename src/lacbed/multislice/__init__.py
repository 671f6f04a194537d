"""The other method of dynamical diffraction, a simulator of its own (extra: multislice)."""
