"""The series of frames that the tests of the extraction share, and what is compared with its truth."""

from __future__ import annotations

import numpy as np
from frame_series import Microscope, Series, make_series

import lacbed
from lacbed.experiment.extract.look import Look

GAAS = lacbed.Crystal.named("GaAs")
SCOPE = Microscope(
    tilts=18, half_width=0.42, tilt_turn=33.0, flip=True, turn=-70.0, camera=72, spacing=15.0, dose=4e4, hot=3,
    descan=(2.0, -1.5), fine=1, dropped=(100,), doubled=(211,), diffuse=0.15,
)  # fmt: skip


def make(scope: Microscope) -> Series:
    """A series of GaAs along [110], a polar direction."""
    return make_series(
        GAAS, (1, 1, 0), scope, reach=0.75, beams=37, solver="tilted", dtype="float64", absorption=None
    )


def sites_of(series: Series, basis: np.ndarray) -> dict[tuple[int, ...], int]:
    """Which reflection of the series lies at which site of the lattice."""
    exact = series.vectors @ series.matrix.T @ np.linalg.inv(basis)
    assert np.abs(exact - np.round(exact)).max() < 0.1
    return {tuple(np.round(e).astype(int).tolist()): i for i, e in enumerate(exact)}


def off_track(look: Look, series: Series) -> float:
    """Root mean square of what is wrong with the track in pixels."""
    off = (look.track.places - series.beam) @ np.linalg.inv(look.lattice.basis)
    off = (off - np.round(np.median(off.reshape(-1, 2), axis=0))) @ look.lattice.basis
    return float(np.sqrt((off**2).mean()))
