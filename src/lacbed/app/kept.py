"""A search that is kept in a session: its last messages, checked before they are shown again.

    search/asked.json          what was searched for, as the page asks for it
    search/searching.json      the best so far, with the state from which the search goes on
    search/searching.f32       its map (v, u)
    search/solved.json         the answer, its columns and candidates
    search/solved.f32          its map (v, u), then pairs of measured and simulated images (reflection, 2, ky, kx)
    search/report.html, search/folder.zip      the files of the answer, which are only given back

Numbers are float32, little-endian.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lacbed.app.limits import Header
from lacbed.errors import FileFormatError
from lacbed.io.checks import is_list, is_number, is_whole, read_json_text

Check = Callable[[Any], bool]

_MOST_PIXELS, _MOST_ROWS = 512, 500


@dataclass(frozen=True)
class KeptSearch:
    """A search as the page has it.

    Attributes:
        asked: what was searched for; checked by `lacbed.app.solving.parse_search` when the search goes on.
        messages: the last message of each kind: "searching", "solved", "report" and "folder", as far as they came.
    """

    asked: Header
    messages: dict[str, tuple[Header, bytes]]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _has(**fields: Check) -> Check:
    """An object with these fields; it may have more."""
    return lambda value: isinstance(value, Mapping) and all(check(value.get(k)) for k, check in fields.items())


def _many(check: Check, count: int | None = None) -> Check:
    return lambda value: is_list(value, check, count) and len(value) <= _MOST_ROWS


def _pixels(value: Any) -> bool:
    return is_whole(value, 2, _MOST_PIXELS)


_indices = _many(lambda v: is_whole(v, -1000, 1000), 3)
_map = _has(pixels=_pixels, cell=_many(is_number, 4), low=is_number, high=is_number)
_place = _has(u=is_number, v=is_number)
_column = _has(
    u=is_number,
    v=is_number,
    x=is_number,
    y=is_number,
    strength=is_number,
    strength_uncertainty=_or_none(is_number),
    odds=_text,
)
_candidate = _has(
    formula=_text,
    cif=_text,
    space_group=_or_none(_text),
    Z_held_out=_or_none(is_number),
    thickness=_or_none(is_number),
)
_HEADERS: dict[str, Check] = {
    "searching": _has(
        name=_text,
        zone_axis=_indices,
        round=is_whole,
        met=is_whole,
        R=is_number,
        thickness=is_number,
        columns=_many(_place),
        map=_map,
        state=lambda value: isinstance(value, Mapping),
    ),
    "solved": _has(
        name=_text,
        words=_text,
        command=_text,
        plane_group=_text,
        solved=lambda value: isinstance(value, bool),
        ended=lambda value: isinstance(value, bool),
        zone_axis=_indices,
        thickness=is_number,
        thickness_of_columns=is_number,
        thickness_uncertainty=is_number,
        absorption=is_number,
        half_width=is_number,
        seconds=is_number,
        R=is_number,
        map=_map,
        pixels=_pixels,
        hkl=_many(_indices),
        z=_many(_or_none(is_number)),
        columns=_many(_column),
        candidates=_many(_candidate),
        notes=_many(_text),
    ),
    "report": _has(),
    "folder": _has(),
}
_ASKED = _has(seconds=is_number)
_CONTENT = {"searching": ".f32", "solved": ".f32", "report": ".html", "folder": ".zip"}
MEMBERS = {
    "search/asked.json": 1_000_000,
    "search/searching.json": 16_000_000,
    "search/solved.json": 16_000_000,
    **{f"search/{kind}{ending}": 32_000_000 for kind, ending in _CONTENT.items()},
}
"""The files of a kept search, and how large each may be."""


def check_search(asked: Any, messages: Mapping[str, tuple[Any, bytes]]) -> KeptSearch:
    """A kept search whose messages the page can show.

    Raises:
        FileFormatError: if something in it is not as a search sends it.
    """
    if not _ASKED(asked) or "searching" not in messages:
        raise FileFormatError("the search that was kept is damaged; begin it anew from its measured patterns")
    for kind, (header, content) in messages.items():
        if kind not in _HEADERS or not _HEADERS[kind](header) or len(content) != _size(kind, header, content):
            raise FileFormatError(f"what was kept of the search ({kind!r:.20}) is damaged; begin it anew")
    return KeptSearch(dict(asked), {kind: (dict(header), content) for kind, (header, content) in messages.items()})


def _size(kind: str, header: Header, content: bytes) -> int:
    """Bytes that belong to a header."""
    if kind not in ("searching", "solved"):
        return len(content)
    values = header["map"]["pixels"] ** 2
    if kind == "solved":
        if len(header["z"]) != len(header["hkl"]):
            return -1
        values += 2 * len(header["hkl"]) * header["pixels"] ** 2
    return int(4 * values)


def parse_kept(told: Any, payload: bytes) -> KeptSearch | None:
    """A kept search as the page sends it; None for none.

    Args:
        told: {"asked": ..., "messages": [{"kind": ..., "size": bytes, ...}, ...]}.
        payload: contents of the messages, one after the other.

    Raises:
        FileFormatError: as `check_search` does.
    """
    if told is None:
        return None
    if not _has(messages=_many(_has(kind=_text, size=lambda v: is_whole(v, 0))))(told):
        raise FileFormatError("the search did not arrive as the page sends it")
    place, found = 0, {}
    for header in told["messages"]:
        found[header["kind"]] = (header, payload[place : place + header["size"]])
        place += header["size"]
    if place != len(payload):
        raise FileFormatError("the search arrived incomplete; save the session again")
    return check_search(told.get("asked"), found)


def tell_kept(kept: KeptSearch | None) -> tuple[Header | None, bytes]:
    """A kept search as `parse_kept` takes it."""
    if kept is None:
        return None, b""
    messages = [{**header, "kind": k, "size": len(content)} for k, (header, content) in kept.messages.items()]
    return {"asked": kept.asked, "messages": messages}, b"".join(c for _, c in kept.messages.values())


def kept_members(kept: KeptSearch) -> dict[str, bytes]:
    """The files of a kept search in a session."""
    found = {"search/asked.json": _json(kept.asked)}
    for kind, (header, content) in kept.messages.items():
        if f"search/{kind}.json" in MEMBERS:
            found[f"search/{kind}.json"] = _json(header)
        found[f"search/{kind}{_CONTENT[kind]}"] = content
    return found


def read_kept(members: Mapping[str, bytes]) -> KeptSearch | None:
    """The kept search in the files of a session; None if there is none.

    Raises:
        FileFormatError: if it is damaged.
    """
    if not any(name in MEMBERS for name in members):
        return None

    def told(kind: str) -> Header:
        name = f"search/{kind}.json"
        try:
            text = members[name].decode("utf-8")
        except (KeyError, UnicodeDecodeError):
            raise FileFormatError(f"{name} in the session is missing or damaged") from None
        return read_json_text(text, name, FileFormatError)

    messages = {
        kind: (told(kind) if f"search/{kind}.json" in MEMBERS else {}, members[f"search/{kind}{ending}"])
        for kind, ending in _CONTENT.items()
        if f"search/{kind}{ending}" in members
    }
    return check_search(told("asked"), messages)


def _json(value: Header) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
