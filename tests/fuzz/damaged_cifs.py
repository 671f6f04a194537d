"""CIFs with seeded damage: refused in one line, read as the same crystal, or read as another with a note.

Only a change of numbers that nothing else in the file can show may make another crystal without a note. A file
typed by hand says nothing twice: what in it became another crystal without a note is counted apart.

python tests/fuzz/damaged_cifs.py --count 2000 --seed 1
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from gemmi import cif

sys.path.insert(0, str(Path(__file__).parent))
from cif_damage import KINDS
from cif_sources import PROGRAMS, whole_cifs
from damage import Tally, verdict_of

from lacbed.crystals import Crystal
from lacbed.crystals.site import STANDING_STILL
from lacbed.errors import CrystalError

LIMIT = 5.0
"""Seconds after which an input counts as one that hangs."""

SAME = 1e-6
"""Of a coordinate, an occupancy, a relative length, a displacement in Å²."""

FINE = (
    "refused",
    "equal",
    "different with a note",
    "different by digits that nothing shows",
    "different, in a file that says nothing twice",
)
_NUMBERS = re.compile(
    r"_atom_site_(fract_[xyz]|occupancy|[ub]_iso_or_equiv|aniso_[ub]_\d\d)|_cell_(length|angle)_\w+"
)


def same_crystal(one: Crystal, other: Crystal) -> bool:
    """Whether two crystals have the same cell and, in any order, the same atoms."""
    first, second = one.atoms, other.atoms
    if len(first) != len(second) or not np.allclose(one.cell, other.cell, rtol=SAME, atol=0.0):
        return False
    step = first.xyz[:, None] - second.xyz[None]
    near = np.abs(step - np.round(step)).max(axis=-1) < SAME
    near &= np.array(first.elements)[:, None] == np.array(second.elements)[None]
    near &= np.abs(first.occupancy[:, None] - second.occupancy[None]) < SAME
    u = [crystal.direct @ crystal.atoms.beta @ crystal.direct.T / (2 * np.pi**2) for crystal in (one, other)]
    near &= np.abs(u[0][:, None] - u[1][None]).max(axis=(-1, -2)) < SAME
    return bool(near.any(axis=0).all() and near.any(axis=1).all())


def only_hidden_digits(before: str, after: str, whole: Crystal, hurt: Crystal) -> bool:
    """Whether two CIFs differ in numbers only that nothing else in the file shows to be wrong.

    The numbers are those of cell, coordinates, occupancies and displacements; the number of atoms of each element
    must be what it was where the file states it, and so must the volume.
    """
    first, second = (_values(text) for text in (before, after))
    if first is None or second is None or [len(v) for v in first.values()] != [len(v) for v in second.values()]:
        return False
    volume = 2e-3 if "_cell_volume" in first else np.inf
    if list(first) != list(second) or abs(hurt.volume / whole.volume - 1) > volume:
        return False
    for tag, values in first.items():
        for old, new in zip(values, second[tag], strict=True):
            numbers = np.array([cif.as_number(cif.as_string(text)) for text in (old, new)])
            is_change = old != new and not tag.startswith(("_publ", "_journal", "_lacbed", "_refine"))
            if is_change and not (_NUMBERS.fullmatch(tag) and np.isfinite(numbers).all()):
                return False
    if "_chemical_formula_sum" not in first:
        return True
    counts = [Counter[str](), Counter[str]()]
    for count, crystal in zip(counts, (whole, hurt), strict=True):
        for element, share in zip(crystal.atoms.elements, crystal.atoms.occupancy.tolist(), strict=True):
            count[element] += share
    return all(abs(counts[0][e] - counts[1][e]) <= 0.02 * counts[0][e] + 0.02 for e in {*counts[0], *counts[1]})


def _values(text: str) -> dict[str, list[str]] | None:
    try:
        block = cif.read_string(text, check_level=0)[0]
    except (ValueError, RuntimeError, IndexError):
        return None
    values: dict[str, list[str]] = {}
    for item in block:
        if item.loop is not None:
            for i, tag in enumerate(item.loop.tags):
                values[tag.lower()] = item.loop.values[i :: item.loop.width()]
        elif item.pair is not None:
            values[item.pair[0].lower()] = [item.pair[1]]
    return values


def judge(path: Path, text: str, whole: Crystal) -> str:
    """Read one damaged CIF and say what became of it; `text` and `whole` are as it was."""

    def read() -> str:
        found = Crystal.from_cif(path)
        again = Crystal.from_cif_text(found.to_cif(), found.name)
        if again != found or set(again.notes) - {*found.notes, STANDING_STILL}:
            return "another when written and read again"
        return "equal" if same_crystal(whole, found) else _difference(path, text, whole, found)

    return verdict_of(read, LIMIT, CrystalError)


def _difference(path: Path, text: str, whole: Crystal, found: Crystal) -> str:
    if set(found.notes) - set(whole.notes):
        return "different with a note"
    hidden = only_hidden_digits(text, path.read_text("utf-8", "replace"), whole, found)
    if hidden:
        return "different by digits that nothing shows"
    is_bare = "_chemical_formula_sum" not in text
    return "different, in a file that says nothing twice" if is_bare else "different without a note"


def run(count: int, seed: int, programs: tuple[str, ...] = PROGRAMS, only: int | None = None) -> Tally:
    """Damage and read `count` CIFs in turn."""
    tally = Tally(FINE)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "hurt.cif"
        sources = [(name, text, Crystal.from_cif_text(text)) for name, text in whole_cifs(programs).items()]
        for number in range(count) if only is None else (only,):
            rng = np.random.default_rng([seed, number])
            name, text, whole = sources[rng.integers(len(sources))]
            kind = KINDS[number % len(KINDS)]
            path.write_bytes(kind(text.encode(), rng))
            start = time.monotonic()
            verdict = judge(path, text, whole)
            where = f"number {number}, seed {seed}: {kind.__name__} of {name}"
            tally.add(verdict, where, time.monotonic() - start)
            if only is not None:
                sys.stdout.write(f"{path.read_text('utf-8', 'replace')}\n{verdict}\n")
    return tally


def main() -> int:
    """Run as a program; exit code 1 if anything went wrong in silence or loudly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one input, which is shown")
    arguments = parser.parse_args()
    return run(arguments.count, arguments.seed, only=arguments.only).report()


if __name__ == "__main__":
    sys.exit(main())
