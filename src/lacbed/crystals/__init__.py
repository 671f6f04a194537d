"""Crystals: structures that have been checked, and where they come from."""

from lacbed.crystals.crystal import Crystal
from lacbed.crystals.site import Site

__all__ = ["Crystal", "Site"]
