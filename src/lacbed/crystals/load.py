"""One text for a crystal: the path of a CIF or the name of a built-in crystal."""

from __future__ import annotations

from pathlib import Path

from lacbed.crystals.cif import read_cif
from lacbed.crystals.crystal import Crystal
from lacbed.crystals.named import has_name, named_crystal
from lacbed.errors import CrystalError

_SUFFIXES = (".cif", ".mcif")


def load_crystal(text: str, block: str | None = None) -> Crystal:
    """Read a CIF, or make a built-in crystal: "SrTiO3", "my/crystal.cif".

    A text with a directory or the suffix .cif or .mcif is a path; so is the name of any file that exists,
    unless a built-in crystal has that name (write "./Si" for a file called Si).

    A `block` chooses among the data blocks of a CIF.

    Raises:
        CrystalError: if it is neither, if the CIF cannot be used, or if a block is named for a built-in crystal.
    """
    looks_like_path = "/" in text or "\\" in text or text.lower().endswith(_SUFFIXES)
    if looks_like_path:
        return read_cif(text, block)
    if _exists(text) and not has_name(text):
        return read_cif(text, block)
    if block is not None and has_name(text):
        raise CrystalError(f"{text} is a built-in crystal; --block {block} chooses a data block of a CIF")
    try:
        return named_crystal(text)
    except CrystalError as error:
        raise CrystalError(f"{error}; nor is there a file of that name (a CIF)") from None


def _exists(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):
        return False
