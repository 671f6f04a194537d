"""The projected cell of an unknown crystal: what cell, zone axis and reflections say before any search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lacbed.crystals import Crystal, Site
from lacbed.crystals.cell import Cell, FloatArray
from lacbed.crystals.symmetry import find_space_group, matrices_of, operations_of
from lacbed.errors import CrystalError, SettingError
from lacbed.experiment.bragg import POOR, WIDTH_OFF, check_bragg
from lacbed.experiment.experiment import Experiment
from lacbed.geometry.folding import zone_of_allowed
from lacbed.geometry.frame import Frame, IntArray
from lacbed.patterns.result import hkl_label
from lacbed.retrieval.points import SEARCH_REACH

CENTRINGS = {
    "P": (),
    "I": ("x+1/2,y+1/2,z+1/2",),
    "A": ("x,y+1/2,z+1/2",),
    "B": ("x+1/2,y,z+1/2",),
    "C": ("x+1/2,y+1/2,z",),
    "R": ("x+2/3,y+1/3,z+1/3", "x+1/3,y+2/3,z+2/3"),
    "F": ("x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z"),
}
"""Translations of every kind of lattice beside the whole ones, the fewest first."""

ENOUGH_REFLECTIONS = 4
"""So many reflections beside 000 tell the centring of the lattice."""

FEWEST_ZONES, MOST_BEAMS = 1.5, 700
"""Brillouin zones that the images must hold, and beams from which on a search takes too long."""


@dataclass(frozen=True, eq=False)
class ProjectedCell:
    """The lattice of a zone.

    Attributes:
        crystal: a stand-in with the cell and centring, and one atom.
        frame: its orientation.
        hkl: two reflections that span the allowed ones of the zone: (2, 3).
        basis: these in 1/Å as columns: (2, 2).
        indices: of the measured reflections on them: (g, 2).
        centring: of the lattice.
        volume: of the primitive cell in Å³.
        period: along the beam in Å.
        notes: what was assumed.
    """

    crystal: Crystal
    frame: Frame
    hkl: IntArray
    basis: FloatArray
    indices: IntArray
    centring: str
    volume: float
    period: float
    notes: tuple[str, ...]

    @property
    def edges(self) -> FloatArray:
        """Edges of the projected cell in Å as columns: (2, 2)."""
        return np.asarray(np.linalg.inv(self.basis).T)


def projected_cell(experiment: Experiment, cell: Sequence[float], space_group: int | None = None) -> ProjectedCell:
    """The projected cell, checked against the images.

    Args:
        experiment: the stack.
        cell: a, b, c in Å and α, β, γ in degrees; one number for a cubic cell.
        space_group: number of the space group, if it is known; it tells the centring, which otherwise follows from
            the reflections.

    Raises:
        SettingError: if the cell fits neither the zone nor the images, or a reflection is no point of the lattice.
    """
    full = _six(cell)
    hkl = np.array(experiment.hkl)
    crystal, centring, notes = _stand_in(full, hkl, experiment.zone_axis, space_group)
    frame = experiment.frame(crystal)
    if not frame.is_flat:
        notes.append("the foil is tilted against the zone axis; the search takes it as normal to the beam")
    zone = zone_of_allowed(crystal, frame)
    basis = frame.vectors(zone)[:, :2].T
    vectors = frame.vectors(hkl)
    indices = np.linalg.lstsq(basis, vectors[:, :2].T, rcond=None)[0].T
    off = np.abs(indices - np.round(indices)).max(axis=1) > 1e-3
    off |= np.abs(vectors[:, 2]) > 1e-6 * frame.shortest
    if off.any():
        names = "; ".join(hkl_label(h) for h in hkl[off][:3].tolist())
        raise SettingError(
            f"reflections that are no points of the lattice of this zone ({centring} lattice, zone axis "
            f"{list(frame.zone_axis)}): {names}; check the cell, the space group and the indices"
        )
    _check_size(experiment, full, basis, vectors)
    notes += _check_lines(experiment, crystal, full)
    volume = crystal.volume / (len(CENTRINGS[centring]) + 1)
    period = volume * abs(float(np.linalg.det(basis)))
    whole = np.round(indices).astype(np.int64)
    return ProjectedCell(crystal, frame, zone, basis, whole, centring, volume, period, tuple(notes))


def _six(cell: Sequence[float]) -> Cell:
    values = [float(v) for v in np.atleast_1d(np.asarray(cell, dtype=float))]
    if len(values) == 1:
        values = [*values * 3, 90.0, 90.0, 90.0]
    if len(values) != 6:
        raise SettingError(
            f"a cell is six numbers a,b,c,alpha,beta,gamma (or one, of a cubic cell), got {len(values)}"
        )
    return tuple(values)  # type: ignore[return-value]


def _stand_in(
    cell: Cell, hkl: IntArray, zone: Sequence[int], space_group: int | None
) -> tuple[Crystal, str, list[str]]:
    """A crystal with one atom at the origin, the centring of its lattice, and what was assumed about it."""
    site = (Site("X", "H", (0.0, 0.0, 0.0)),)
    try:
        if space_group is not None:
            centring = find_space_group(space_group).hm[0]
            Crystal("unknown", cell, site, operations_of(find_space_group(space_group)))  # its metric is checked
        else:
            beside = len(np.unique(hkl[np.any(hkl != 0, axis=1)], axis=0))
            centring = _centring(hkl, zone, cell) if beside >= ENOUGH_REFLECTIONS else "P"
        crystal = Crystal("unknown", cell, site, ("x,y,z", *CENTRINGS[centring]))
    except CrystalError as error:
        raise SettingError(str(error).removeprefix("unknown: ")) from None
    notes = [] if space_group is not None else [f"lattice {centring}, from the reflections that were measured"]
    if space_group is None and beside < ENOUGH_REFLECTIONS:
        notes = ["too few reflections to tell the centring; the lattice is taken as primitive"]
    return crystal, centring, notes


def _centring(hkl: IntArray, zone: Sequence[int], cell: Cell) -> str:
    """The lattice that leaves the fewest points of the zone, the last of those alike; P for one row of points."""
    if np.linalg.matrix_rank(hkl) < 2:
        return "P"
    plane = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    plane = plane[plane @ np.array(zone) == 0]
    is_hexagonal = abs(cell[0] - cell[1]) < 1e-6 * cell[0] and abs(cell[5] - 120.0) < 1e-6
    left = {
        name: sum(_allowed(g[None], steps) for g in plane)
        for name, steps in CENTRINGS.items()
        if _allowed(hkl, steps) and (is_hexagonal or name != "R")
    }
    return min(reversed(left), key=lambda name: left[name])


def _allowed(hkl: IntArray, triplets: Sequence[str]) -> bool:
    """Whether all reflections belong to a lattice."""
    steps = matrices_of(("x,y,z", *triplets))[1]
    phase = hkl @ steps.T
    return bool(np.all(np.abs(phase - np.round(phase)) < 1e-6))


def _check_size(experiment: Experiment, cell: Cell, basis: FloatArray, vectors: FloatArray) -> None:
    """A cell that is too small or too large for the images is a slip of units or of the half-width."""
    half, area = experiment.half_width, abs(float(np.linalg.det(basis)))
    zones = 4.0 * half * half / area
    text = f"{', '.join(f'{v:g}' for v in cell)} and the half-width {half:.4g} 1/Å"
    if zones < FEWEST_ZONES:
        raise SettingError(
            f"the images hold {zones:.2g} Brillouin zones of this cell, at least {FEWEST_ZONES:g} are needed; "
            f"check the cell {text}"
        )
    if math.pi * SEARCH_REACH**2 / area > MOST_BEAMS:
        raise SettingError(
            f"the images hold {zones:.0f} Brillouin zones of this cell, which is too large for a search; check "
            f"the cell {text}"
        )
    length = np.linalg.norm(vectors, axis=1)
    if float(length.min()) > 2.0 * half:
        raise SettingError(
            f"none of the reflections (the shortest has {length.min():.3g} 1/Å) can be seen in these images; "
            f"check the cell {text}"
        )


def _check_lines(experiment: Experiment, crystal: Crystal, cell: Cell) -> list[str]:
    """The Bragg lines must lie where the cell says.

    Raises:
        SettingError: if they do not.
    """
    check = check_bragg(experiment, crystal, (experiment.orientation,))
    if check.reflections < 3:
        return []
    if check.best < POOR or abs(check.scale - 1.0) > 2.0 * WIDTH_OFF:
        fits = "" if check.best < POOR else f"; {check.scale * experiment.half_width:.4g} 1/Å would fit"
        raise SettingError(
            f"the Bragg lines of the cell {', '.join(f'{v:g}' for v in cell)} do not lie where the images of "
            f"half-width {experiment.half_width:.4g} 1/Å have them{fits}; check the cell, the zone axis, the "
            "indices and the half-width"
        )
    return [*check.warnings(experiment)]
