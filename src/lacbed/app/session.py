"""A session as one file: settings, look, crystal, measured patterns, commands and data, plain, in a zip.

    session.json      {"format": "lacbed session", "version": 1, "software": ..., "view": ..., "look": ...}
    crystal.cif       a crystal of one's own
    measured/*        experiment.json and images.npz, or one measured.nc, .npz or .tif file
    search/*          a search for an unknown crystal: its state and its answer (see `lacbed.app.kept`)
    pattern.nc        the computed pattern, for whoever unpacks it; the page computes anew from the settings
    commands.*        .py or .sh, by which it was made

Nothing in it is run or unpickled, names and sizes are checked before anything is read, and the settings are those
of `lacbed.app.request.parse_view`.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from lacbed.app.files import ENDINGS, parse_files
from lacbed.app.kept import MEMBERS, KeptSearch, kept_members, read_kept
from lacbed.app.limits import MAX_CIF_BYTES
from lacbed.app.request import View, parse_view
from lacbed.errors import FileFormatError, SettingError
from lacbed.io.checks import is_list, is_number, read_json_text

FORMAT, VERSION = "lacbed session", 1
MAX_BYTES = 80_000_000
"""Of the file, and of all that is in it."""
_MAX_TEXT = 2_000_000
_LARGEST = {
    "session.json": _MAX_TEXT,
    "crystal.cif": MAX_CIF_BYTES,
    "commands.py": _MAX_TEXT,
    "commands.sh": _MAX_TEXT,
    **MEMBERS,
}
_MEASURED = {
    "experiment.json": ".json",
    "images.npz": ".npz",
    **{f"measured{e}": e for e in ENDINGS if e != ".json"},
}
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,  # a feature of zip files that this module lacks
    RuntimeError,  # encrypted
    ValueError,
    OSError,
)
_CHOICES: dict[str, tuple[Any, ...]] = {
    "colours": ("gray", "magma", "inferno", "viridis", "cividis", "twilight"),
    "view": ("pattern", "discs", "tilt", "fit"),
    "unit": ("mrad", "degree", "inverse", "nanometre"),
    "code": ("python", "shell"),
    **{key: (True, False) for key in ("inverted", "logarithmic", "auto", "smooth", "lines", "together")},
}


@dataclass(frozen=True)
class Session:
    """What a session file holds.

    Attributes:
        view: the settings.
        look: of the picture, as the page has it; only what is known here.
        files: ending and content of the measured files.
        search: what was found of an unknown crystal, or None.
    """

    view: View
    look: dict[str, Any]
    files: dict[str, bytes]
    search: KeptSearch | None = None


def check_look(data: Any) -> dict[str, Any]:
    """What is known of the look of a picture; anything else is left out.

    Raises:
        SettingError: if it is no object, or a value is not one of those on offer.
    """
    if not isinstance(data, Mapping):
        raise SettingError("the look of the picture must be a JSON object")
    found: dict[str, Any] = {}
    for key, offered in _CHOICES.items():
        if key not in data:
            continue
        if not any(data[key] is value or (isinstance(value, str) and data[key] == value) for value in offered):
            raise SettingError(f"{key} of the picture cannot be {data[key]!r:.40}")
        found[key] = data[key]
    limits, semi = data.get("limits"), data.get("semi")
    if limits is not None:
        if not is_list(limits, is_number, 2) or not limits[0] < limits[1]:
            raise SettingError("the limits of the contrast must be two ascending numbers")
        found["limits"] = [float(v) for v in limits]
    if semi is not None:
        if not is_number(semi, 0.01, 1500):
            raise SettingError(f"the convergence semi-angle must be a number in mrad, got {semi!r:.40}")
        found["semi"] = float(semi)
    return found


def write_session(
    view: View,
    look: Mapping[str, Any],
    files: Mapping[str, bytes],
    extras: Mapping[str, bytes] | None = None,
    search: KeptSearch | None = None,
) -> bytes:
    """The content of a session file.

    Args:
        view: the settings.
        look: of the picture.
        files: ending and content of the measured files, or nothing.
        extras: "pattern.nc", "commands.py" and "commands.sh", as far as they are there.
        search: what was found of an unknown crystal, or None.
    """
    from lacbed.patterns.result import software

    settings = {k: v for k, v in view.to_json().items() if k not in ("cif", "have")}
    about = {"format": FORMAT, "version": VERSION, "software": software(), "view": settings, "look": dict(look)}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("session.json", json.dumps(about, ensure_ascii=False, indent=1, allow_nan=False) + "\n")
        if view.cif:
            archive.writestr("crystal.cif", view.cif)
        for ending, data in files.items():
            archive.writestr(f"measured/{_name(ending, len(files))}", data, zipfile.ZIP_STORED)
        found = {} if search is None else kept_members(search)
        for name, data in {**(extras or {}), **found}.items():
            archive.writestr(name, data)
    return content.getvalue()


def _name(ending: str, count: int) -> str:
    return {".json": "experiment.json", ".npz": "images.npz"}[ending] if count == 2 else f"measured{ending}"


def read_session(content: bytes) -> Session:
    """What a session file holds, checked.

    Raises:
        FileFormatError: if it is none, is damaged, or has more in it than a session may have.
        SettingError: if a setting in it is impossible.
    """
    if len(content) > MAX_BYTES:
        raise FileFormatError(f"the session is larger than {MAX_BYTES / 1e6:g} MB")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _read(archive)
    except FileFormatError:
        raise
    except DAMAGE:
        raise FileFormatError("this is no session of lacbed, or it is damaged; expected a .lacbed file") from None
    if "session.json" not in members:
        raise FileFormatError("this zip file is no session of lacbed: session.json is missing")
    about = read_json_text(_text(members, "session.json"), "session.json", FileFormatError)
    if about.get("format") != FORMAT:
        raise FileFormatError(f"session.json is not of a session: expected the format {FORMAT!r}")
    version = about.get("version")
    if version != VERSION:
        raise FileFormatError(f"the session has version {version!r:.20}; this lacbed reads version {VERSION}")
    view = about.get("view")
    if not isinstance(view, Mapping):
        raise FileFormatError("session.json has no settings (view)")
    cif = _text(members, "crystal.cif") if "crystal.cif" in members else ""
    settings, look = parse_view({**view, "cif": cif, "have": []}), check_look(about.get("look", {}))
    return Session(settings, look, _measured(members), read_kept(members))


def _read(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """The members that a session has; whatever else is in the file is refused."""
    infos = archive.infolist()
    if len(infos) > 16:
        raise FileFormatError(f"the session holds {len(infos)} files; expected a handful")
    if sum(info.file_size for info in infos) > MAX_BYTES:
        raise FileFormatError(f"the session unpacks to more than {MAX_BYTES / 1e6:g} MB")
    found: dict[str, bytes] = {}
    for info in infos:
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FileFormatError(
                f"{info.filename!r:.60} in the session is compressed in a way that no session is"
            )
        path = PurePosixPath(info.filename)
        known = info.filename in (*_LARGEST, "pattern.nc") or (
            len(path.parts) == 2 and path.parts[0] == "measured" and path.name in _MEASURED
        )
        if not known or info.filename in found:
            raise FileFormatError(f"the session holds {info.filename!r:.60}, which no session of lacbed does")
        most = _LARGEST.get(info.filename, MAX_BYTES)
        if info.file_size > most:
            raise FileFormatError(f"{info.filename} in the session is larger than {most / 1e6:g} MB")
        if info.filename == "pattern.nc":
            continue  # for whoever unpacks it
        with archive.open(info) as member:
            data = member.read(most + 1)
        if len(data) != info.file_size:
            raise FileFormatError(f"{info.filename} in the session is not as large as it says")
        found[info.filename] = data
    return found


def _text(members: Mapping[str, bytes], name: str) -> str:
    try:
        return members[name].decode("utf-8")
    except UnicodeDecodeError:
        raise FileFormatError(f"{name} in the session is not text in UTF-8") from None


def _measured(members: Mapping[str, bytes]) -> dict[str, bytes]:
    files = {_MEASURED[PurePosixPath(n).name]: data for n, data in members.items() if n.startswith("measured/")}
    if files:
        listed = [{"ending": ending, "size": len(data)} for ending, data in files.items()]
        parse_files(listed, b"".join(files.values()))
    return files
