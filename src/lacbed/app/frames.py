"""Camera frames on the page: a stack is extracted from a tilt series, and goes on as any measured stack does."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.app.frame_files import stored
from lacbed.app.limits import Header, Send, ticker
from lacbed.app.request import View
from lacbed.app.structure import crystal_of
from lacbed.errors import LacbedError, MemoryLimitError, SettingError
from lacbed.io.checks import check_number, check_one_of, is_list, is_number, is_whole

if TYPE_CHECKING:
    from lacbed.experiment.extract.look import Look
    from lacbed.experiment.extract.orient import Orientation
    from lacbed.experiment.extract.series import FrameSeries
    from lacbed.experiment.extract.settings import ExtractSettings

_SAMPLE, _COPIES = 200, 8
"""Frames that the first look holds at once, and in how many copies."""

_WORDS = {
    "as --spot X,Y=H,K,L twice, or take the best with --accept": "under Spots, or tick “take the best indices”",
    "as --scan 60x80": "under Scan, such as 60 x 80",
    "say --order raster or serpentine": "say so under Order",
    "; name one with --dataset": "; save only the one that you mean",
    "give --gain": "give the counts per electron",
}
"""What the command line calls things, and what the page does."""


@dataclass(frozen=True)
class Asked:
    """What the page says about a series.

    Attributes:
        name: of its file.
        settings: of the extraction.
        vacuum: name of the file of the vacuum scan; "" without one.
    """

    name: str
    settings: ExtractSettings
    vacuum: str = ""


def parse_extraction(data: Any) -> Asked:
    """An extraction from what the page sent.

    Args:
        data: {"name", "scan", "order", "gain", "spots", "accept", "vacuum"}, all of which may be missing.

    Raises:
        SettingError: in plain words, naming what was expected.
    """
    from lacbed.experiment.extract.settings import ExtractSettings

    if not isinstance(data, Mapping):
        raise SettingError("the extraction must be a JSON object")
    scan, gain, spots, order = (data.get(key) for key in ("scan", "gain", "spots", "order"))
    if scan is not None:
        if not is_list(scan, lambda v: is_whole(v, 1, 10_000), 2):
            raise SettingError(f"the scan is two whole numbers, rows x columns of tilts, got {scan!r:.40}")
        scan = (int(scan[0]), int(scan[1]))
    check_one_of("the order of the scan", order or "auto", ("auto", "raster", "serpentine"))
    if spots is not None and not is_list(spots, _is_spot):
        raise SettingError("a spot is X,Y=H,K,L: column and row in the mean frame, and its indices")
    settings = ExtractSettings(
        scan=scan,
        order=order or "auto",
        gain=None if gain is None else check_number("the counts per electron", gain, above=0),
        spots=tuple(((float(x), float(y)), (int(h), int(k), int(m))) for x, y, h, k, m in spots or ()),
        accept=data.get("accept") is True,
        name=_stem(data.get("name")),
    )
    return Asked(str(data.get("name") or "frames")[:80], settings, str(data.get("vacuum") or "")[:80])


def _is_spot(value: Any) -> bool:
    return is_list(value, is_number, 5) and all(is_whole(v, -100, 100) for v in value[2:])


def _stem(name: Any) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", str(name or "").partition(".")[0]).strip("_")[:60]


def extract(view: View, asked: Asked, files: Sequence[tuple[str, bytes]], send: Send, budget: int) -> None:
    """Extract a stack from the frames of a file along the zone axis and at the voltage of a view.

    A second file is the vacuum scan.

    Sends kind "looked" with the mean frame as payload: float32 (row, column), square, the last row first; then
    "extracted" with indices, geometry and the stack as the content of a .nc file; then the report of
    `lacbed experiment extract` as one HTML page (kind "report").

    Raises:
        LacbedError: as `lacbed.open_frames` and `lacbed.extract` do, in words that name what the page has.
    """
    if (len(files) > 1) != bool(asked.vacuum):
        raise SettingError("the vacuum scan arrived without its name, or not at all; choose it again")
    names = {"frames": asked.name, "vacuum": asked.vacuum}
    try:
        with tempfile.TemporaryDirectory(prefix="lacbed-") as folder:
            _extract(view, asked, files, Path(folder), send, budget)
    except LacbedError as error:
        text = re.sub(
            r"'[^' ]*/lacbed-[^'/ ]*(?:/(\w+))?[^' ]*'", lambda m: names.get(m[1], asked.name), str(error)
        )
        raise SettingError(_on_page(text)) from None


def _on_page(text: str) -> str:
    for command, page in _WORDS.items():
        text = text.replace(command, page)
    return text


def _extract(
    view: View, asked: Asked, files: Sequence[tuple[str, bytes]], folder: Path, send: Send, budget: int
) -> None:
    from lacbed.experiment.extract import pipeline

    send({"kind": "progress", "phase": "reading the frames", "fraction": None}, b"")
    crystal, energy, wanted = crystal_of(view), view.voltage * 1e3, asked.settings
    series = _opened(stored(*files[0], folder, "frames"), asked.name, wanted, budget)
    for file in files[1:]:
        wanted = replace(wanted, vacuum=_opened_vacuum(file, folder, asked, budget))
    phase = cache(partial(ticker, send))
    extraction = pipeline.extract(
        series,
        crystal,
        view.zone_axis,
        energy,
        wanted,
        progress=lambda what, part: phase(what)(part),
        on_look=lambda look: send(*_looked(series, look)),
    )
    experiment, look, stack = extraction.experiment, extraction.look, extraction.stack
    found = extraction.orientation
    rows = pipeline.kept_images(stack, look.lattice.sites, found.origin, wanted.images)
    header = {
        "kind": "extracted",
        **_geometry(found),
        "name": experiment.name,
        "hkl": [list(g) for g in experiment.hkl],
        "pixels": experiment.pixels,
        "zone_axis": list(experiment.zone_axis),
        "voltage": experiment.energy / 1e3,
        "crystal": crystal.name,
        "gain": stack.noise.gain,
        "spots": _spots(look, found, rows),
        "notes": [_on_page(note) for note in experiment.notes],
        "command": command(view, asked),
    }
    send(header, _content(extraction, folder / "stack.nc"))
    send({"kind": "progress", "phase": "writing the report", "fraction": None}, b"")
    send({"kind": "report", "of": "extract"}, _report(extraction, folder / "report"))


def _opened(path: Path, name: str, wanted: ExtractSettings, budget: int) -> FrameSeries:
    """A series under the name that the page has for it, if it is not too large."""
    from lacbed.experiment.extract.frames import open_frames

    series = replace(open_frames(path, wanted.scan), source=name)
    _check_memory(series, budget)
    return series


def _opened_vacuum(file: tuple[str, bytes], folder: Path, asked: Asked, budget: int) -> FrameSeries:
    """The same of the vacuum scan, of which a message says that it is meant."""
    try:
        return _opened(stored(*file, folder, "vacuum"), asked.vacuum, asked.settings, budget)
    except LacbedError as error:
        raise SettingError(f"vacuum scan: {error}") from None


def _check_memory(series: FrameSeries, budget: int) -> None:
    rows, columns = series.camera
    need = 4 * _COPIES * min(len(series), _SAMPLE) * rows * columns
    if need > budget:
        raise MemoryLimitError(
            f"frames of {rows} x {columns} pixels need about {need / 2**30:.1f} GiB here, and one computation may "
            f"take {budget / 2**30:.1f} GiB; bin the frames, or use lacbed experiment extract"
        )


def _looked(series: FrameSeries, look: Look) -> tuple[Header, bytes]:
    rows, columns = look.mean.shape
    square = np.full((max(rows, columns),) * 2, np.nan, dtype="<f4")
    square[:rows, :columns] = look.mean
    header = {
        "kind": "looked",
        "frames": len(series),
        "camera": [rows, columns],
        "scan": [int(n) for n in look.scan.shape],
        "serpentine": bool(look.scan.serpentine),
        "pixels": len(square),
        "radius": float(look.aperture.radius),
        "discs": len(look.lattice.sites),
        "notes": [_on_page(note) for note in look.notes],
    }
    return header, np.ascontiguousarray(square[::-1]).tobytes()


def _geometry(found: Orientation) -> Header:
    grid = found.grid
    return {
        "half_width": grid.half_width,
        "half_width_uncertainty": _finite(grid.uncertainty[0]),
        "rotation": grid.rotation,
        "rotation_uncertainty": _finite(grid.uncertainty[1]),
        "center": list(grid.center),
        "x_direction": [round(float(v), 4) for v in grid.x_direction],
        "orientation": grid.orientation,
        "ways": found.ways,
        "decided": "two named spots decide them" if found.choice is None else found.choice.why,
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _spots(look: Look, found: Orientation, rows: np.ndarray) -> list[Header]:
    """Indices of the discs that are written, and their places in the mean frame."""
    places = look.middle + look.lattice.places()
    hkl = found.indexing.of(look.lattice.sites - found.origin)
    return [
        {"hkl": [int(v) for v in hkl[i]], "x": float(places[i][1]), "y": float(places[i][0])}
        for i in rows.tolist()
    ]


def _content(extraction: Any, path: Path) -> bytes:
    from lacbed.patterns.files import save_pattern

    return save_pattern(extraction.experiment.pattern, path).read_bytes()


def _report(extraction: Any, folder: Path) -> bytes:
    from lacbed.experiment.extract.report import write_extraction

    write_extraction(extraction, folder)
    return (folder / "report.html").read_bytes()


def command(view: View, asked: Asked) -> str:
    """The shell command of an extraction of the files that were given."""
    from lacbed.app.request import file_stem

    wanted, join = asked.settings, ",".join
    crystal = view.name if view.name and view.b_iso is None and not view.charges else f"{file_stem(view)}.cif"
    words = ["lacbed", "experiment", "extract", asked.name, crystal, "-V", f"{view.voltage:.10g}"]
    words += ["--zone", join(str(v) for v in view.zone_axis)]
    words += ["--scan", "{}x{}".format(*wanted.scan)] if wanted.scan else []
    words += ["--order", wanted.order] if wanted.order != "auto" else []
    words += ["--gain", f"{wanted.gain:.10g}"] if wanted.gain else []
    words += ["--vacuum", asked.vacuum] if asked.vacuum else []
    for (x, y), hkl in wanted.spots:
        words += ["--spot", f"{x:g},{y:g}={join(str(v) for v in hkl)}"]
    words += ["--accept"] if wanted.accept else []
    return " ".join(shlex.quote(word) for word in [*words, "-o", f"{wanted.name or 'stack'}.nc"])
