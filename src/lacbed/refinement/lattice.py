"""Simulated stacks on a lattice of tilts that fits the reciprocal lattice, to be sampled anywhere.

The pixels of an experiment have no simple ratio to the reciprocal lattice, so that each would be an eigenproblem
of its own. On the lattice

    k = (i / n₁) b₁ + (j / n₂) b₂,     b₁, b₂ a basis of the allowed reflections of the zone,

tilts that differ by a reciprocal vector share one (see `lacbed.solvers.zone`): n₁ n₂ eigenproblems, less symmetry,
serve any number of Brillouin zones. The images of the experiment are then taken from cubic splines through the
lattice, so that half-width, tilt, rotation and distortion can change without a new simulation, and the integration
over a pixel and its blur are one multiplication in Fourier space. A lattice finer than the pixels resolves fringes
that pixel centres would alias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.geometry.folding import zone_of_allowed
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.symmetry import Reduction, pattern_operations, reduce_pairs
from lacbed.geometry.wave import electron_wave
from lacbed.settings import Settings
from lacbed.setup import choose_device, pose, wanted_reflections
from lacbed.solvers.blocks import Tick, one_thread_each
from lacbed.solvers.choose import choose_solver, run_solver
from lacbed.solvers.memory import check_result_size

MARGIN = 4
"""Lattice points beyond the rim of the images, for the splines."""

DARK = 2.5
"""|k + g|² - |k|² in 1/Å² from which a beam is taken to be dark."""

MAX_POINTS = 4_000_000


@dataclass(frozen=True, eq=False)
class TiltLattice:
    """A lattice of tilts that covers a square.

    Attributes:
        vectors: the two steps in 1/Å, as columns: (2, 2).
        divisions: n₁, n₂, steps per reciprocal vector.
        first: smallest i and j.
        shape: numbers of i and j.
        inside: lattice points near enough to the square to be wanted: shape.
    """

    vectors: FloatArray
    divisions: tuple[int, int]
    first: tuple[int, int]
    shape: tuple[int, int]
    inside: np.ndarray

    @property
    def tilts(self) -> FloatArray:
        """The wanted tilts in 1/Å: (tilt, 2)."""
        i, j = np.nonzero(self.inside)
        return np.asarray(np.stack([i + self.first[0], j + self.first[1]], axis=1) @ self.vectors.T)

    def coordinates(self, kx: FloatArray, ky: FloatArray) -> FloatArray:
        """Fractional positions in the array of tilts in 1/Å: two of the same shape, stacked in front."""
        inverse = np.linalg.inv(self.vectors)
        i = inverse[0, 0] * kx + inverse[0, 1] * ky - self.first[0]
        j = inverse[1, 0] * kx + inverse[1, 1] * ky - self.first[1]
        return np.stack([i, j])


@dataclass(frozen=True, eq=False)
class LatticePattern:
    """Intensities on a lattice of tilts.

    Attributes:
        lattice: the tilts.
        values: float32, zero far from the images: (thickness, reflection, i, j).
        thicknesses: in Å.
        hkl: the reflections.
        beams: number of beams.
        solved: number of tilts that were solved.
        notes: what to know about the simulation.
    """

    lattice: TiltLattice
    values: np.ndarray
    thicknesses: tuple[float, ...]
    hkl: tuple[tuple[int, int, int], ...]
    beams: int
    solved: int
    notes: tuple[str, ...]

    def spline(self, thickness: int, reflection: int, pixel: float, blur: float) -> FloatArray:
        """Coefficients of the cubic spline through an image after averaging and blurring: the lattice's shape.

        Args:
            thickness: which.
            reflection: which.
            pixel: side in 1/Å of the square to average over; 0 for none.
            blur: standard deviation in 1/Å of the Gaussian to fold with; 0 for none.
        """
        transformed = np.fft.rfft2(self.values[thickness, reflection]) * self.response(pixel, blur)
        return np.asarray(np.fft.irfft2(transformed, s=self.lattice.shape))

    @property
    def frequencies(self) -> FloatArray:
        """Squares of the spatial frequencies of `response` in Å²."""
        return np.asarray(np.sum(self._cycles() ** 2, axis=0))

    def _steps(self) -> FloatArray:
        """Frequencies in cycles per step of the lattice: (2, rows, half of the columns)."""
        rows, columns = self.lattice.shape
        return np.stack(np.meshgrid(np.fft.fftfreq(rows), np.fft.rfftfreq(columns), indexing="ij"))

    def _cycles(self) -> FloatArray:
        return np.asarray(np.einsum("ji,jmn->imn", np.linalg.inv(self.lattice.vectors), self._steps()))

    def response(self, pixel: float, blur: float) -> FloatArray:
        """What the Fourier transform of an image is multiplied by, see `spline`: (rows, half of the columns)."""
        spline = np.prod((4.0 + 2.0 * np.cos(2.0 * math.pi * self._steps())) / 6.0, axis=0)
        gauss = np.exp(-2.0 * (math.pi * blur) ** 2 * self.frequencies)
        return np.asarray(gauss * np.prod(np.sinc(pixel * self._cycles()), axis=0) / spline)

    def sample(self, coefficients: FloatArray, kx: FloatArray, ky: FloatArray) -> FloatArray:
        """Values of a spline at tilts in 1/Å, of any shape."""
        return np.asarray(
            map_coordinates(
                coefficients, self.lattice.coordinates(kx, ky), order=3, mode="grid-wrap", prefilter=False
            )
        )


def tilt_lattice(
    crystal: Crystal, frame: Frame, half_width: float, center: tuple[float, float], step: float, margin: float
) -> TiltLattice:
    """The lattice of at most the given step that covers a square and a margin around it.

    Args:
        crystal: the crystal.
        frame: its orientation.
        half_width: of the square in 1/Å.
        center: of the square (kx, ky) in 1/Å.
        step: largest distance of neighbours along b₁ and b₂ in 1/Å.
        margin: beyond the square in 1/Å.

    Raises:
        SettingError: if that are too many points.
    """
    basis = frame.vectors(zone_of_allowed(crystal, frame))[:, :2]
    lengths = np.linalg.norm(basis, axis=1)
    divisions = (max(1, math.ceil(lengths[0] / step)), max(1, math.ceil(lengths[1] / step)))
    vectors = (basis / np.array(divisions)[:, None]).T
    reach = half_width + margin + MARGIN * float(np.linalg.norm(vectors, axis=0).max())
    corners = np.array([(x, y) for x in (-reach, reach) for y in (-reach, reach)]) + np.array(center)
    bounds = corners @ np.linalg.inv(vectors).T
    low, high = np.floor(bounds.min(axis=0)).astype(int), np.ceil(bounds.max(axis=0)).astype(int)
    shape = (int(high[0] - low[0] + 1), int(high[1] - low[1] + 1))
    if shape[0] * shape[1] > MAX_POINTS:
        raise SettingError(
            f"a lattice of {shape[0]} x {shape[1]} tilts is too fine for images {2 * half_width:.3g} 1/Å wide; "
            "choose a coarser step"
        )
    i, j = np.indices(shape)
    points = np.stack([i + low[0], j + low[1]], axis=-1) @ vectors.T - np.array(center)
    inside = np.all(np.abs(points) <= reach, axis=-1)
    return TiltLattice(vectors, divisions, (int(low[0]), int(low[1])), shape, inside)


def simulate_lattice(
    crystal: Crystal,
    settings: Settings,
    lattice: TiltLattice,
    progress: Tick | None = None,
) -> LatticePattern:
    """Solve for all thicknesses and reflections on a lattice of tilts.

    Args:
        crystal: the crystal.
        settings: with a definite choice of beams, and reflections in a list; the grid is not used, and of the
            solvers "fast" alone, where it holds.
        lattice: the tilts.
        progress: called with the fraction of the work done.

    Raises:
        SettingError: on impossible settings; MemoryLimitError: if the request does not fit.
    """
    with one_thread_each(torch.device("cpu")):
        return _simulate_lattice(crystal, settings, lattice, progress)


def _simulate_lattice(
    crystal: Crystal, settings: Settings, lattice: TiltLattice, progress: Tick | None
) -> LatticePattern:
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    wave = electron_wave(settings.energy)
    hkl = wanted_reflections(crystal, frame, settings)
    tilts, thicknesses = lattice.tilts, settings.thicknesses
    word = 8 if settings.dtype == "float64" else 4
    check_result_size(len(tilts), len(hkl), len(tilts) * len(hkl), len(thicknesses), word, complex_out=False)
    flat = settings.laue_zones == 0 and frame.is_flat
    operations = pattern_operations(crystal, frame, settings.laue_zones == 0)
    everything = reduce_pairs(crystal, frame, tilts, hkl, operations, flat)
    reduction, kept = _drop_dark_pairs(everything, frame)
    beams, problem = pose(crystal, settings, frame, wave, reduction)
    device = choose_device(settings.device)
    name, why = choose_solver(problem, device)
    if settings.solver == "fast" and flat:
        name, why = "fast", f"{len(reduction.tilts)} tilts in one basis of Bloch waves"
    waves = run_solver(name, problem, device, torch.float64 if word == 8 else torch.float32, progress)
    found = np.zeros((len(thicknesses), len(everything.pair_tilt)), dtype=np.float32)
    found[:, kept] = (waves.real.square() + waves.imag.square()).numpy()
    values = np.zeros((len(thicknesses), len(hkl), *lattice.shape), dtype=np.float32)
    values[:, :, lattice.inside] = found[:, everything.source]
    notes = (f"solver {name}: {why}",)
    return LatticePattern(lattice, values, tuple(thicknesses), hkl, beams.strong, len(reduction.tilts), notes)


def _drop_dark_pairs(reduction: Reduction, frame: Frame) -> tuple[Reduction, np.ndarray]:
    """Without the pairs that are far from every Bragg condition, and which ones are left.

    In the zero-order zone the excitation error of a pair is (|k + g|² - |k|²) / 2K. A beam with
    |k + g|² - |k|² = Δ holds some (U_g / Δ)² of the intensity; it and its wave, which no other needs, are left out
    where Δ is large.
    """
    tilt = reduction.tilts[reduction.pair_tilt]
    out = tilt + frame.vectors(reduction.pair_hkl)[:, :2]
    kept = np.sum(out**2, axis=1) - np.sum(tilt**2, axis=1) <= DARK
    return replace(reduction, pair_tilt=reduction.pair_tilt[kept], pair_hkl=reduction.pair_hkl[kept]), kept
