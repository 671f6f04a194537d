"""Measured patterns with the best fit of the crystal beside them."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.app.compute import Send
from lacbed.app.request import View
from lacbed.app.structure import crystal_of
from lacbed.app.uploads import store
from lacbed.errors import FileFormatError, MemoryLimitError

if TYPE_CHECKING:
    from lacbed.experiment.experiment import Experiment
    from lacbed.refinement.fit import FitResult


def fit(view: View, files: Mapping[str, bytes], send: Send, budget: int) -> None:
    """Read an experiment, find thickness and common geometry, and send both stacks with the figures of merit.

    The pages of the stacks are measured and simulated images in turn, float32: (reflection, 2, ky, kx).

    Raises:
        FileFormatError: if the files are no experiment.
        SettingError: if the crystal cannot show the measured reflections.
        MemoryLimitError: if the images are more than one computation may hold.
    """
    from lacbed.refinement.fit import fit
    from lacbed.refinement.options import FitSettings

    send({"kind": "progress", "phase": "reading the measured patterns", "fraction": None}, b"")
    crystal = crystal_of(view)
    experiment = _read(files)
    need = 8 * experiment.images.size * 40
    if need > budget:
        raise MemoryLimitError(
            f"{len(experiment.hkl)} images of {experiment.pixels} x {experiment.pixels} pixels need about "
            f"{need / 2**30:.1f} GiB; bin them"
        )
    settings = FitSettings(view.tried_thicknesses, view.absorption, device="cpu")  # type: ignore[arg-type]
    last = 0.0

    def tick(fraction: float) -> None:
        nonlocal last
        if time.monotonic() - last > 0.2:
            last = time.monotonic()
            send({"kind": "progress", "phase": "fitting the thickness", "fraction": fraction}, b"")

    start = time.perf_counter()
    send({"kind": "progress", "phase": "choosing the number of beams", "fraction": None}, b"")
    result = fit(experiment, crystal, settings, tick)
    send(_header(experiment, result, time.perf_counter() - start), _payload(experiment, result))


def _read(files: Mapping[str, bytes]) -> Experiment:
    """The experiment in the files; messages name no place on the disk."""
    from lacbed.experiment.folder import load_experiment

    with tempfile.TemporaryDirectory(prefix="lacbed-") as folder:
        path = store(files, Path(folder))
        try:
            return load_experiment(path)
        except FileFormatError as error:
            text = str(error).replace(f"{folder}/", "").replace(folder, "the dropped files")
            raise FileFormatError(text) from None


def _header(experiment: Experiment, result: FitResult, seconds: float) -> dict[str, Any]:
    return {
        "kind": "fit",
        "name": experiment.name,
        "pixels": experiment.pixels,
        "hkl": [list(g) for g in experiment.hkl],
        "z": _numbers(result.merits.z),
        "z_aligned": _numbers(result.merits.z_aligned),
        "thickness": result.thickness,
        "scan": [[t, z] for t, z in result.scan if math.isfinite(z)],
        "scale": result.placement.scale,
        "blur": result.placement.blur,
        "rotation": math.degrees(result.placement.rotation),
        "half_width": result.experiment.half_width,
        "stated_half_width": result.stated_half_width,
        "zone_axis": list(experiment.zone_axis),
        "voltage": experiment.energy / 1e3,
        "beams": result.beams,
        "warnings": list(result.warnings),
        "seconds": seconds,
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(v) if math.isfinite(v) else None for v in values]


def _payload(experiment: Experiment, result: FitResult) -> bytes:
    pairs = np.stack([experiment.images, result.simulation.values[0]], axis=1)
    return pairs.astype("<f4").tobytes()
