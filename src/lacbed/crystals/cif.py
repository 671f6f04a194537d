"""Reading CIF files (gemmi does the syntax, the operations and the numbers with uncertainties)."""

from __future__ import annotations

import re
from pathlib import Path

from gemmi import cif

from lacbed.crystals.cell import Cell
from lacbed.crystals.cif_consistency import checked
from lacbed.crystals.cif_sites import read_sites
from lacbed.crystals.cif_symmetry import read_symmetry
from lacbed.crystals.cif_values import ANGLE_TAGS, CELL_TAGS, NOTE_TAG, SOURCE_TAG, number, text_of
from lacbed.crystals.crystal import Crystal
from lacbed.errors import CrystalError

MAX_BYTES = 50_000_000


def read_cif(path: str | Path, block: str | None = None) -> Crystal:
    """Read one crystal from a CIF file; it is named after the file.

    Args:
        path: the file.
        block: name of the data block, needed if several blocks hold atoms.

    Raises:
        CrystalError: if there is no such file, it is not a CIF, or it does not hold exactly one crystal.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise CrystalError(f"{path} is a directory; expected a CIF file")
        if not path.is_file():
            raise CrystalError(f"no such file: {path}")
        if path.stat().st_size > MAX_BYTES:
            raise CrystalError(f"{path} is larger than {MAX_BYTES // 10**6} MB; that is not a crystal's CIF")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, CrystalError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise CrystalError(f"cannot read {str(path)!r}: {reason}") from None
    return parse_cif(content.decode("utf-8-sig", errors="replace"), path.stem, block, origin=path.name)


def parse_cif(text: str, name: str | None = None, block: str | None = None, origin: str = "CIF") -> Crystal:
    """Read one crystal from the text of a CIF; `origin` names the text in messages.

    Symmetry comes from the listed operations, else from the Hall or Hermann-Mauguin symbol, else from the
    number (reference setting), else P1. Displacements come from U_ij, B_ij, U_iso or B_iso, whichever is
    there; an atom without any gets B = 0.5 Å² and a note. Charges are noted and do not change the factors.
    Without a `name`, the common name in the file or the name of the block is used.

    Raises:
        CrystalError: see `read_cif`.
    """
    document = _parse(text, origin)
    title = name or "crystal"
    try:
        data = _choose_block(document, block)
        title = name or text_of(data.find_value("_chemical_name_common")) or data.name or title
        notes = [text_of(value) for value in data.find_values(NOTE_TAG)]
        cell = _read_cell(data)
        operations, symbol = read_symmetry(data, cell, notes)
        sites = read_sites(data, cell, notes)
        source = text_of(data.find_value(SOURCE_TAG)) or origin
        crystal = Crystal(title, cell, tuple(sites), operations, symbol, tuple(dict.fromkeys(notes)), source)
        return checked(data, crystal)
    except CrystalError as error:
        raise CrystalError(f"{origin}: {str(error).removeprefix(f'{title}: ')}") from None


def _parse(text: str, origin: str) -> cif.Document:
    if not text.strip():
        raise CrystalError(f"{origin} is empty; expected a CIF, which starts with data_...")
    if "\0" in text:
        raise CrystalError(f"{origin} is not a CIF: it is a binary file; a CIF is plain text with data_...")
    try:
        return cif.read_string(text.encode("utf-8", errors="replace").decode())
    except (ValueError, RuntimeError) as error:
        said = re.sub(r"^string:(\d+):\S*:", r"line \1:", " ".join(str(error).split()))
        detail = said[:120] or "no reason given"
        raise CrystalError(f"{origin} is not a CIF: {detail}") from None


def _choose_block(document: cif.Document, wanted: str | None) -> cif.Block:
    if wanted is not None:
        found = next((b for b in document if b.name == wanted), None)
        if found is None:
            raise CrystalError(f"no data block {wanted!r}; there are {[b.name for b in document]}")
        return found
    holding = [b for b in document if b.find_values("_atom_site_fract_x")]
    if not holding:
        raise CrystalError("no atoms; expected a loop with _atom_site_fract_x, _y and _z")
    if len(holding) > 1:
        names = ", ".join(b.name for b in holding[:6])
        raise CrystalError(f"{len(holding)} data blocks hold atoms ({names}); choose one by name")
    return holding[0]


def _read_cell(data: cif.Block) -> Cell:
    values = {tag: number(data.find_value(tag), tag) for tag in CELL_TAGS}
    for tag in ANGLE_TAGS:
        if data.find_value(tag) is None:
            values[tag] = 90.0  # the CIF dictionary's default
    missing = [tag for tag, value in values.items() if value is None]
    if missing:
        raise CrystalError(f"no unit cell; {', '.join(missing)} missing, expected a number")
    a, b, c, alpha, beta, gamma = (value for value in values.values() if value is not None)
    return a, b, c, alpha, beta, gamma
