"""Reading CIF files (gemmi does the syntax, the operations and the numbers with uncertainties)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from gemmi import cif

from lacbed.crystals.cell import Cell
from lacbed.crystals.cif_consistency import checked, contradictions
from lacbed.crystals.cif_loops import forget_loops
from lacbed.crystals.cif_names import Symmetry
from lacbed.crystals.cif_sites import read_sites
from lacbed.crystals.cif_symmetry import Reading, fits_cell, read_symmetry
from lacbed.crystals.cif_text import (
    ANGLE_TAGS,
    CELL_TAGS,
    NOTE_TAG,
    SOURCE_TAG,
    decode_cif,
    has_atoms,
    number,
    parse_blocks,
    tags_of,
    text_of,
    tidied,
    values_by_tag,
)
from lacbed.crystals.crystal import Crystal
from lacbed.errors import CrystalError

MAX_BYTES = 50_000_000

_MAGNETIC = re.compile(r"^_(space_group|symmetry|magnetic).*(magn|bns|_og_|_og$)|^_magnetic|_time_reversal")
_MODULATED = re.compile(
    r"_ssg_|_ssg\b|^_space_group_ssg|^_cell_modulation|^_cell_wave_vector|^_cell_subsystem|^_atom_sites_modulation"
    r"|^_atom_sites?_(fourier|displace_|phason|occ_fourier|occ_special|u_fourier|rot_|moment_fourier|moment_special)"
    r"|^_superspace|_superspace_"
)
_MOMENT = re.compile(r"^_atom_site_moment")


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
    return parse_cif(decode_cif(content), path.stem, block, origin=path.name)


def parse_cif(text: str, name: str | None = None, block: str | None = None, origin: str = "CIF") -> Crystal:
    """Read one crystal from the text of a CIF; `origin` names the text in messages.

    Symmetry comes from the listed operations, else from the Hall and Hermann-Mauguin symbols, which must agree,
    else from the number (reference setting), else P1. Where that leaves a choice of origin or axes, the cell
    decides, then the content that the file states, and what remains open is noted. Displacements come from
    U_ij, B_ij, U_iso or B_iso, whichever is there; an atom without any gets B = 0.5 Å² and a note. Charges are
    noted and do not change the factors.
    Without a `name`, the common name in the file or the name of the block is used.

    Raises:
        CrystalError: see `read_cif`.
    """
    blocks = parse_blocks(text, origin)
    title = name or "crystal"
    try:
        found = choose_block(blocks, block)
        notes: list[str] = []
        _refuse_other_kinds(found, notes)
        data = tidied(found, notes)
        title = name or text_of(data.find_value("_chemical_name_common")) or data.name or title
        source = text_of(data.find_value(SOURCE_TAG)) or origin
        notes = [text_of(value) for value in data.find_values(NOTE_TAG)] + notes
        cell = _read_cell(data)
        reading = read_symmetry(data, cell, notes)
        sites = tuple(read_sites(data, cell, notes))

        def build(symmetry: Symmetry) -> Crystal:
            kept = tuple(filter(None, dict.fromkeys(notes)))
            return Crystal(title, cell, sites, symmetry.operations, symmetry.symbol, kept, source)

        symmetry, note = _choose_symmetry(reading, build, data)
        notes += [note, _angles_note(data, cell, symmetry.operations)]
        return checked(data, build(symmetry))
    except CrystalError as error:
        raise CrystalError(f"{origin}: {str(error).removeprefix(f'{title}: ')}") from None
    finally:
        forget_loops()


def choose_block(blocks: list[cif.Block], wanted: str | None) -> cif.Block:
    """The block of a name (in upper or lower case), or the only one with atoms.

    Raises:
        CrystalError: if there is none, or several without a name to choose by.
    """
    if wanted is not None:
        names = (wanted.lower(), wanted.lower().removeprefix("data_"))
        named = [b for b in blocks if b.name == wanted] or [b for b in blocks if b.name.lower() in names]
        holding = [b for b in named if has_atoms(b)] or named
        if not holding:
            raise CrystalError(f"no data block {wanted!r}; there are {[b.name for b in blocks[:12]]}")
    else:
        holding = [b for b in blocks if has_atoms(b)]
        if not holding:
            raise CrystalError("no atoms; expected one loop with _atom_site_fract_x, _y and _z as numbers")
    if len(holding) > 1:
        listed = ", ".join(b.name for b in holding[:6])
        how = f"choose one with --block {shlex.quote(holding[0].name)} (in Python, block=...)"
        if wanted is not None or len({b.name.lower() for b in holding}) < len(holding):
            how = "give each a name of its own"
        raise CrystalError(f"{len(holding)} data blocks hold atoms ({listed}); {how}")
    return holding[0]


@lru_cache(maxsize=4096)
def _kind_of_tag(tag: str) -> str:
    """What a tag describes besides the crystal of the nuclei: "magnetic", "modulated", "moments", or ""."""
    patterns = {"magnetic": _MAGNETIC, "modulated": _MODULATED, "moments": _MOMENT}
    name = tag.lower().replace(".", "_")
    return next((kind for kind, pattern in patterns.items() if pattern.search(name)), "")


def _refuse_other_kinds(data: cif.Block, notes: list[str]) -> None:
    """Refuse superspace and magnetic symmetry under every name; moments without it are noted.

    Raises:
        CrystalError: naming the tag.
    """
    moments = False
    if not any(map(_kind_of_tag, tags_of(data))):
        return
    for tag, values in values_by_tag(data):
        kind = _kind_of_tag(tag)
        if not kind or not any(text_of(value) not in ("", "0") for value in values):
            continue
        if kind == "magnetic":
            raise CrystalError(f"magnetic symmetry operations ({tag}); expected the CIF of the nuclear structure")
        if kind == "modulated":
            raise CrystalError(f"a modulated structure in superspace ({tag}); expected one in three dimensions")
        moments = True
    if moments:
        notes.append("magnetic moments left out; the crystal of the atoms is used")


def _choose_symmetry(
    reading: Reading, build: Callable[[Symmetry], Crystal], data: cif.Block
) -> tuple[Symmetry, str]:
    """The likeliest symmetry, or the only other one that gives the stated content; and the note on it.

    Formula times Z, multiplicities and density are compared. An open choice whose atoms collide is no choice.

    Args:
        reading: the choices.
        build: makes the crystal of a choice.
        data: the data block.

    Raises:
        CrystalError: from `build`, if no choice is left.
    """
    first = reading.choices[0]
    usual = f"{reading.doubt}; {reading.verdict}" if reading.verdict else ""
    if len(reading.choices) == 1:
        return first, usual
    try:
        fails, why = contradictions(data, build(first)) > 0, "the content that the file states"
    except CrystalError:
        if not reading.is_open:
            raise
        fails, why = True, "a crystal without collisions"
    if not fails:
        return first, usual
    fitting = []
    for symmetry in reading.choices[1:]:
        try:
            found = contradictions(data, build(symmetry))
        except CrystalError:
            continue
        if found == 0 or (found < 0 and why != "the content that the file states"):
            fitting.append(symmetry)
    if len(fitting) != 1:
        return first, usual
    return fitting[0], f"{reading.doubt}; {fitting[0].symbol} is used, which alone gives {why}"


def _angles_note(data: cif.Block, cell: Cell, operations: tuple[str, ...]) -> str:
    """A note on angles that are not given though the symmetry leaves them free."""
    free = []
    for place, tag in enumerate(ANGLE_TAGS, start=3):
        a, b, c, alpha, beta, gamma = (value + 2.0 * (i == place) for i, value in enumerate(cell))
        if data.find_value(tag) is None and fits_cell(operations, (a, b, c, alpha, beta, gamma)):
            free.append(tag.removeprefix("_cell_angle_"))
    return f"{', '.join(free)} not given; 90 degrees assumed" if free else ""


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
