"""Files that leave the page and files that come to it: results kept for downloads, and dropped measurements."""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.app.request import View
from lacbed.errors import SettingError
from lacbed.io.checks import is_list, is_number, is_whole

if TYPE_CHECKING:
    import xarray as xr


MEDIA_TYPES = {
    ".nc": "application/x-netcdf",
    ".tif": "image/tiff",
    ".npz": "application/x-npz",
    ".png": "image/png",
}


def rebuild_result(labels: str, payload: bytes) -> xr.DataArray:
    """The pattern that a worker sent as labels and float64 values."""
    from lacbed.patterns.schema import rebuild

    header = json.loads(labels)
    shape = [len(header["coords"][dim]["values"]) for dim in header["dims"]]
    return rebuild(np.frombuffer(payload, "<f8").reshape(shape), header)


def separate_results(labels: Sequence[str], sizes: Sequence[int], payload: bytes) -> list[xr.DataArray]:
    """The patterns of several results whose contents are joined."""
    ends = np.cumsum(sizes)
    return [
        rebuild_result(text, payload[end - size : end])
        for text, size, end in zip(labels, sizes, ends, strict=True)
    ]


def rebuild_results(labels: Sequence[str], sizes: Sequence[int], payload: bytes) -> xr.DataArray:
    """The pattern of several results that are pieces of one series of thicknesses, whose contents are joined."""
    import xarray as xr

    pieces = separate_results(labels, sizes, payload)
    if len(pieces) == 1:
        return pieces[0]
    joined = xr.concat(pieces, "thickness", coords="minimal", compat="override", join="override").sortby(
        "thickness"
    )
    errors = [piece.attrs["error_estimate"] for piece in pieces if "error_estimate" in piece.attrs]
    joined.attrs = {**pieces[0].attrs, **({"error_estimate": max(errors)} if errors else {})}
    return joined.isel(thickness=np.unique(joined["thickness"].values, return_index=True)[1])


def file_bytes(
    pattern: xr.DataArray, ending: str, thickness: float | None, hkl: Sequence[int] | None = None
) -> bytes:
    """A pattern, or its image at one thickness and of one reflection, as the content of a file.

    Raises:
        SettingError: if the ending, the thickness or the reflection is not on offer.
    """
    from lacbed.patterns.files import save_pattern

    if ending not in MEDIA_TYPES:
        raise SettingError(f"a file is one of {', '.join(MEDIA_TYPES)}, got {ending!r:.20}")
    if hkl is not None:
        label = ",".join(str(v) for v in hkl)
        if label not in pattern["hkl"].values:
            raise SettingError(f"the result has no reflection {label}")
        pattern = pattern.sel(hkl=[label])
    if thickness is not None:
        near = int(np.abs(pattern["thickness"].values - thickness).argmin())
        if abs(float(pattern["thickness"][near]) - thickness) > 1e-6:
            raise SettingError(f"the result has no thickness {thickness:g} Å")
        pattern = pattern.isel(thickness=[near])
    elif ending == ".png" and pattern.sizes["thickness"] > 1:
        raise SettingError("a .png shows one thickness; choose it")
    with tempfile.TemporaryDirectory(prefix="lacbed-") as folder:
        return save_pattern(pattern, Path(folder) / f"pattern{ending}").read_bytes()


def parse_export(request: Mapping[str, Any]) -> tuple[str, float | None, list[int] | None]:
    """Ending, thickness and reflection of a request for a file; None for all of them.

    Raises:
        SettingError: if they are not text, a number and three whole numbers.
    """
    ending, thickness, hkl = (request.get(key) for key in ("format", "thickness", "hkl"))
    if not isinstance(ending, str) or ending not in MEDIA_TYPES:
        raise SettingError(f"the format of a file is one of {', '.join(MEDIA_TYPES)}")
    if thickness is not None and not is_number(thickness):
        raise SettingError("the thickness of a file is a number in Å")
    if hkl is not None and not is_list(hkl, lambda v: is_whole(v, -1000, 1000), 3):
        raise SettingError("the reflection of a file is three whole numbers")
    return ending, None if thickness is None else float(thickness), None if hkl is None else [int(v) for v in hkl]


@dataclass(frozen=True, eq=False)
class Result:
    """One exact result.

    Attributes:
        view: what was asked for.
        labels: coordinates and metadata as JSON.
        payload: values as float64.
        when: time of the last use, by the monotonic clock.
    """

    view: View
    labels: str
    payload: bytes
    when: float = field(default_factory=time.monotonic)


class Results:
    """The results of all users; the one that was not used for longest goes first.

    Args:
        most_bytes: of all of them together.
        seconds: how long one is kept unused.
    """

    def __init__(self, most_bytes: int, seconds: float) -> None:
        self._most, self._seconds = most_bytes, seconds
        self._kept: OrderedDict[str, Result] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, result: Result) -> str:
        """Keep a result; returns its name."""
        name = secrets.token_urlsafe(18)
        self._kept[name] = result
        self._forget()
        return name

    def get(self, name: object) -> Result:
        """The result of a name.

        Raises:
            SettingError: if it is not kept, or not any more.
        """
        self._forget()
        found = self._kept.get(name) if isinstance(name, str) else None
        if found is None:
            raise SettingError("this result is no longer kept; compute it again, then download it")
        assert isinstance(name, str)
        self._kept.move_to_end(name)
        return found

    def several(self, names: object, mixed: bool = False) -> list[Result]:
        """The results of a name, or of a list of names that are pieces of one series.

        Args:
            names: of the results.
            mixed: whether they may be of different reflections of one zone.

        Raises:
            SettingError: if one is not kept, or they are of different settings.
        """
        listed = names if isinstance(names, list) and 0 < len(names) <= 400 else [names]
        found = [self.get(name) for name in listed]
        if len({(result.view.zone_key, None if mixed else result.view.hkl) for result in found}) > 1:
            raise SettingError("these results do not belong together; compute the series again, then download it")
        return found

    def _forget(self) -> None:
        now = time.monotonic()
        for name in [n for n, r in self._kept.items() if now - r.when > self._seconds]:
            del self._kept[name]
        while len(self._kept) > 1 and sum(len(r.payload) for r in self._kept.values()) > self._most:
            self._kept.popitem(last=False)


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
