"""Measured stacks: reading, geometry, the check against their own Bragg lines."""
