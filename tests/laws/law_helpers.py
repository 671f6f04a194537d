"""Shared by the tests of this folder: other descriptions of a crystal, single tilts, all beams of a tilt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from hypothesis import assume
from hypothesis import strategies as st

from lacbed import Crystal, TiltGrid, simulate
from lacbed.crystals import Site
from lacbed.errors import CrystalError
from lacbed.settings import Settings
from lacbed.setup import Setup, prepare


def one_tilt(kx: float, ky: float) -> TiltGrid:
    """A grid of a single incident direction in 1/Å."""
    return TiltGrid(pixels=1, k_max=0.01, center=(kx, ky))


def at(crystal: Crystal, k: Sequence[float], **settings: Any) -> np.ndarray:
    """Values (thickness, hkl) at one incident direction, without any use of symmetry."""
    pattern = simulate(crystal, grid=one_tilt(float(k[0]), float(k[1])), **({"solver": "reference"} | settings))
    return pattern.values[:, :, 0, 0]


def turned(k: Sequence[float], degrees: float) -> np.ndarray:
    """An incident direction, turned anticlockwise."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]]) @ np.asarray(k)


def all_beams(crystal: Crystal, k: Sequence[float], **settings: Any) -> tuple[xr.DataArray, Setup]:
    """The pattern of every beam that takes part at one tilt, and what was solved."""
    settings = {"grid": one_tilt(float(k[0]), float(k[1]))} | settings
    setup = prepare(crystal, Settings(**{**settings, "output": "amplitude"}))  # which keeps the tilt itself
    beams = setup.beams.hkl[: setup.beams.strong] - setup.reduction.folding.anchor[0]
    pattern = simulate(crystal, **{**settings, "hkl": [tuple(int(i) for i in g) for g in beams]})
    assert pattern.attrs["beams"] == setup.beams.strong
    return pattern, setup


def other_cell(crystal: Crystal, change: np.ndarray, shift: Sequence[float] = (0.0, 0.0, 0.0)) -> Crystal:
    """The same crystal in P1 on the basis A' = A · change, its atoms moved by `shift` in the new cell.

    Zone axes become inv(change) · [uvw] and reflections (hkl) · change.
    """
    direct = crystal.direct @ change
    lengths = np.linalg.norm(direct, axis=0)
    cosine = (direct.T @ direct) / np.outer(lengths, lengths)
    angles = np.degrees(np.arccos([cosine[1, 2], cosine[0, 2], cosine[0, 1]]))
    atoms = crystal.atoms
    found: list[tuple[np.ndarray, Site]] = []
    for i, element in enumerate(atoms.elements):
        for cell in np.ndindex(3, 3, 3):  # enough images for the small changes made here
            xyz = np.linalg.solve(change, atoms.xyz[i] + np.array(cell) - 1.0) % 1.0
            offset = [np.abs((xyz - other + 0.5) % 1.0 - 0.5).max() for other, s in found if s.element == element]
            if not offset or min(offset) > 1e-6:
                moved = (float(xyz[0] + shift[0]), float(xyz[1] + shift[1]), float(xyz[2] + shift[2]))
                u_iso = float(atoms.b_iso[i]) / (8 * np.pi**2)
                site = Site(f"{element}{len(found)}", element, moved, float(atoms.occupancy[i]), u_iso)
                found.append((xyz, site))
    assert len(found) == round(len(atoms.elements) * abs(np.linalg.det(change)))
    cell6 = tuple(float(v) for v in (*lengths, *angles))
    return Crystal(crystal.name, cell6, tuple(s for _, s in found))


@st.composite
def triclinic_crystals(draw: st.DrawFn) -> Crystal:
    """Crystals without any symmetry: three atoms in a small triclinic cell."""
    number = st.floats(0.0, 0.99)
    lengths = [draw(st.floats(3.0, 6.0)) for _ in range(3)]
    angles = [draw(st.floats(70.0, 115.0)) for _ in range(3)]
    sites = [
        Site(f"{e}1", e, (draw(number), draw(number), draw(number)), u_iso=draw(st.floats(0.003, 0.03)))
        for e in ("Ga", "O", "Ti")
    ]
    try:
        return Crystal("random", (*lengths, *angles), tuple(sites))
    except CrystalError:
        assume(False)
        raise


tilt_vectors = st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
