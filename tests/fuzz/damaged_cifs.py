"""CIFs with seeded damage: refused in one line, read as the same crystal, or read as another with a note.

Only a change of numbers that nothing else in the file can show may make another crystal without a note. A file
typed by hand says nothing twice: what in it became another crystal without a note is counted apart.

python tests/fuzz/damaged_cifs.py --count 2000 --seed 1
"""

from __future__ import annotations

import argparse
import contextlib
import re
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from gemmi import cif

sys.path.insert(0, str(Path(__file__).parent))
from cif_sources import PROGRAMS, whole_cifs
from damage import CONTENT, Random

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
_OPERATION = re.compile(r"[xyzXYZ][^,]*,[^,]*[xyzXYZ][^,]*,")
_MATTERS = re.compile(r"\s*(_cell|_symmetry|_space|_atom_site|_chemical_f|[A-Z][a-z]?\d*\s)")
_TOKEN = re.compile(r"'[^'\n]*'|[^\s']+")


# -- kinds of damage ----------------------------------------------------------------------------------------
def _on_lines(change: Callable[[list[str], Random], None]) -> Callable[[bytes, Random], bytes]:
    """Damage to bytes from damage to the lines of a text."""

    def damage(content: bytes, rng: Random) -> bytes:
        lines = content.decode("utf-8", "surrogateescape").split("\n")
        change(lines, rng)
        return "\n".join(lines).encode("utf-8", "surrogateescape")

    damage.__name__ = change.__name__.strip("_")
    return damage


def _pick(lines: list[str], rng: Random, pattern: str = r"\S") -> int:
    """A line that has something of a kind, rarely one of the many operations; any line where there is none.

    Those that matter are twice as likely: of the cell, the symmetry, the formula or an atom.
    """
    found = [i for i, line in enumerate(lines) if re.search(pattern, line)]
    found = [i for i in found if rng.integers(2) or _MATTERS.match(lines[i])] or found
    found = [i for i in found if not _OPERATION.search(lines[i]) or rng.integers(20) == 0] or found
    found = found or list(range(len(lines)))
    return int(found[rng.integers(len(found))])


def _replace_one(lines: list[str], rng: Random, pattern: str, new: Callable[[str], str]) -> None:
    """Another text for one match of a pattern in the file."""
    i = _pick(lines, rng, pattern)
    matches = list(re.finditer(pattern, lines[i]))
    if matches:
        m = matches[rng.integers(len(matches))]
        lines[i] = lines[i][: m.start()] + new(m.group()) + lines[i][m.end() :]


def delete_line(lines: list[str], rng: Random) -> None:
    """A line lost."""
    del lines[_pick(lines, rng)]


def duplicate_line(lines: list[str], rng: Random) -> None:
    """A line twice."""
    i = _pick(lines, rng)
    lines.insert(i, lines[i])


def swap_lines(lines: list[str], rng: Random) -> None:
    """Two lines, often neighbours, in each other's place."""
    i = _pick(lines, rng)
    j = min(i + 1, len(lines) - 1) if rng.integers(2) else _pick(lines, rng)
    lines[i], lines[j] = lines[j], lines[i]


def join_lines(lines: list[str], rng: Random) -> None:
    """The end of a line lost."""
    i = _pick(lines, rng)
    lines[i : i + 2] = ["".join(lines[i : i + 2])]


def delete_character(lines: list[str], rng: Random) -> None:
    """A character lost."""
    _replace_one(lines, rng, r"\S", lambda _: "")


def delete_word(lines: list[str], rng: Random) -> None:
    """A value lost."""
    _replace_one(lines, rng, _TOKEN.pattern, lambda _: "")


def swap_words(lines: list[str], rng: Random) -> None:
    """Two words of a line in each other's place."""
    i = _pick(lines, rng, r"\S+\s+\S+")
    words = _TOKEN.findall(lines[i])
    a, b = (int(n) for n in rng.integers(0, len(words), 2)) if words else (0, 0)
    if a != b:
        words[a], words[b] = words[b], words[a]
    lines[i] = " ".join(words)


def change_columns(lines: list[str], rng: Random) -> None:
    """A column of a table lost, or two in each other's place, with the names above them or without."""
    start = _pick(lines, rng, r"^\s*loop_")
    header = start + 1
    while header < len(lines) and lines[header].strip().startswith("_"):
        header += 1
    width = header - start - 1
    if width < 2:
        return
    a, b = (int(n) for n in rng.choice(width, 2, replace=False))
    kind = int(rng.integers(4))
    for i in range(header, len(lines)):
        words = _TOKEN.findall(lines[i])
        if len(words) != width:
            break
        if kind in (0, 1):
            del words[a]
        else:
            words[a], words[b] = words[b], words[a]
        lines[i] = " ".join(words)
    if kind == 0:
        del lines[start + 1 + a]
    elif kind == 2:
        one, other = start + 1 + a, start + 1 + b
        lines[one], lines[other] = lines[other], lines[one]


def change_letter(lines: list[str], rng: Random) -> None:
    """Another letter in a word."""
    _replace_one(lines, rng, "[A-Za-z]", lambda _: chr(int(rng.integers(97, 123)) - 32 * int(rng.integers(2))))


def change_case(lines: list[str], rng: Random) -> None:
    """Upper for lower case in a word or the whole file."""
    if rng.integers(6) == 0:
        lines[:] = [line.upper() if rng.integers(2) else line.lower() for line in lines]
        return
    _replace_one(lines, rng, r"[A-Za-z_]+", str.swapcase)


def change_sign(lines: list[str], rng: Random) -> None:
    """A sign turned, lost or added."""
    _replace_one(lines, rng, r"(?<=[\s',])[-+]?(?=[\dxyz.])|[-+]", lambda s: "" if s and rng.integers(2) else "-")


def change_operation(lines: list[str], rng: Random) -> None:
    """A symmetry operation lost, doubled or changed."""
    i = _pick(lines, rng, _OPERATION.pattern)
    kind = int(rng.integers(4))
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(i, lines[i])
    else:
        old = "xyz"[rng.integers(3)] if kind == 2 else "/"
        new = "xyz"[rng.integers(3)] if kind == 2 else str(rng.integers(10)) + "/"
        lines[i] = lines[i].replace(old, new, 1)


def change_space_group(lines: list[str], rng: Random) -> None:
    """Another symbol or number, whole or by a character."""
    i = _pick(lines, rng, r"(?i)^_(space_group|symmetry)\S*(name|number|num)")
    words = _TOKEN.findall(lines[i])
    if rng.integers(2) and len(words) > 1:
        others = ("'P 1'", "'F d -3 m'", "'P 21/c'", "'C 2/m'", "'I 4/m m m'", "'R -3 m'", "225", "62", "?", "''")
        lines[i] = f"{words[0]} {others[rng.integers(len(others))]}"
    else:
        new = "PIFCRAmcnabd12346-/: "
        place = int(rng.integers(max(0, lines[i].find(" ")), len(lines[i]))) if lines[i] else 0
        lines[i] = lines[i][:place] + new[rng.integers(len(new))] + lines[i][place + 1 :]


def change_element(lines: list[str], rng: Random) -> None:
    """Another symbol for an element somewhere."""
    new = (
        "O",
        "N",
        "Fe",
        "Co",
        "CO",
        "Si",
        "SI",
        "H",
        "X",
        "Va",
        "Wat",
        "FE",
        "al",
        "O2-",
        "Zz",
        "D",
        "S",
        "?",
        ".",
    )
    _replace_one(lines, rng, r"\b[A-Z][a-z]?(?=\d|\b)", lambda _: new[rng.integers(len(new))])


def change_tag(lines: list[str], rng: Random) -> None:
    """A letter of a tag changed, lost or doubled, or a tag of another name."""
    letter = "abcdefghijklmnopqrstuvwxyz_"[rng.integers(27)]
    edits: tuple[Callable[[str], str], ...] = (
        lambda _: letter,
        lambda _: "",
        lambda c: c + c,
        lambda c: c.upper(),
    )
    i = _pick(lines, rng, r"^\s*_\w+")
    tag = re.match(r"\s*\S+", lines[i])
    if tag:
        place = int(rng.integers(tag.end()))
        lines[i] = lines[i][:place] + edits[rng.integers(4)](lines[i][place]) + lines[i][place + 1 :]


def change_whitespace(lines: list[str], rng: Random) -> None:
    """Blanks added, lost or of another kind; other ends of lines."""
    kind = int(rng.integers(5))
    if kind == 0:
        end = ("\r", "\r\r", "\u2028", "\f")[rng.integers(4)]
        lines[:] = [line + end for line in lines]
    elif kind == 1:
        lines[:] = [end for line in lines for end in (line, "")]
    else:
        blank = ("", "\t", "\u00a0", "\n", "  ", "\u3000", "\u200b")[rng.integers(7)]
        _replace_one(lines, rng, r"(?<=\S) +(?=\S)", lambda _: blank)


def change_quotes(lines: list[str], rng: Random) -> None:
    """A quote lost, added or of another kind."""
    new = ("", "'", '"', "`", "\u2019", "\u201c", "''", "\n;")[rng.integers(8)]
    _replace_one(lines, rng, r"['\";]|(?<=\s)(?=\w)", lambda _: new)


def change_format(lines: list[str], rng: Random) -> None:
    """A number written otherwise, or something else in its place."""

    def new(old: str) -> str:
        odd = (
            "?",
            ".",
            "1/3",
            "nan",
            "0",
            "0.0",
            old.replace(".", ","),
            old.replace("0.", "."),
            old.replace("1", "l"),
            old.replace("0", "O"),
            f"({old})",
            f"'{old}'",
            *(old + end for end in ("(3)", "e0", "e1", "d0", "*", "%", "(", ".0", "0")),
            *(start + old for start in "+-~"),
        )
        return odd[rng.integers(len(odd))]

    _replace_one(lines, rng, r"(?<=\s)-?\d+\.?\d*(?=[\s(]|$)", new)


def change_digit(lines: list[str], rng: Random) -> None:
    """Another digit in a value."""
    _replace_one(lines, rng, r"(?<=[\s.\d])\d", lambda _: str(rng.integers(10)))


def change_encoding(content: bytes, rng: Random) -> bytes:
    """Written as one encoding and declared or read as another."""
    text = content.decode("utf-8", "replace")
    made = (
        text.encode("utf-16"),
        text.encode("utf-16-le"),
        text.encode("utf-32"),
        b"\xef\xbb\xbf" + content,
        b"\xff\xfe" + content,
        text.replace("a", "\u0430", 3).encode(),
        text.replace("-", "\u2212").encode(),
        text.replace("1", "\u00b9", 1).encode(),
        text.replace(" ", "\u00a0", 4).encode("latin-1", "replace"),
    )
    return made[rng.integers(len(made))]


KINDS: tuple[Callable[[bytes, Random], bytes], ...] = (
    *map(
        _on_lines,
        (
            delete_line,
            duplicate_line,
            swap_lines,
            join_lines,
            delete_character,
            delete_word,
            swap_words,
            change_columns,
            change_letter,
            change_case,
            change_sign,
            change_operation,
            change_space_group,
            change_element,
            change_tag,
            change_tag,
            change_whitespace,
            change_quotes,
            change_format,
            change_format,
            change_digit,
            change_digit,
        ),
    ),
    change_encoding,
    *CONTENT,
)


# -- what became of it --------------------------------------------------------------------------------------
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


class _Hangs(BaseException):
    pass


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise when the time is over."""

    def stop(*_: object) -> None:
        raise _Hangs

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(path: Path, text: str, whole: Crystal) -> str:
    """Read one damaged CIF and say what became of it; `text` and `whole` are as it was."""
    try:
        with limited(LIMIT):
            found = Crystal.from_cif(path)
            again = Crystal.from_cif_text(found.to_cif(), found.name)
    except CrystalError as error:
        return "refused" if "\n" not in str(error) else "refused in more than one line"
    except _Hangs:
        return "hang"
    except Exception as error:
        return f"traceback ({type(error).__name__})"
    if again != found or set(again.notes) - {*found.notes, STANDING_STILL}:
        return "another when written and read again"
    return "equal" if same_crystal(whole, found) else _difference(path, text, whole, found)


def _difference(path: Path, text: str, whole: Crystal, found: Crystal) -> str:
    if set(found.notes) - set(whole.notes):
        return "different with a note"
    hidden = only_hidden_digits(text, path.read_text("utf-8", "replace"), whole, found)
    if hidden:
        return "different by digits that nothing shows"
    is_bare = "_chemical_formula_sum" not in text
    return "different, in a file that says nothing twice" if is_bare else "different without a note"


def run(
    count: int, seed: int, programs: tuple[str, ...] = PROGRAMS, only: int | None = None
) -> tuple[Counter[str], list[str]]:
    """Damage and read `count` CIFs in turn: how many became what, and a line for each that went wrong."""
    counts, bad = Counter[str](), list[str]()
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
            counts[verdict] += 1
            counts["slowest, ms"] = max(counts["slowest, ms"], round(1e3 * (time.monotonic() - start)))
            if verdict not in FINE:
                bad.append(f"{verdict}: number {number}, seed {seed}: {kind.__name__} of {name}")
            if only is not None:
                sys.stdout.write(f"{path.read_text('utf-8', 'replace')}\n{verdict}\n")
    return counts, bad


def main() -> int:
    """Run as a program; exit code 1 if anything went wrong in silence or loudly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the number of one input, which is shown")
    arguments = parser.parse_args()
    counts, bad = run(arguments.count, arguments.seed, only=arguments.only)
    for line in bad:
        sys.stdout.write(line + "\n")
    for what, n in sorted(counts.items()):
        sys.stdout.write(f"{n:6d} {what}\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(f"peak memory {peak:.2f} GiB\n")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
