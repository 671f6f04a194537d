"""Patterns within a stated tolerance: see `lacbed.engine.zone`."""
