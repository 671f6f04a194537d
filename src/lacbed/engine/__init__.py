"""Patterns of one flat Laue zone within a stated tolerance: see `lacbed.engine.zone`."""
