"""Space-group symbols in the spellings that files use, and the tabulated settings each can mean."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, lru_cache

import gemmi

_MINUS = dict.fromkeys(map(ord, "−–—‐‑‒﹣－"), "-")  # every dash that stands for a minus
_OVERBARS = (
    (re.compile(r"(?:[\u00af\u203e\u02c9]|\\=|\\(?:bar|overline))\s*[{(]?\s*([1346])\s*[})]?"), r"-\1"),
    (re.compile(r"([1346])(?:[\u0304\u0305\u033f]|bar)"), r"-\1"),
    (re.compile(r"(?:[\u0304\u0305\u033f]|bar|overline)\s*[{(]?\s*([1346])\s*[})]?"), r"-\1"),
)
_MARKUP = re.compile(r"<[^<>]*>|[\s_~{}$]")
_NUMBER = re.compile(r"[\s,;]*(?:[\s,;(\[](?:no\.?|number|#)\s*([0-9]{1,3})|[(\[]([0-9]{2,3})(?=[)\]]))[)\]]?")
_CHOICE = re.compile(
    r"(?P<body>.+?)(?P<mark>[:;,(\[]*(?:origin)?(?:choice|setting|at)?o?[:=]?)"
    r"(?P<choice>[12sz]|h[rsz]?|r[rsz]?|hex(?:agonal)?(?:axes|setting)?|rhomb(?:ohedral)?(?:axes|setting)?"
    r"|-?[abc][1-9]|ba-c|cab|-cba|bca|a-cb)[)\]]*"
)
_FULL = {
    "orthorhombic": re.compile(r"([a-z])(21?)/([a-z])(21?)/([a-z])(21?)/([a-z])"),
    "tetragonal": re.compile(r"([a-z])([46][1-5]?)/([a-z])(21?)/([a-z])(21?)/([a-z])"),
    "trigonal": re.compile(r"([pr])-3(1?)2/([a-z])(1?)"),
    "cubic": re.compile(r"([pfi])(4[1-3]?|21?)/([a-z])-?3(?:2/([a-z]))?"),
}
_E_GLIDE = (39, 41, 64, 67, 68)
"""Groups with a plane of two glides, which the International Tables call e since 1992."""


@lru_cache(maxsize=1024)
def settings_of(symbol: str) -> tuple[gemmi.SpaceGroup, ...]:
    """The settings that a Hermann-Mauguin symbol can mean, the most usual one first; none if it has no meaning.

    Read are short, full and pre-1992 symbols in upper or lower case, with blanks or without, subscripts in
    brackets or markup, overbars of every kind, and the choices of origin and axes that data bases add:
    "P 4/m -3 2/m", "P2(1)/n", "Fd-3mS", "R -3 c RS", "P n n n (origin choice 2)". The origin is open without
    such a choice, and so are the axes of an R group and the unique axis of a short monoclinic symbol.
    """
    number = _NUMBER.search(symbol.lower())
    text = _plain(symbol[: number.start()] + symbol[number.end() :] if number else symbol)
    for body, choice in _readings(text):
        key = re.sub(r"[()]", "", body)
        found = [
            group
            for group in _table().get(key) or _of_full_symbol(key)
            if choice in ("", group.ext, group.qualifier)
            and (number is None or group.number == int(number.group(1) or number.group(2)))
        ]
        if found:
            return tuple(sorted(found, key=_rank))
    return ()


@lru_cache(maxsize=256)
def settings_of_number(number: int) -> tuple[gemmi.SpaceGroup, ...]:
    """All tabulated settings of a space group from 1 to 230, the reference setting first."""
    return tuple(sorted((g for g in gemmi.spacegroup_table() if g.number == number), key=_rank))


def is_tabulated(group: gemmi.SpaceGroup) -> bool:
    """Whether a setting is one of the 530 of the International Tables, Volume B."""
    return group.hall in _halls()


@cache
def _halls() -> frozenset[str]:
    return frozenset(group.hall for group in gemmi.spacegroup_table_itb())


def _rank(group: gemmi.SpaceGroup) -> tuple[bool, bool, bool, int]:
    """Reference settings first, those of the International Tables, origin choice 2, unique axis b, c, a."""
    axis = group.qualifier.lstrip("-")[:1]
    return not group.is_reference_setting(), not is_tabulated(group), group.ext == "1", "bca".find(axis)


def _plain(symbol: str) -> str:
    """Lower case without blanks, quotes and markup; overbars become minus signs."""
    text = re.sub(r"^(['\"])(.*)\1$", r"\2", symbol.translate(_MINUS).strip()).lower()
    for pattern, replacement in _OVERBARS:
        text = pattern.sub(replacement, text)
    return _MARKUP.sub("", unicodedata.normalize("NFKC", text))


def _readings(text: str) -> Iterator[tuple[str, str]]:
    """The symbol and its choice of origin or axes: as it stands, and with an ending taken for the choice."""
    yield text, ""
    match = _CHOICE.fullmatch(text)
    if match is None:
        return
    body, mark, choice = match.group("body", "mark", "choice")
    if choice in ("1", "2"):
        if mark:
            yield body, choice
    elif choice[0] in "sz":
        yield body, "1" if choice == "s" else "2"  # S: first origin; Z: at the centre (Zentrum)
    elif choice[0] in "hr" and body[0] in "rh":
        yield body, choice[0].upper()
    elif mark:
        yield body, choice


@cache
def _table() -> dict[str, list[gemmi.SpaceGroup]]:
    found: dict[str, list[gemmi.SpaceGroup]] = defaultdict(list)
    for group in gemmi.spacegroup_table():
        for key in _keys(group):
            found[key].append(group)
    return dict(found)


def _keys(group: gemmi.SpaceGroup) -> set[str]:
    """The short symbols of a setting without blanks."""
    words = re.sub(r"[()]", "", group.hm.lower()).split()
    spellings = [words]
    if 3 <= group.number <= 15 and is_tabulated(group):  # monoclinic
        spellings.append([word for word in words if word != "1"])
        if "/" in group.hm and words[-1] == "1":
            spellings.append(words[:-1])
    if group.number >= 195 and words[2] == "-3":
        spellings.append([*words[:2], "3", *words[3:]])  # m3m, as it was until 1983
    if group.number in _E_GLIDE:
        place = 1 + "abc".index(words[0])
        spellings.append([*words[:place], "e", *words[place + 1 :]])
    if group.ext == "H":
        spellings.append(["h", *words[1:]])
    return {"".join(spelling) for spelling in spellings}


def _of_full_symbol(text: str) -> list[gemmi.SpaceGroup]:
    """Settings of a full symbol such as p4/m-32/m, if the groups have the axes that it names."""
    for system, pattern in _FULL.items():
        match = pattern.fullmatch(text)
        if match is None:
            continue
        parts = [part or "" for part in match.groups()]
        if system == "orthorhombic":
            short, axes = parts[0] + parts[2] + parts[4] + parts[6], list(enumerate(parts[1:6:2]))
        elif system == "tetragonal":
            short, axes = f"{parts[0]}{parts[1]}/{parts[2]}{parts[4]}{parts[6]}", [(2, parts[1])]
        elif system == "trigonal":
            short, axes = f"{parts[0]}-3{parts[1]}{parts[2]}{parts[3]}", []
        else:
            short, axes = f"{parts[0]}{parts[2]}-3{parts[3]}", [(0, parts[1])]
        return [g for g in _table().get(short, []) if _axes_of(g) >= set(axes)]
    return []


def _axes_of(group: gemmi.SpaceGroup) -> set[tuple[int, str]]:
    """Rotation and screw axes along the edges of the cell, such as (2, "42") for a 4_2 along c."""
    found: set[tuple[int, str]] = set()
    unit = gemmi.Op.DEN
    for op in group.operations():
        order = {-1: 2, 0: 3, 1: 4, 2: 6}.get(sum(op.rot[i][i] for i in range(3)) // unit, 1)
        if op.det_rot() < 0 or order == 1:
            continue
        for edge in range(3):
            if [row[edge] for row in op.rot] == [unit if i == edge else 0 for i in range(3)]:
                step = op.tran[edge] * order // unit % order
                found |= {(edge, f"{order}{s or ''}") for s in (step, -step % order)}
    return found
