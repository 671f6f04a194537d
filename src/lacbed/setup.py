"""Prepare and solve: crystal → orientation → tilts → beams → potential → solver → amplitudes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import HKL, BeamList, check_reflections, reflections_within, select_beams
from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.symmetry import Reduction, pattern_operations, reduce_pairs
from lacbed.geometry.wave import ElectronWave, electron_wave
from lacbed.settings import Settings
from lacbed.solvers.blocks import Tick
from lacbed.solvers.choose import check_solver, choose_solver, run_solver
from lacbed.solvers.memory import check_preparation, check_result_size, result_bytes
from lacbed.solvers.problem import Problem, build_problem
from lacbed.solvers.tilted import weak_beam_share

_LARGEST_SHARE = 1.0
_LARGEST_INTENSITY = 1.01
"""Of one beam, as a fraction of the incident current; rounding and the solver "fast" need a little room."""


def check_request(crystal: Crystal, settings: Settings) -> None:
    """Refuse at once what depends on the crystal: orientation, reflections, a result too large to hold."""
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    settings.grid.axes(frame, settings.energy)
    reflections = len(wanted_reflections(crystal, frame, settings))
    word = 8 if settings.dtype == "float64" else 4
    pixels, thicknesses = settings.grid.pixels**2, len(settings.thicknesses)
    pairs = likely_pairs(crystal, frame, settings, pixels)
    check_result_size(pixels, reflections, pairs, thicknesses, word, settings.output == "amplitude")
    choose_device(settings.device)


def alike(crystal: Crystal, frame: Frame, settings: Settings) -> int:
    """How many pixels of a pattern symmetry makes equal: three-fold axes do nothing for a square of pixels."""
    if settings.output == "amplitude" or settings.solver == "reference":
        return 1
    operations = pattern_operations(crystal, frame, settings.laue_zones == 0)
    if settings.hkl == ((0, 0, 0),):
        moves = {(o.plane * (-1.0 if o.reversed else 1.0) + 0.0).tobytes(): o for o in operations}
        planes = [-o.plane if o.reversed else o.plane for o in moves.values()]
    else:
        planes = [o.plane for o in operations if not o.reversed]
    kx, ky = settings.grid.axes(frame, settings.energy)
    images = np.stack(planes) @ np.array([kx[-1], ky[len(ky) // 4]])  # of a pixel that no operation leaves alone
    off = np.stack([np.abs(images[:, i, None] - axis).min(axis=1) for i, axis in enumerate((kx, ky))])
    return max(1, int(np.count_nonzero(off.max(axis=0) < 1e-6 * float(np.ptp(kx)) + 1e-9)))


def likely_pairs(crystal: Crystal, frame: Frame, settings: Settings, pixels: int) -> int:
    """About how many pairs of a pixel and a reflection are solved, where symmetry makes the others equal to them.

    A group of N operations has N / m that leave a reflection with m equivalent ones as it is.
    """
    hkl = np.array(wanted_reflections(crystal, frame, settings))
    same = alike(crystal, frame, settings)
    if same == 1 or not np.any(hkl):
        return math.ceil(pixels * len(hkl) / same)
    images = [
        hkl @ o.hkl.T for o in pattern_operations(crystal, frame, settings.laue_zones == 0) if not o.reversed
    ]
    orbits = {frozenset(map(tuple, row)) for row in np.stack(images, axis=1).tolist()}
    return math.ceil(pixels * sum(map(len, orbits)) / same)


def chooses_beams_by_convergence(settings: Settings) -> bool:
    """Whether nothing in the settings fixes the number of beams."""
    return settings.beams == "auto" and settings.g_max is None and settings.sg_max is None


@dataclass(frozen=True, eq=False)
class Setup:
    """A simulation that is ready to be solved.

    Attributes:
        crystal: the crystal.
        settings: the settings, with a definite choice of beams.
        frame: the orientation.
        wave: the electrons.
        hkl: the reflections.
        inside: which pixels of the grid are wanted: (pixel,).
        reduction: the pairs to compute and where each wanted value comes from.
        beams: the plane waves.
        problem: what the solver gets.
    """

    crystal: Crystal
    settings: Settings
    frame: Frame
    wave: ElectronWave
    hkl: tuple[HKL, ...]
    inside: np.ndarray
    reduction: Reduction
    beams: BeamList
    problem: Problem

    def describe(self) -> dict[str, int | float]:
        """What was decided about the beams, for metadata."""
        return {
            "beams": self.beams.strong,
            "weak_beams": len(self.beams.hkl) - self.beams.strong,
            "beam_g_max": float(np.linalg.norm(self.beams.vectors[: self.beams.strong], axis=1).max()),
            "beam_sg_max": self.beams.excitation_error,
            "tilts_solved": len(self.reduction.tilts),
        }

    def weak_beams_note(self) -> str:
        """A line if weak beams are too strong for perturbation, else ""."""
        share, beam = weak_beam_share(self.problem)
        if share < _LARGEST_SHARE:
            return ""
        hkl = tuple(int(v) for v in self.beams.hkl[beam])
        return (
            f"weak beam {hkl} is nearly excited at a tilt: by perturbation it has {share:.2g} times the amplitude "
            "of a strong one, which should be far below 1; ask for more beams or fewer weak_beams"
        )


def prepare(crystal: Crystal, settings: Settings, nodes: np.ndarray | None = None) -> Setup:
    """Orientation, tilts, symmetry, beams and potential of a simulation; all checks happen here.

    Args:
        crystal: the crystal.
        settings: with a definite choice of beams.
        nodes: tilts in 1/Å to solve for in place of those of the grid, to interpolate amplitudes: (node, 2).
    """
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    wave = electron_wave(settings.energy)
    grid, inside = settings.grid.tilts(frame, settings.energy)
    tilts = grid[inside] if nodes is None else nodes
    hkl = wanted_reflections(crystal, frame, settings)
    zolz_only = settings.laue_zones == 0
    # Every pair of an amplitude has its own phase, and the reference is meant to be literal.
    keeps_phase = settings.output == "amplitude" or (nodes is not None and bool(np.any(hkl)))
    plain = keeps_phase or settings.solver == "reference"
    operations = pattern_operations(crystal, frame, zolz_only)[: 1 if plain else None]
    by_zone = zolz_only and frame.is_flat and not settings.weak_beams
    reduction = reduce_pairs(crystal, frame, tilts, hkl, operations, by_zone)
    beams, problem = pose(crystal, settings, frame, wave, reduction)
    return Setup(crystal, settings, frame, wave, hkl, inside, reduction, beams, problem)


def wanted_reflections(crystal: Crystal, frame: Frame, settings: Settings) -> tuple[HKL, ...]:
    """The reflections that the settings ask for, checked."""
    wanted = settings.hkl
    if wanted == "all":
        limit = settings.grid.half_width(frame, settings.energy)
        return reflections_within(crystal, frame, limit)
    if isinstance(wanted, tuple) and len(wanted) == 2 and wanted[0] == "all":
        limit = wanted[1]
        if not isinstance(limit, int | float):
            raise SettingError(f"('all', g) needs a number in 1/Å, got {limit!r}")
        return reflections_within(crystal, frame, float(limit))
    if isinstance(wanted, str) or not isinstance(wanted, Sequence):
        raise SettingError(f"hkl must be a list of (h, k, l), 'all' or ('all', g), got {wanted!r}")
    return check_reflections(crystal, frame, wanted, settings.laue_zones)


def pose(
    crystal: Crystal, settings: Settings, frame: Frame, wave: ElectronWave, reduction: Reduction
) -> tuple[BeamList, Problem]:
    """The beams that reduced pairs of tilts and reflections need, and the problem that solves them.

    Raises:
        MemoryLimitError: if the potential of so many beams does not fit into the memory.
    """
    anchor = reduction.folding.anchor
    required = np.unique(np.concatenate([anchor, anchor[reduction.pair_tilt] + reduction.pair_hkl]), axis=0)
    beams = select_beams(
        crystal,
        frame,
        wave,
        reduction.tilts,
        required,
        count=None if settings.beams == "auto" else settings.beams,
        g_max=settings.g_max,
        sg_max=settings.sg_max,
        weak=settings.weak_beams,
        laue_zones=settings.laue_zones,
    )
    check_preparation(len(beams.hkl), settings.absorption is not None)
    problem = build_problem(
        crystal,
        frame,
        wave,
        beams,
        reduction,
        np.array(settings.thicknesses),
        settings.factors,
        settings.absorption,
        settings.refraction,
        settings.paraxial,
    )
    return beams, problem


def choose_device(name: str) -> torch.device:
    """The torch device of a name; "auto" is a GPU if there is one.

    Raises:
        SettingError: if there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise SettingError(f"device must be auto, cpu or cuda, got {name!r}") from None
    if device.type not in ("cpu", "cuda") or (device.type == "cuda" and not torch.cuda.is_available()):
        raise SettingError(f"device {name!r} is not available here; use 'cpu' or 'auto'")
    return device


def solve(setup: Setup, tick: Tick | None = None) -> tuple[str, str, Tensor]:
    """Solver, reason for it, and values of all wanted reflections at the wanted pixels.

    The values are (thickness, reflection, wanted pixel), real intensities or complex amplitudes.
    """
    name, why, amplitude = solve_amplitudes(setup, tick)
    if setup.settings.output == "amplitude":
        values = amplitude
    else:
        values = amplitude.real.square() + amplitude.imag.square()
    return name, why, values[:, torch.as_tensor(setup.reduction.source)]


def solve_amplitudes(setup: Setup, tick: Tick | None = None) -> tuple[str, str, Tensor]:
    """Solver, reason for it, and complex amplitudes of the pairs that are solved: (thickness, pair)."""
    settings, problem = setup.settings, setup.problem
    device = choose_device(settings.device)
    name, why = settings.solver, "as requested"
    if name == "auto":
        name, why = choose_solver(problem, device)
    check_solver(name, problem)
    precision = torch.float64 if settings.dtype == "float64" else torch.float32
    reflections, pixels = setup.reduction.source.shape
    word, complex_out = (8 if settings.dtype == "float64" else 4), settings.output == "amplitude"
    pairs, thicknesses = len(problem.pair_tilt), len(settings.thicknesses)
    result = result_bytes(pixels, reflections, pairs, thicknesses, word, complex_out)
    if settings.weak_beams and not math.isfinite(weak_beam_share(problem)[0]):
        check_gain(setup, math.nan)  # before matrices without values are diagonalised
    amplitude = run_solver(name, problem, device, precision, tick, result)
    peaks = [float((row.real.square() + row.imag.square()).max()) for row in amplitude]
    check_gain(setup, max(peaks) if all(map(math.isfinite, peaks)) else math.nan)
    return name, why, amplitude if problem.gauge is None else amplitude * _undo(problem).to(amplitude.dtype)


def check_gain(setup: Setup, peak: float) -> None:
    """Refuse intensities that no crystal has: above that of the incident beam.

    Absorption and Bethe's perturbation may come to a gain: U_hw U'_wh' / (K² - |P_w|²) has no definite sign.

    Args:
        setup: that was solved.
        peak: largest intensity of a beam as a fraction of the incident one, NaN if one has no value.

    Raises:
        SettingError: saying what to change.
    """
    if peak <= _LARGEST_INTENSITY:
        return
    much = "without a value" if math.isnan(peak) else f"up to {peak:.2g} times the incident one"
    why = setup.weak_beams_note() or "the absorptive potential amplifies waves; choose another absorption"
    raise SettingError(f"the result is not physical, with intensities {much}: {why}")


def _undo(problem: Problem) -> Tensor:
    """Phase that undoes the shift of origin made for real arithmetic: (pair,)."""
    assert problem.gauge is not None
    return problem.gauge[problem.pair_out].conj() * problem.gauge[problem.anchor[problem.pair_tilt]]
