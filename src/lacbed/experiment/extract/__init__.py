"""From a tilt series of camera frames to a stack: reading, finding, putting right, integrating, writing."""
