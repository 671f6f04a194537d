"""From the bytes of a CIF to data blocks with one name for each tag and one value for each name; its values."""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Iterator
from typing import Any

from gemmi import cif

from lacbed.errors import CrystalError

ANGLE_TAGS = ("_cell_angle_alpha", "_cell_angle_beta", "_cell_angle_gamma")
CELL_TAGS = ("_cell_length_a", "_cell_length_b", "_cell_length_c", *ANGLE_TAGS)
NOTE_TAG = "_lacbed_note"
SOURCE_TAG = "_lacbed_source"
U_INDICES = ("11", "22", "33", "23", "13", "12")

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_cif(content: bytes) -> str:
    """The text of a CIF: UTF-8, or what its byte-order mark says."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "utf-8")
    return content.decode(encoding, errors="replace")


def parse_blocks(text: str, origin: str) -> list[cif.Block]:
    """The data blocks of a CIF, whatever ends its lines; `origin` names it in messages.

    Raises:
        CrystalError: if it is empty or no CIF.
    """
    text = text.lstrip("\ufeff").rstrip("\x1a").replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise CrystalError(f"{origin} is empty; expected a CIF, which starts with data_...")
    if "\0" in text:
        raise CrystalError(f"{origin} is not a CIF: it is a binary file; a CIF is plain text with data_...")
    try:
        clean = text.encode("utf-8", errors="replace").decode()
        document = cif.read_string(clean, check_level=0)  # which lets repeated tags pass; see `tidied`
        document.check_for_missing_values()
        return list(document)
    except (ValueError, RuntimeError) as error:
        said = re.sub(r"^string:(\d+):\S*:", r"line \1:", " ".join(str(error).split()))
        raise CrystalError(f"{origin} is not a CIF: {said[:120] or 'no reason given'}") from None


def has_atoms(block: cif.Block) -> bool:
    """Whether at least one atom has numbers for coordinates; a blank template has none."""
    columns: dict[str, list[str]] = {}
    for tag, values in values_by_tag(block, "_atom_site_fract_", "_atom_site.fract_"):
        name = tag.lower().replace(".", "_")
        if name.startswith("_atom_site_fract_"):
            columns[name] = columns.get(name, []) + values
    return any(all(map(_is_number, row)) for row in zip(*columns.values(), strict=False))


def _is_number(value: str) -> bool:
    return math.isfinite(cif.as_number(text_of(value)))


def tags_of(block: cif.Block) -> Iterator[str]:
    """Each tag as it is spelled, in order."""
    for item in block:
        pair: Any = item.pair
        if pair is not None:
            yield pair[0]
        elif item.loop is not None:
            yield from item.loop.tags


def values_by_tag(block: cif.Block, *starts: str) -> Iterator[tuple[str, list[str]]]:
    """Each tag that starts so (in lower case; else all), as it is spelled, with its raw values, in order."""
    for item in block:
        pair: Any = item.pair
        if pair is not None:
            if not starts or pair[0].lower().startswith(starts):
                yield pair[0], [pair[1]]
        elif item.loop is not None:
            tags = item.loop.tags
            wanted = [i for i, tag in enumerate(tags) if not starts or tag.lower().startswith(starts)]
            values = item.loop.values if wanted else []
            for column in wanted:
                yield tags[column], values[column :: len(tags)]


def tidied(block: cif.Block, notes: list[str]) -> cif.Block:
    """The block with _cell.length_a and the like spelled _cell_length_a, and every tag there once.

    A tag that is repeated with equal values, or is unknown once, is read and noted.

    Raises:
        CrystalError: naming a tag that has two different values.
    """
    spelled = list(tags_of(block))
    names = {tag: tag.replace(".", "_") for tag in spelled}
    if len({name.lower() for name in names.values()}) == len(spelled) and all(t == n for t, n in names.items()):
        return block
    values, repeated = _united([(names[tag], column) for tag, column in values_by_tag(block)])
    if repeated:
        notes.append(f"repeated in the file with equal values: {', '.join(repeated[:6])}")
    tidy = cif.Document().add_new_block(block.name)
    done: set[str] = set()
    for item in block:
        pair: Any = item.pair
        if pair is not None and names[pair[0]].lower() not in done:
            name = names[pair[0]]
            tidy.set_pair(name, values[name.lower()][0])
            done.add(name.lower())
        elif item.loop is not None and any(map(text_of, item.loop.values)):
            own = {names[tag]: item.loop.values[i :: item.loop.width()] for i, tag in enumerate(item.loop.tags)}
            fresh = {name: column for name, column in own.items() if name.lower() not in done}
            if fresh:
                tidy.init_loop("", list(fresh)).set_all_values(list(fresh.values()))
            done.update(name.lower() for name in fresh)
    return tidy


def _united(columns: list[tuple[str, list[str]]]) -> tuple[dict[str, list[str]], list[str]]:
    """The values of each tag in lower case, and the tags that came more than once."""
    values: dict[str, list[str]] = {}
    repeated: dict[str, None] = {}
    for name, column in columns:
        key = name.lower()
        if key not in values or not any(map(text_of, values[key])):
            values[key] = column
        elif any(map(text_of, column)):
            _check_equal(name, values[key], column)
            repeated[name] = None
    return values, list(repeated)


def _check_equal(name: str, first: list[str], second: list[str]) -> None:
    shown = f"{len(first)} and {len(second)} values"
    if len(first) == len(second):
        differing = [(a, b) for a, b in zip(first, second, strict=True) if not equal_values(a, b)]
        if not differing:
            return
        shown = " and ".join(ascii(text_of(value)[:40]) for value in differing[0])
    raise CrystalError(f"{name} is given twice, with {shown}; remove one")


# -- values -------------------------------------------------------------------------------------------------
def text_of(value: str | None) -> str:
    """The string of a CIF value without its quotes; "" for a missing value, ? and a dot, quoted or not."""
    if not value:
        return ""
    text: str = (cif.as_string(value) if value[0] in "'\";" else value).strip()
    return "" if text in ("?", ".") else text


def number(value: str | None, what: str) -> float | None:
    """A CIF number without its uncertainty; None for a missing value, ? and a dot.

    Raises:
        CrystalError: if there is something else, naming `what` it was to be.
    """
    text = text_of(value)
    if not text:
        return None
    result = float(cif.as_number(text))
    if not math.isfinite(result):
        shown = text[:40].encode("ascii", "backslashreplace").decode()
        raise CrystalError(f"{what}: expected a number, got {shown!r}")
    return result


def equal_values(first: str, second: str) -> bool:
    """Whether two CIF values say the same: the same text, or the same number in other digits."""
    a, b = text_of(first), text_of(second)
    return a == b or bool(cif.as_number(a) == cif.as_number(b))
