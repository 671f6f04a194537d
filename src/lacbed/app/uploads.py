"""Measured patterns that are dropped on the page: which files make an experiment, and where a worker puts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lacbed.errors import SettingError
from lacbed.io.numbers import is_whole

ENDINGS = (".json", ".npz", ".nc", ".tif", ".tiff")
HINT = "drop experiment.json and images.npz together, or one .nc, .npz or .tif file written by lacbed"
_PAIR = {".json": "experiment.json", ".npz": "images.npz"}


def parse_files(listed: Any, payload: bytes) -> dict[str, bytes]:
    """Ending and content of every file.

    Args:
        listed: [{"ending": ".npz", "size": bytes}, ...] in the order of their contents.
        payload: the contents, one after the other.

    Raises:
        SettingError: if they do not make an experiment.
    """
    if not isinstance(listed, Sequence) or isinstance(listed, str) or not 1 <= len(listed) <= 2:
        raise SettingError(HINT)
    found: dict[str, bytes] = {}
    place = 0
    for entry in listed:
        ending, size = _entry(entry)
        found[ending] = payload[place : place + size]
        place += size
    if place != len(payload) or len(found) != len(listed):
        raise SettingError("the files arrived incomplete; drop them again")
    if len(found) == 2 and set(found) != set(_PAIR):
        raise SettingError(HINT)
    if set(found) == {".json"}:
        raise SettingError(f"the images that experiment.json describes are missing; {HINT}")
    return found


def _entry(entry: Any) -> tuple[str, int]:
    ending, size = (entry.get("ending"), entry.get("size")) if isinstance(entry, Mapping) else (None, None)
    if ending not in ENDINGS:
        raise SettingError(f"files of the kind {str(ending)[:12]!r} are not measured patterns; {HINT}")
    if not is_whole(size, 0):
        raise SettingError("the files arrived incomplete; drop them again")
    return ending, size


def store(files: Mapping[str, bytes], folder: Path) -> Path:
    """Write the files under names of our own into a new folder; what `load_experiment` is to read."""
    if len(files) == 2:
        for ending, name in _PAIR.items():
            (folder / name).write_bytes(files[ending])
        return folder
    ((ending, content),) = files.items()
    path = folder / f"measured{ending}"
    path.write_bytes(content)
    return path
