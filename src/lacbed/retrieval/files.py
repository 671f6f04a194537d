"""The folder of a retrieval: potential.nc, start.nc, coefficients.csv, retrieval.png, retrieval.json."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from lacbed import report
from lacbed.io.atomic import replacing
from lacbed.projection import labelled_mean
from lacbed.retrieval.retrieve import Retrieval

REPORT = "retrieval.json"
_FILES = ("potential.nc", "start.nc", "coefficients.csv", "retrieval.png")


def check_folder(folder: Path) -> None:
    """Refuse a place where no retrieval can be written, or where something else stands, before any work.

    Raises:
        FileFormatError: saying why.
    """
    report.check_folder(folder, "retrieval", (REPORT,), _FILES)


def summary(result: Retrieval) -> dict[str, Any]:
    """The numbers of a retrieval, as JSON holds them."""
    return {
        "lattice_parameter": result.foil.lattice_parameter,
        "thickness": result.foil.thickness,
        "energy": result.foil.energy,
        "Z_start": result.z[0],
        "Z": result.z[-1],
        "Z_stages": list(result.z),
        "free_coefficients": result.free,
        "symmetry_operations": len(result.symmetry),
        "alpha": result.state.alpha,
        "beta": result.state.beta,
        "scale": result.state.scale,
    }


def write_retrieval(result: Retrieval, folder: str | Path, name: str = "") -> None:
    """Write a folder that appears whole or not at all, in the place of an earlier retrieval.

    Args:
        result: what to write.
        folder: where to.
        name: of the pattern, for the caption of the picture.

    Raises:
        FileFormatError: if the operating system refuses.
    """
    from lacbed.patterns.figures import save_figure
    from lacbed.patterns.files import save_array
    from lacbed.retrieval.figure import retrieval_figure  # matplotlib takes its time

    check_folder(Path(folder))
    with replacing(folder) as temporary:
        temporary.mkdir()
        save_array(labelled(result, result.potential), temporary / "potential.nc")
        save_array(labelled(result, result.start), temporary / "start.nc")
        save_figure(retrieval_figure(result, name), temporary / "retrieval.png")
        _write_table(result, temporary / "coefficients.csv")
        (temporary / REPORT).write_text(json.dumps(summary(result), indent=1) + "\n", "utf-8")


def labelled(result: Retrieval, image: Tensor) -> xr.DataArray:
    """A potential in the layout of `lacbed.projected_potential`, averaged along the beam, in V."""
    foil = result.foil
    return labelled_mean(
        image.numpy(),
        foil.lattice_parameter * np.eye(2),
        (0, 0, 1),
        thickness=foil.thickness,
        energy=foil.energy,
    )


def _write_table(result: Retrieval, path: Path) -> None:
    """One line for every ±g that was free, shortest first: V in V, U in 1/Å²."""
    order, a, volts = result.table.shape[0] // 2, result.foil.lattice_parameter, result.foil.volts
    changed = (result.table - result.start_table).abs() > 1e-12
    rows = [
        (h - order, k - order)
        for k in range(2 * order + 1)
        for h in range(2 * order + 1)
        if (k, h) > (order, order) and bool(changed[k, h])
    ]
    rows.sort(key=lambda hk: (hk[0] ** 2 + hk[1] ** 2, hk))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["h", "k", "g_per_A", "V_start_re", "V_start_im", "V_re", "V_im", "U_re", "U_im"])
        for h, k in rows:
            first, last = (complex(t[k + order, h + order]) for t in (result.start_table, result.table))
            numbers = (first.real, first.imag, last.real, last.imag, last.real * volts, last.imag * volts)
            writer.writerow([h, k, f"{math.hypot(h, k) / a:.6f}", *(f"{v:.8g}" for v in numbers)])
