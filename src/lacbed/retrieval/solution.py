"""What is asked of a structure search, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lacbed.constants import ELECTRON_REST_ENERGY, H2_OVER_2M
from lacbed.errors import SettingError
from lacbed.experiment.experiment import Experiment
from lacbed.io.checks import check_number, check_whole
from lacbed.projection import labelled_mean
from lacbed.retrieval.columns import Columns, potential_of
from lacbed.retrieval.elements import Guess, check_elements
from lacbed.retrieval.plane_group import PlaneOperation
from lacbed.retrieval.points import lattice_points
from lacbed.retrieval.projection_cell import ProjectedCell
from lacbed.retrieval.rank import Candidate
from lacbed.retrieval.search import RESOLUTION, SearchState
from lacbed.retrieval.sharpen import Sharpened
from lacbed.settings import MAX_THICKNESS

if TYPE_CHECKING:
    import xarray as xr

MOST_COLUMNS = 24

SOLVED = 0.5
"""Score from which a structure counts as solved."""

_PIXELS = 128


@dataclass(frozen=True)
class SolveOptions:
    """How to search; see `lacbed.solve_structure`.

    Attributes:
        columns: smallest and largest number of columns in the projected cell.
        thickness: smallest and largest in Å.
        elements: those that may be there; empty for all.
        space_group: its number, if it is known.
        seconds: wall time after which no round is begun.
        seed: of all random numbers.
        refined: candidates that are refined, at most.
    """

    columns: tuple[int, int] = (1, 6)
    thickness: tuple[float, float] = (200.0, 2000.0)
    elements: tuple[str, ...] = ()
    space_group: int | None = None
    seconds: float = 300.0
    seed: int = 0
    refined: int = 3

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: saying what was expected and what came.
        """
        low, high = (check_whole("the number of columns", v, 1, MOST_COLUMNS) for v in self.columns)
        if low > high:
            raise SettingError(f"the number of columns must be a range low:high, got {low}:{high}")
        first, last = (
            check_number("the thickness", v, above=0, high=MAX_THICKNESS, unit="Å") for v in self.thickness
        )
        if not last > 1.02 * first:
            raise SettingError(
                f"the thickness must be a range low:high in Å with some width, such as 200:2000, got "
                f"{first:g}:{last:g}"
            )
        check_number("the time", self.seconds, above=0, high=1e7, unit="seconds")
        check_whole("the seed", self.seed, 0)
        check_whole("the number of candidates to refine", self.refined, 0, 20)
        check_elements(self.elements)
        if self.space_group is not None:
            check_whole("the space group", self.space_group, 1, 230)


@dataclass(frozen=True, eq=False)
class Solution:
    """What a stack says about the crystal.

    Attributes:
        experiment: the stack.
        cell: its projected cell.
        best: the structure on top.
        rivals: other structures, the best first.
        search: where the search ended.
        elements: for every column those that it may be, the most likely first.
        operations: how well the potential has each operation of its lattice.
        plane_group: of those that it has.
        candidates: crystals in three dimensions, the best first.
        gap: residual beyond noise over that of the next answer, another structure or thickness.
        score: from 0 to 1, what speaks for the structure; no calibrated probability.
        polarity: residual of the inverted structure over that of the structure.
        notes: what to know.
    """

    experiment: Experiment
    cell: ProjectedCell
    best: Sharpened
    rivals: tuple[Sharpened, ...]
    search: SearchState
    elements: tuple[tuple[Guess, ...], ...]
    operations: tuple[PlaneOperation, ...]
    plane_group: str
    candidates: tuple[Candidate, ...]
    gap: float
    score: float
    polarity: float
    notes: tuple[str, ...]

    @property
    def solved(self) -> bool:
        """Whether the structure can be trusted."""
        return self.score >= SOLVED

    @property
    def thickness(self) -> float:
        """In Å: of the best refined candidate, or of the columns."""
        for candidate in self.candidates:
            if candidate.refinement is not None:
                return float(candidate.refinement.state.thickness)
        return self.best.columns.thickness

    def potential(self, pixels: int = _PIXELS) -> xr.DataArray:
        """The potential averaged along the beam in V, up to `resolution`, as `lacbed.projected_potential` has it.

        Args:
            pixels: n; (n, n) whatever the shape of the projected cell.
        """
        return columns_map(self.best.columns, self.cell, self.experiment.energy, pixels, self.thickness)


def columns_map(
    columns: Columns, cell: ProjectedCell, energy: float, pixels: int = _PIXELS, thickness: float | None = None
) -> xr.DataArray:
    """The potential of columns averaged along the beam in V, up to `RESOLUTION`: (v, u).

    Args:
        columns: of a structure.
        cell: their projected cell.
        energy: of the electrons in eV.
        pixels: n; (n, n) whatever the shape of the projected cell.
        thickness: in Å, for the label; default that of the columns.
    """
    orders = lattice_points(cell.basis, RESOLUTION)
    U = potential_of(columns, orders, cell.basis).sum(axis=0)
    spectrum = np.zeros((pixels, pixels), dtype=complex)
    spectrum[orders[:, 1] % pixels, orders[:, 0] % pixels] = U
    volts = H2_OVER_2M / (1.0 + energy / ELECTRON_REST_ENERGY)
    return labelled_mean(
        np.fft.ifft2(spectrum).real * pixels**2 * volts,
        cell.edges,
        cell.frame.zone_axis,
        resolution=RESOLUTION,
        thickness=columns.thickness if thickness is None else thickness,
        energy=energy,
    )
