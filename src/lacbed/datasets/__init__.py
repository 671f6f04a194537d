"""Data sets of LACBED patterns: built from a catalogue, stored compactly, read by learning and by people."""
