"""Seeded damage to the text of a CIF: what editors, programs and copies do to its lines, words and numbers."""

from __future__ import annotations

import re
from collections.abc import Callable

from damage import CONTENT, Random

_OPERATION = re.compile(r"[xyzXYZ][^,]*,[^,]*[xyzXYZ][^,]*,")
_MATTERS = re.compile(r"\s*(_cell|_symmetry|_space|_atom_site|_chemical_f|[A-Z][a-z]?\d*\s)")
_TOKEN = re.compile(r"'[^'\n]*'|[^\s']+")


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
