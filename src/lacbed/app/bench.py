"""The bench: measured patterns fitted and refined, with images at every thickness to compare them with."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.app.files import store
from lacbed.app.limits import Header, Send, check_stop, ticker
from lacbed.app.request import View
from lacbed.app.structure import crystal_of
from lacbed.errors import FileFormatError, MemoryLimitError

if TYPE_CHECKING:
    from lacbed.crystals import Crystal
    from lacbed.experiment.experiment import Experiment
    from lacbed.refinement.fit import FitResult
    from lacbed.refinement.options import FitSettings

SERIES_BYTES = 24_000_000
"""Of the images at all thicknesses; of a large stack there are fewer thicknesses."""
FEWEST = 8
_AROUND, _STARTS = 0.12, 9
"""A refinement begins from so many thicknesses within this fraction of the fitted one."""


def fit(view: View, files: Mapping[str, bytes], send: Send, budget: int) -> None:
    """Read an experiment, find thickness and common geometry, and send both stacks with the figures of merit.

    The pages of the stacks are measured and simulated images in turn, float32: (reflection, 2, ky, kx). After
    them comes the same simulation at other thicknesses (kind "series"): (thickness, reflection, ky, kx), and the
    report of `lacbed fit` as one HTML page (kind "report").

    Raises:
        FileFormatError: if the files are no experiment.
        SettingError: if the crystal cannot show the measured reflections.
        MemoryLimitError: if the images are more than one computation may hold.
    """
    from lacbed.refinement.fit import fit
    from lacbed.refinement.options import FitSettings

    send({"kind": "progress", "phase": "reading the measured patterns", "fraction": None}, b"")
    crystal, experiment = crystal_of(view), read_experiment(files, budget)
    send({"kind": "measured", **_about_experiment(experiment)}, experiment.images.astype("<f4").tobytes())
    settings = FitSettings(view.tried_thicknesses, view.absorption, view.factors, device="cpu")  # type: ignore[arg-type]
    start = time.perf_counter()
    send({"kind": "progress", "phase": "choosing the number of beams", "fraction": None}, b"")
    result = fit(experiment, crystal, settings, ticker(send, "fitting the thickness"))
    header = {"crystal": crystal.name, **_header(experiment, result, time.perf_counter() - start)}
    send(header, _payload(experiment, result))
    _send_series(result, crystal, settings, send)
    _send_report(result, send)


def _send_series(result: FitResult, crystal: Crystal, settings: FitSettings, send: Send) -> None:
    """The simulation with the fitted geometry at the fitted thickness and those of the scan that have room."""
    import torch

    from lacbed.refinement.fit import FINAL_STEP
    from lacbed.refinement.lattice_model import simulate_model
    from lacbed.solvers.blocks import one_thread_each
    from lacbed.state import crystal_state

    moved, placed = result.experiment, result.placement
    each = 4 * moved.images.size
    most = max(FEWEST, SERIES_BYTES // each)
    thicknesses = sorted(t for t, _ in result.scan)
    if len(thicknesses) > most:
        thicknesses = [thicknesses[round(i)] for i in np.linspace(0, len(thicknesses) - 1, most)]
    thicknesses = sorted({*thicknesses, result.thickness})
    with one_thread_each(torch.device("cpu")):
        wanted = replace(settings, beams=result.beams)
        frame = moved.frame(crystal)
        tick = ticker(send, "other thicknesses")
        model = simulate_model(moved, crystal, wanted, thicknesses, FINAL_STEP, frame, progress=tick)
        state = crystal_state(
            crystal,
            moved.energy,
            moved.half_width,
            tilt=moved.center,
            blur=placed.blur,
            distortion=(placed.rotation, 0.0, 0.0),
        )
        images = []
        for thickness in thicknesses:
            check_stop()
            at = state.changed(thickness=torch.tensor(thickness, dtype=torch.float64))
            images.append(model.read(at)[0].numpy().astype("<f4"))
    send({"kind": "series", "thicknesses": thicknesses}, np.stack(images).tobytes())


def _send_report(result: FitResult, send: Send) -> None:
    from lacbed.refinement.fit_report import write_report

    send({"kind": "progress", "phase": "writing the report", "fraction": None}, b"")
    with tempfile.TemporaryDirectory(prefix="lacbed-") as folder:
        write_report(result, Path(folder) / "fit")
        send({"kind": "report", "of": "fit"}, (Path(folder) / "fit" / "report.html").read_bytes())


def refine(view: View, files: Mapping[str, bytes], send: Send, budget: int, around: float) -> None:
    """Refine the crystal of a view and the geometry against measured images, from thicknesses near a fitted one.

    Sends kind "refined" with the parameters, their standard uncertainties and the refined CIF; the payload is the
    report of `lacbed refine` as one HTML page.

    Raises:
        FileFormatError: if the files are no experiment.
        SettingError: as `lacbed.refine` does.
        MemoryLimitError: if the images are more than one computation may hold.
    """
    from lacbed.refinement.files import write_results
    from lacbed.refinement.options import RefinementOptions
    from lacbed.refinement.refine import refine

    send({"kind": "progress", "phase": "reading the measured patterns", "fraction": None}, b"")
    crystal, experiment = crystal_of(view), read_experiment(files, budget)
    options = RefinementOptions(
        thicknesses=starts(around),
        absorption=view.absorption,  # type: ignore[arg-type]
        factors=view.factors,
    )
    start = time.perf_counter()
    last = -1.0

    def tell(what: str, fraction: float) -> None:
        nonlocal last
        check_stop()
        if time.monotonic() - last > 0.2:
            last = time.monotonic()
            send({"kind": "progress", "phase": f"refining, {what}", "fraction": min(1.0, max(0.0, fraction))}, b"")

    result = refine(experiment, crystal, options, on_progress=tell)
    send({"kind": "progress", "phase": "writing the report", "fraction": None}, b"")
    with tempfile.TemporaryDirectory(prefix="lacbed-") as name:
        folder = Path(name)
        numbers, _ = write_results(folder, crystal, experiment, result, options)
        cif, page = (folder / "refined.cif").read_text("utf-8"), (folder / "report.html").read_bytes()
    send(
        {"kind": "refined", "crystal": crystal.name, **_refined(numbers), "cif": cif}
        | {"name": experiment.name, "seconds": time.perf_counter() - start},
        page,
    )


def starts(around: float) -> tuple[float, ...]:
    """Thicknesses in Å from which a refinement begins."""
    return tuple(round(around * f, 3) for f in np.linspace(1 - _AROUND, 1 + _AROUND, _STARTS).tolist())


def _refined(numbers: Mapping[str, Any]) -> Header:
    from lacbed.refinement.uncertainties import with_uncertainty
    from lacbed.report import finite

    rows = [
        {
            "name": name,
            "start": f"{row['start']:.6g}",
            "text": with_uncertainty(row["value"], row["uncertainty"]),
            "value": row["value"],
            "uncertainty": row["uncertainty"],
            "unit": row["unit"],
        }
        for name, row in numbers["free"].items()
    ]
    kept = ("mean_Z", "mean_Z_aligned", "thickness", "thickness_uncertainty", "beams", "notes")
    found: Header = finite({"free": rows, **{key: numbers[key] for key in kept}})
    return found


def read_experiment(files: Mapping[str, bytes], budget: int) -> Experiment:
    """The experiment in the files; messages name no place on the disk."""
    from lacbed.experiment.folder import load_experiment

    with tempfile.TemporaryDirectory(prefix="lacbed-") as folder:
        path = store(files, Path(folder))
        try:
            experiment = load_experiment(path)
        except FileFormatError as error:
            text = str(error).replace(f"{folder}/", "").replace(folder, "the dropped files")
            raise FileFormatError(text) from None
    need = 8 * experiment.images.size * 40
    if need > budget:
        raise MemoryLimitError(
            f"{len(experiment.hkl)} images of {experiment.pixels} x {experiment.pixels} pixels need about "
            f"{need / 2**30:.1f} GiB; bin them"
        )
    return experiment


def _about_experiment(experiment: Experiment) -> Header:
    return {
        "name": experiment.name,
        "pixels": experiment.pixels,
        "hkl": [list(g) for g in experiment.hkl],
        "zone_axis": list(experiment.zone_axis),
        "voltage": experiment.energy / 1e3,
        "half_width": experiment.half_width,
    }


def _header(experiment: Experiment, result: FitResult, seconds: float) -> Header:
    return {
        "kind": "fit",
        **_about_experiment(experiment),
        "z": _numbers(result.merits.z),
        "z_aligned": _numbers(result.merits.z_aligned),
        "thickness": result.thickness,
        "thickness_uncertainty": _number(result.uncertainties.get("thickness")),
        "scan": [[t, z] for t, z in result.scan if math.isfinite(z)],
        "scale": result.placement.scale,
        "blur": result.placement.blur,
        "rotation": math.degrees(result.placement.rotation),
        "half_width": result.experiment.half_width,
        "stated_half_width": result.stated_half_width,
        "beams": result.beams,
        "warnings": list(result.warnings),
        "seconds": seconds,
    }


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _numbers(values: np.ndarray) -> list[float | None]:
    return [_number(float(v)) for v in values]


def _payload(experiment: Experiment, result: FitResult) -> bytes:
    pairs = np.stack([experiment.images, result.simulation.values[0]], axis=1)
    return pairs.astype("<f4").tobytes()
