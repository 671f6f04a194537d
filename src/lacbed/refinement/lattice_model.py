"""Any simulation as a model of thickness and geometry: a lattice of tilts, solved once for several thicknesses.

Half-width, tilt, rotation and distortion move the pixels over cubic splines through the lattice, and blur is one
multiplication in Fourier space; the thickness is interpolated between those that were solved. So foils that are
tilted, and all else that `lacbed.simulate` can do, are fitted by the objective and the minimisers that refine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from lacbed.converge import GROWTH, SMALLEST, climb
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.differentiable import binned_sigma
from lacbed.experiment.experiment import Experiment
from lacbed.geometry.frame import Frame
from lacbed.geometry.moving import grid_positions
from lacbed.patterns.metrics import zncc_loss
from lacbed.refinement.lattice import LatticePattern, simulate_lattice, tilt_lattice
from lacbed.refinement.model import Matrices, StateOf, along_each, read_points
from lacbed.refinement.options import FitSettings
from lacbed.solvers.blocks import Tick
from lacbed.state import ModelState

LARGEST = 2000
TOLERANCE_Z, TOLERANCE_INTENSITY = 1e-3, 3e-2
"""Largest changes with one and a half times as many beams; measured patterns are met to a few percent."""


@dataclass(frozen=True, eq=False)
class LatticeModel:
    """Images of a simulation on a lattice, see `lacbed.refinement.model.Model`.

    Attributes:
        pattern: the simulation, its thicknesses ascending.
        pixels: of a side of the images.
        binning: pixels of the experiment along a side of one pixel here.
        center: of the square (kx, ky) in 1/Å within which the lattice was computed.
        reach: half-width of that square; directions outside take the value at its edge.
    """

    pattern: LatticePattern
    pixels: int
    binning: int
    center: tuple[float, float]
    reach: float
    _kept: dict[tuple[float, float], FloatArray] = field(default_factory=dict)

    def read(self, state: ModelState, moves: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """See `lacbed.refinement.model.Model`."""
        nothing = torch.zeros(0, dtype=torch.float64)
        images, _, by_move = self.jacobian(lambda _: state, nothing, moves)
        return images, by_move

    def jacobian(
        self, state_of: StateOf, values: Tensor, moves: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `lacbed.refinement.model.Model`."""

        def inner(parameters: Tensor) -> tuple[Tensor, Tensor]:
            s = state_of(parameters)
            return s.thickness[None], self._sigma(s)[None]

        def where(parameters: Tensor) -> tuple[Tensor, Tensor]:
            s = state_of(parameters)
            step = torch.eye(2, dtype=torch.float64) * (2.0 * s.half_width / self.pixels)
            return grid_positions(s.half_width, s.tilt, s.distortion, self.pixels), step

        (thickness, sigma), steps = map(float, inner(values)), along_each(inner, values)
        spline = self._spline(thickness, sigma)
        points = torch.zeros(1 + len(steps), *spline.shape, dtype=torch.float64)
        points[0] = torch.as_tensor(spline)
        for i, by in ((0, "thickness"), (1, "width")):
            if any(bool(step[i]) for step in steps):
                slope = torch.as_tensor(self._spline(thickness, sigma, by))
                points[1:] += torch.stack([step[i] for step in steps])[:, :, None] * slope
        return read_points(points, self._reader, where, values, moves)

    def series(
        self,
        states: Sequence[ModelState],
        thicknesses: Sequence[float],
        tick: Callable[[float], None] | None = None,
    ) -> Iterator[list[Tensor]]:
        """See `lacbed.refinement.model.Model`."""
        shape = (-1, self.pixels, self.pixels)
        grids = [grid_positions(s.half_width, s.tilt, s.distortion, self.pixels) for s in states]
        matrices = [self._reader(grid)[0] for grid in grids]
        for number, t in enumerate(thicknesses):
            flat = np.ascontiguousarray(self._spline(t, 0.0).T)
            yield [torch.as_tensor(matrix @ flat).T.reshape(shape) for matrix in matrices]
            if tick is not None:
                tick((number + 1) / len(thicknesses))

    def _sigma(self, state: ModelState) -> Tensor:
        """The blur in 1/Å."""
        return binned_sigma(state.blur, self.binning) * (2.0 * state.half_width / self.pixels)

    def _spline(self, thickness: float, sigma: float, by: str = "") -> FloatArray:
        """Coefficients of splines through the blurred images, or slopes by "thickness" or "width": (g, point)."""
        if not by and (thickness, sigma) in self._kept:
            return self._kept[thickness, sigma]
        first, weights, slopes = _between(self.pattern.thicknesses, thickness)
        chosen = self.pattern.values[first : first + len(weights)]
        raw = np.tensordot(slopes if by == "thickness" else weights, chosen, axes=1)
        response = self.pattern.response(0.0, sigma)
        if by == "width":
            response = response * (-4.0 * math.pi**2 * sigma * self.pattern.frequencies)
        smooth = np.fft.irfft2(np.fft.rfft2(raw) * response, s=self.pattern.lattice.shape)
        flat = np.ascontiguousarray(smooth.reshape(len(smooth), -1))
        if not by and sigma > 0.0:
            self._kept.clear()
            self._kept[thickness, sigma] = flat
        return flat

    def _reader(self, places: Tensor) -> Matrices:
        """From spline coefficients to values, and their slopes along kx and ky, at directions in 1/Å."""
        lattice, middle = self.pattern.lattice, np.array(self.center)
        offset = places.numpy() - middle
        near = np.clip(offset, -self.reach, self.reach)
        at = lattice.coordinates(*(near + middle).T)
        whole = np.floor(at).astype(np.int64)
        (wi, di), (wj, dj) = (_cubic(f) for f in at - whole)
        taps = np.arange(-1, 3)
        rows, columns = ((w[:, None] + taps) % n for w, n in zip(whole, lattice.shape, strict=True))
        index = (rows[:, :, None] * lattice.shape[1] + columns[:, None, :]).ravel()
        starts = np.arange(len(places) + 1) * len(taps) ** 2
        size = (len(places), lattice.shape[0] * lattice.shape[1])

        def sparse(first: FloatArray, second: FloatArray) -> FloatArray:
            return np.asarray(first[:, :, None] * second[:, None, :]).reshape(len(places), -1)

        by_i, by_j = sparse(di, wj), sparse(wi, dj)
        inverse, inside = np.linalg.inv(lattice.vectors), near == offset
        slopes = [(inverse[0, k] * by_i + inverse[1, k] * by_j) * inside[:, k, None] for k in range(2)]
        value, by_x, by_y = (csr_matrix((w.ravel(), index, starts), size) for w in (sparse(wi, wj), *slopes))
        return value, [by_x, by_y]


def _cubic(fraction: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Cubic B-spline at the points -1, 0, 1, 2 around a place 0 ≤ f < 1, and its slope: (n,) to two (n, 4)."""
    f, r = fraction, 1.0 - fraction
    weights = [r**3, 3 * f**3 - 6 * f**2 + 4, 3 * r**3 - 6 * r**2 + 4, f**3]
    slopes = [-3 * r**2, 9 * f**2 - 12 * f, 12 * r - 9 * r**2, 3 * f**2]
    return np.stack(weights, axis=1) / 6.0, np.stack(slopes, axis=1) / 6.0


def _between(nodes: tuple[float, ...], at: float) -> tuple[int, FloatArray, FloatArray]:
    """First of at most four neighbours of a place, their Lagrange weights, and the slopes of these."""
    first = int(np.clip(np.searchsorted(nodes, at) - 2, 0, max(0, len(nodes) - 4)))
    near = np.array(nodes[first : first + 4]) - at
    weights, slopes = np.zeros(len(near)), np.zeros(len(near))
    for i, node in enumerate(near):
        others = np.delete(near, i)
        line = np.append(0.0, np.poly(others) / np.prod(node - others))
        weights[i], slopes[i] = line[-1], line[-2]
    return first, weights, slopes


def simulate_model(
    experiment: Experiment,
    crystal: Crystal,
    settings: FitSettings,
    thicknesses: Sequence[float],
    step: float,
    frame: Frame,
    binning: int = 1,
    progress: Tick | None = None,
) -> LatticeModel:
    """The model of an experiment in large pixels, on a lattice wide enough for every geometry in reach.

    Args:
        experiment: what was measured.
        crystal: of what.
        settings: with a definite number of beams.
        thicknesses: to be solved, in Å.
        step: of the lattice in large pixels.
        frame: the orientation.
        binning: pixels of the experiment along a side of a large one.
        progress: called with the fraction of the work done.
    """
    pixel = binning * experiment.pixel_size
    margin = (settings.max_shift if settings.align != "none" else 1.0) * experiment.pixel_size
    margin += 1.5 * pixel + 0.03 * experiment.half_width
    lattice = tilt_lattice(crystal, frame, experiment.half_width, experiment.center, step * pixel, margin)
    wanted = settings.simulation(experiment, tuple(sorted(thicknesses)))
    pattern = simulate_lattice(crystal, wanted, lattice, progress)
    reach = experiment.half_width + margin
    return LatticeModel(pattern, experiment.pixels // binning, binning, experiment.center, reach)


def enough_beams(experiment: Experiment, crystal: Crystal, frame: Frame, settings: FitSettings) -> tuple[int, str]:
    """The smallest number of beams that is enough, and one line about it.

    Judged on points of a coarse lattice over the whole images, at the median and the largest thickness.

    Args:
        experiment: what is to be simulated.
        crystal: of what.
        frame: its orientation.
        settings: everything but the number of beams.
    """
    thicknesses = (float(np.median(settings.thicknesses)), max(settings.thicknesses))
    step = frame.shortest / 2.3  # coarse, and no simple fraction, so that no tilt is special
    lattice = tilt_lattice(crystal, frame, experiment.half_width, experiment.center, step, 0.0)

    def rungs() -> Iterator[LatticePattern]:
        count, beams = SMALLEST, 0
        while beams <= LARGEST:
            tried = replace(settings, beams=count)
            found = simulate_lattice(crystal, tried.simulation(experiment, thicknesses), lattice)
            yield found
            beams, count = found.beams, math.ceil(GROWTH * found.beams)

    end = climb(rungs(), _change, (TOLERANCE_Z, TOLERANCE_INTENSITY))
    few, more, (z, change) = end.lower.beams, end.upper.beams, end.changes
    state = "converged" if end.converged else "NOT converged"
    return few, f"{state} at {few} beams: Z = {100 * z:.2g} %, max |dI| = {change:.2g} against {more}"


def _change(first: LatticePattern, second: LatticePattern) -> tuple[float, float]:
    """Largest Z over reflections that are bright enough, and largest |ΔI|."""
    inside = first.lattice.inside
    a, b = (p.values[..., inside].astype(float) for p in (first, second))
    bright = b.mean(axis=-1) > 1e-3
    z = zncc_loss(a[bright][:, None, :], b[bright][:, None, :])
    return float(np.max(np.asarray(z), initial=0.0)), float(np.abs(a - b).max())
