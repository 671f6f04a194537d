"""The steps by which a picture becomes exact: learned, preview, coarse, within the tolerance."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.app.held import Held, held, hold
from lacbed.app.learned import learned_pattern
from lacbed.app.limits import Send, check_budget, ticker
from lacbed.app.request import View, whole_pixels
from lacbed.app.structure import crystal_of, montage_reach

if TYPE_CHECKING:
    import xarray as xr

    from lacbed.crystals import Crystal
    from lacbed.geometry.frame import Frame
    from lacbed.settings import Settings


PREVIEW_BEAMS = 200
PREVIEW_SECONDS = 0.6
SLOW_SECONDS = 4.0
"""A full picture that is expected to take longer is preceded by one with half the pixels."""

MOST_BEAMS = 2400
"""Where the search for enough beams gives up here."""

DRAFT = 1e-2
"""Tolerance of the coarse picture that comes before the exact one while the crystal is tilted."""

MONTAGE_DETAIL = 64
PIECE = 20
"""Thicknesses that are computed together, so that the page need not wait for all."""

_OPERATIONS_A_SECOND = 5e9
_JUDGED = 6
"""Thicknesses of the series at which convergence is judged."""


def preview(view: View, send: Send, budget: int) -> None:
    """A picture at once: exact where a zone is kept, learned where that holds, else with few beams and pixels."""
    crystal = crystal_of(view)
    check_budget(view.pixels, 1, 1, budget)
    kept = held(view) if is_covered(view) else None
    if kept is not None and kept.answers(view.thickness):
        _send_learned(crystal, view, send)
        _send_series(view, kept, send, (view.thickness,))
    elif not _send_learned(crystal, view, send):
        _send_preview(crystal, view, send)


def simulate(view: View, send: Send, budget: int) -> None:
    """The picture within the tolerance, then the series of thicknesses; before it what is there at once.

    Where a zone holds, that is all reflections at the thickness that is looked at, and the series in pieces around
    it. Elsewhere it is the reflection that is looked at, at all thicknesses, with as many beams as it needs.
    """
    crystal = crystal_of(view)
    check_budget(view.pixels, 1, len(view.thicknesses), budget)
    covered = is_covered(view)
    kept = held(view) if covered else None
    # What a kept zone tells at once needs nothing before it.
    if not (kept is not None and kept.answers(view.thickness)) and not _send_learned(crystal, view, send):
        _send_preview(crystal, view, send)
    if covered:
        _simulate_zone(crystal, view, send)
    else:
        _simulate_beams(crystal, view, send)


def tilt(view: View, send: Send, budget: int) -> None:
    """One reflection at one thickness, ever sharper: at once, coarse within `DRAFT`, then within the tolerance.

    A zone that is kept answers by itself. Else the last step solves one for all reflections, as `simulate` does,
    so that whoever chooses the zone axis has them. What the page has already (`have`) needs no preview.
    """
    crystal = crystal_of(view)
    check_budget(view.pixels, 1, 1, budget)
    covered = is_covered(view)
    kept = held(view) if covered else None
    is_quick = (kept is not None and kept.answers(view.thickness)) or view.thickness in view.have
    if not _send_learned(crystal, view, send) and not is_quick:
        _send_preview(crystal, view, send)
    if kept is not None:
        _send_series(view, kept, send, (view.thickness,))
        return
    if not covered:
        _simulate_beams(crystal, replace(view, thickness_max=view.thickness_step), send)
        return
    pixels = whole_pixels(view.extent, view.detail // 2)
    if view.tolerance < DRAFT and pixels < view.pixels:
        settings = replace(exact_settings(view), thicknesses=(view.thickness,), tolerance=DRAFT)
        _send_coarse(crystal, settings, pixels, send, {})
    zone, there = _send_all(crystal, view, send)
    if view.hkl not in there:
        _send_series(view, zone, send, (view.thickness,))


def _send_coarse(crystal: Crystal, settings: Settings, pixels: int, send: Send, extra: dict[str, Any]) -> None:
    """What the settings ask for with so many pixels."""
    from lacbed.simulation import simulate as run

    settings = replace(settings, grid=replace(settings.grid, pixels=pixels))
    start = time.perf_counter()
    pattern = run(crystal, **_arguments(settings), progress=ticker(send, _sized("coarse picture", pixels)))
    _send_pattern(pattern, "coarse", send, extra | {"seconds": time.perf_counter() - start})


def is_covered(view: View) -> bool:
    """Whether a zone holds for a view: a foil that is not too steep, a reflection of its own Laue zone."""
    from lacbed.engine.zone import covers
    from lacbed.geometry.frame import make_frame

    frame = make_frame(crystal_of(view), view.zone_axis, view.foil_normal, view.x_direction)
    return covers(exact_settings(view), frame)


def series(view: View, send: Send, budget: int) -> None:
    """The series of thicknesses of another reflection, where a zone is kept; else all of `simulate`."""
    if not is_covered(view) or held(view) is None:
        simulate(view, send, budget)
        return
    check_budget(view.pixels, 1, len(view.thicknesses), budget)
    _send_series(view, hold(view, exact_settings(view)), send)


def _simulate_zone(crystal: Crystal, view: View, send: Send) -> None:
    """All reflections at one thickness from a zone that is kept, then the series.

    Of a zone that is kept already the one that is looked at comes first: it takes a fraction of the time of all.
    """
    kept, thickness = held(view), view.thickness
    is_seen = thickness in view.have
    if kept is not None and not is_seen and kept.opened.thickness != thickness and kept.answers(thickness):
        _check_reflection(crystal, view)
        _send_series(view, kept, send, (thickness,))
        is_seen = True
    zone, there = _send_all(crystal, view, send)
    if view.hkl not in there and not is_seen:  # a reflection beyond the half-width comes by itself
        _send_series(view, zone, send, (thickness,))
    _send_series(view, zone, send)


def _send_all(crystal: Crystal, view: View, send: Send) -> tuple[Held, set[tuple[int, ...]]]:
    """All reflections at one thickness; the zone that is kept, and which reflections they are."""
    _check_reflection(crystal, view)
    settings = exact_settings(view)
    start = time.perf_counter()
    if held(view) is None:
        send({"kind": "progress", "phase": "choosing the waves", "fraction": None}, b"")
    tick = ticker(send, _sized("solving", view.pixels))
    zone = hold(view, settings, tick)
    pattern = zone.every(view.thickness, tick)
    before = [] if pattern is zone.first else zone.openings(view.thickness)
    extra = {"reach": zone.opened.reach, "opened": zone.opened.told(before), "converged": True}
    _send_result(pattern, "exact", send, extra | {"seconds": time.perf_counter() - start})
    return zone, {tuple(g) for g in _indices(pattern)}


def _check_reflection(crystal: Crystal, view: View) -> None:
    """Refuse a reflection that there is not, before any work."""
    from lacbed.geometry.frame import make_frame
    from lacbed.setup import wanted_reflections

    frame = make_frame(crystal, view.zone_axis, view.foil_normal, view.x_direction)
    wanted_reflections(crystal, frame, exact_settings(view))


def _send_series(view: View, zone: Held, send: Send, wanted: tuple[float, ...] | None = None) -> None:
    """The thicknesses of a reflection in pieces, the nearest first."""
    pieces = [wanted] if wanted else _pieces(view)
    for n, thicknesses in enumerate(pieces):
        start = time.perf_counter()
        send({"kind": "progress", "phase": "thickness series", "fraction": n / len(pieces)}, b"")
        pattern = zone.some(
            thicknesses, view.hkl, ticker(send, _sized("thickness series", view.pixels), n, len(pieces))
        )
        opened = zone.opened.told(zone.openings(max(thicknesses)))
        extra = {"opened": opened, "converged": True, "part": True}
        _send_result(pattern, "exact", send, extra | {"seconds": time.perf_counter() - start})


def _pieces(view: View) -> list[tuple[float, ...]]:
    """The series in fixed pieces without those that the page has, the nearest first."""
    every = view.series()
    pieces = [tuple(every[i : i + PIECE]) for i in range(0, len(every), PIECE)]
    pieces = [piece for piece in pieces if not set(piece) <= set(view.have)]
    return sorted(pieces, key=lambda piece: abs(0.5 * (piece[0] + piece[-1]) - view.thickness))


def _indices(pattern: xr.DataArray) -> list[list[int]]:
    return [[int(pattern[i][n]) for i in "hkl"] for n in range(pattern.sizes["hkl"])]


def _simulate_beams(crystal: Crystal, view: View, send: Send) -> None:
    """The series with a number of beams that converges, coarse first where it takes long."""
    from lacbed.simulation import simulate as run

    settings = exact_settings(view)
    beams, converged, error = _enough_beams(crystal, settings, send, view.tolerance)
    settings = replace(settings, beams=beams)
    extra = {"beams_asked": beams, "converged": converged, "error": error}
    if _seconds(crystal, settings) > SLOW_SECONDS:
        _send_coarse(crystal, settings, whole_pixels(view.extent, view.detail // 2), send, extra)
    start = time.perf_counter()
    progress = ticker(send, _sized("exact picture", view.pixels))
    pattern = run(crystal, **_arguments(settings), progress=progress)
    _send_result(pattern, "exact", send, extra | {"seconds": time.perf_counter() - start})


def montage(view: View, send: Send, budget: int) -> None:
    """All reflections within the extent at one thickness: first with few beams, then converged."""
    from lacbed.geometry.frame import make_frame
    from lacbed.setup import wanted_reflections
    from lacbed.simulation import simulate as run

    crystal = crystal_of(view)
    frame = make_frame(crystal, view.zone_axis, view.foil_normal, view.x_direction)
    limit = round(montage_reach(crystal, frame, view), 6)
    covered = is_covered(view)
    pixels = view.pixels if covered else whole_pixels(view.extent, min(view.detail, MONTAGE_DETAIL))
    settings = exact_settings(view)
    grid = replace(settings.grid, pixels=pixels)
    settings = replace(settings, hkl=("all", limit), thicknesses=(view.thickness,), grid=grid)
    check_budget(pixels, len(wanted_reflections(crystal, frame, settings)), 1, budget)
    if covered:
        if held(view) is None:
            _send_preview(crystal, view, send)
        _send_all(crystal, view, send)
        return
    rough = replace(settings, grid=replace(grid, pixels=whole_pixels(view.extent, 32)), dtype="float32")
    pattern = run(crystal, **_arguments(replace(rough, beams=PREVIEW_BEAMS, laue_zones=0)))
    _send_pattern(pattern, "preview", send, {})
    beams, converged, error = _enough_beams(crystal, settings, send, view.tolerance)
    start = time.perf_counter()
    progress = ticker(send, _sized("all reflections", pixels))
    pattern = run(crystal, **_arguments(replace(settings, beams=beams)), progress=progress)
    extra = {"beams_asked": beams, "converged": converged, "error": error, "reach": limit}
    _send_result(pattern, "exact", send, extra | {"seconds": time.perf_counter() - start})


def exact_settings(view: View) -> Settings:
    """The settings of the exact series of a view; the number of beams is still open."""
    from lacbed.geometry.tilts import TiltGrid
    from lacbed.settings import Settings

    return Settings(
        zone_axis=view.zone_axis,
        energy=view.voltage * 1e3,
        thicknesses=view.thicknesses,
        grid=TiltGrid(pixels=view.pixels, extent=view.extent),
        hkl=(view.hkl,),
        absorption=view.absorption,  # type: ignore[arg-type]
        laue_zones=view.laue_zones,
        factors=view.factors,
        foil_normal=view.foil_normal,
        x_direction=view.x_direction,
        device="cpu",
    )


def _arguments(settings: Settings) -> dict[str, Any]:
    """Settings as arguments of `lacbed.simulate`."""
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def _enough_beams(
    crystal: Crystal, settings: Settings, send: Send, tolerance: float
) -> tuple[int, bool, float | None]:
    """How many beams a few thicknesses of the series need, whether they are enough, and the error."""
    import torch

    from lacbed.converge import converge
    from lacbed.solvers.blocks import one_thread_each

    send({"kind": "progress", "phase": "choosing the number of beams", "fraction": None}, b"")
    places = np.linspace(0, len(settings.thicknesses) - 1, min(_JUDGED, len(settings.thicknesses)))
    judged = tuple(settings.thicknesses[round(p)] for p in places)
    with one_thread_each(torch.device("cpu")):
        report = converge(
            crystal,
            replace(settings, thicknesses=judged),
            max_beams=MOST_BEAMS,
            tolerance_z=1.0,
            tolerance_intensity=tolerance,
        )
    return report.beams, report.converged, report.error if math.isfinite(report.error) else None


def _seconds(crystal: Crystal, settings: Settings) -> float:
    """Seconds that the diagonalisations of a picture take, roughly."""
    import torch

    from lacbed.setup import prepare
    from lacbed.solvers.blocks import one_thread_each

    with one_thread_each(torch.device("cpu")):
        problem = prepare(crystal, settings).problem
    each = (9.0 if problem.is_real else 22.0) + (60.0 if problem.absorptive is not None else 0.0)
    return float(len(problem.distinct[0]) * each * problem.strong**3 / _OPERATIONS_A_SECOND)


def _send_preview(crystal: Crystal, view: View, send: Send) -> None:
    """All reflections, or the one that is looked at, with as many pixels as half a second allows.

    It has one Laue zone; a reflection of another has no preview.
    """
    from lacbed.geometry.frame import make_frame
    from lacbed.simulation import simulate as run

    if sum(h * u for h, u in zip(view.hkl, view.zone_axis, strict=True)):
        return
    full = replace(exact_settings(view), laue_zones=0, foil_normal=None)
    frame = make_frame(crystal, view.zone_axis, x_direction=view.x_direction)
    reach = montage_reach(crystal, frame, view)
    hkl: Any = ("all", round(reach, 6)) if _within(frame, view.hkl, reach) else full.hkl
    first: tuple[float, int] | None = None  # seconds, for how many pixels
    for detail, beams in ((64, PREVIEW_BEAMS), (32, PREVIEW_BEAMS), (32, PREVIEW_BEAMS // 2)):
        pixels = whole_pixels(view.extent, min(detail, view.detail))
        settings = replace(
            full,
            grid=replace(full.grid, pixels=pixels),
            thicknesses=(view.thickness,),
            beams=beams,
            hkl=hkl,
            dtype="float32",
        )
        first = first or (_seconds(crystal, settings), pixels)  # is slow itself; scales for the others
        if first[0] * (pixels / first[1]) ** 2 * (beams / PREVIEW_BEAMS) ** 3 < PREVIEW_SECONDS:
            break
    start = time.perf_counter()
    pattern = run(crystal, **_arguments(settings))
    _send_pattern(pattern, "preview", send, {"seconds": time.perf_counter() - start})


def _within(frame: Frame, hkl: tuple[int, int, int], reach: float) -> bool:
    """Whether a reflection lies in the zone no further out than `reach` in 1/Å."""
    vector = frame.vectors(np.array([hkl]))[0]
    return bool(abs(vector[2]) < 1e-6 and np.hypot(vector[0], vector[1]) <= reach)


def _send_learned(crystal: Crystal, view: View, send: Send) -> bool:
    """The learned picture, if there is a model and it holds here; says whether."""
    found = learned_pattern(crystal, view)
    if found is not None:
        _send_pattern(found[0], "learned", send, found[1])
    return found is not None


def _sized(what: str, pixels: int) -> str:
    return f"{what}, {pixels} x {pixels} pixels"


def describe_pattern(pattern: xr.DataArray, stage: str, extra: dict[str, Any]) -> dict[str, Any]:
    """The header that goes with the values of a pattern."""
    from lacbed.patterns.schema import axis_step

    attributes = pattern.attrs
    return {
        "kind": "pattern",
        "stage": stage,
        "pixels": int(pattern.sizes["kx"]),
        "thicknesses": pattern["thickness"].values.tolist(),
        "hkl": _indices(pattern),
        "crystal": attributes["crystal"],
        "zone_axis": [int(v) for v in attributes["zone_axis"]],
        "x_direction": [int(v) for v in attributes["x_direction"]],
        "energy": float(attributes["energy"]),
        "gx": pattern["gx"].values.tolist(),
        "gy": pattern["gy"].values.tolist(),
        "k_first": float(pattern["kx"][0]),
        "k_step": axis_step(pattern["kx"]),
        "wavelength": float(attributes["wavelength"]),
        "beams": attributes.get("beams"),
        "solver": attributes.get("solver"),
        "notes": list(attributes.get("notes", [])),
        **({"error": float(attributes["error_estimate"])} if "error_estimate" in attributes else {}),
        **extra,
    }


def _send_pattern(pattern: xr.DataArray, stage: str, send: Send, extra: dict[str, Any]) -> None:
    """Values as float32 (thickness, hkl, ky, kx), to be looked at."""
    send(describe_pattern(pattern, stage, extra), pattern.values.astype("<f4").tobytes())


def _send_result(pattern: xr.DataArray, stage: str, send: Send, extra: dict[str, Any]) -> None:
    """Values as float64 with all labels: the server keeps them for downloads and passes float32 on."""
    from lacbed.patterns.schema import labels_to_json

    header = {"kind": "result", "view": describe_pattern(pattern, stage, extra)}
    header["labels"] = labels_to_json(pattern, values=True)
    send(header, pattern.values.astype("<f8").tobytes())
