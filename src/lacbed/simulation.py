"""The recipe: crystal → orientation → tilts → beams → potential → solver → pattern."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import HKL, BeamList, check_reflections, reflections_within, select_beams
from lacbed.crystals import Crystal
from lacbed.errors import SettingError
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.symmetry import Reduction, pattern_operations, reduce_pairs
from lacbed.geometry.tilts import TiltGrid
from lacbed.geometry.wave import ElectronWave, electron_wave
from lacbed.potential import Absorption
from lacbed.result import label_pattern
from lacbed.settings import Reflections, Settings
from lacbed.solvers.blocks import Tick, describe_work, one_thread_each, part_of
from lacbed.solvers.choose import check_solver, choose_solver, run_solver
from lacbed.solvers.memory import check_preparation, check_result_size
from lacbed.solvers.problem import Problem, build_problem

if TYPE_CHECKING:
    import xarray as xr


def simulate(
    crystal: Crystal,
    zone_axis: Sequence[float] = (0, 0, 1),
    energy: float = 200e3,
    thicknesses: Sequence[float] = (600.0,),
    grid: TiltGrid | None = None,
    hkl: Reflections = ((0, 0, 0),),
    *,
    foil_normal: Sequence[float] | None = None,
    x_direction: Sequence[float] | None = None,
    g_max: float | None = None,
    sg_max: float | None = None,
    beams: int | Literal["auto"] = "auto",
    weak_beams: int = 0,
    laue_zones: int = 0,
    refraction: bool = True,
    paraxial: bool = True,
    absorption: Absorption = None,
    factors: str = "kirkland",
    output: Literal["intensity", "amplitude"] = "intensity",
    solver: str = "auto",
    device: str = "auto",
    dtype: str = "float64",
    frozen_phonons: int = 0,
    progress: Callable[[float], None] | None = None,
) -> xr.DataArray:
    """Exact LACBED patterns of a crystal by Bloch waves.

    The pattern of reflection g is the intensity of beam g as a function of the incident direction:
    I_g(kx, ky) = |ψ_g(t)|² n·(K+g) / n·K, the current in the beam as a fraction of the incident current.

    Args:
        crystal: what to compute; `Crystal.from_cif(...)` or `Crystal.named(...)`.
        zone_axis: [uvw] of the direct lattice; the electrons travel along it.
        energy: kinetic energy in eV (200e3 for a 200 kV microscope).
        thicknesses: along the foil normal in Å; each further one costs next to nothing.
        grid: the incident directions; default `TiltGrid(pixels=128, extent=4)`.
        hkl: reflections; "all" for every allowed one of the zone no further than the half-width of the grid,
            ("all", g) for every one with |g| ≤ g in 1/Å.
        foil_normal: [uvw] normal of both surfaces; default the zone axis.
        x_direction: (hkl) along +x; default the shortest reciprocal vector of the zone.
        g_max: choose beams by |h| ≤ g_max in 1/Å, or limit the other rules to that.
        sg_max: choose beams by excitation error |s_g| ≤ sg_max in 1/Å.
        beams: number of beams (completed to a whole shell), or "auto" for as many as convergence to
            Z ≤ 0.1 % and |ΔI| ≤ 0.01 needs, unless g_max or sg_max choose them. See `lacbed.convergence`.
        weak_beams: number of further beams that enter by Bethe's second-order perturbation.
        laue_zones: highest order of Laue zone that takes part; 0 is the projection approximation.
        refraction: whether the mean inner potential refracts the incident wave.
        paraxial: whether the term γ² of the wave equation is left out, as textbooks, Felix and abTEM do; False
            keeps it (γ → sqrt(K_n² + 2 K_n γ) - K_n, for one Laue zone and a flat foil). The effect on
            intensities is some 1e-4, up to 4e-3 for gold at 1000 Å.
        absorption: None, ("proportional", percent), or "thomas" for the factors of Thomas et al. (2024).
        factors: "kirkland", "lobato", "peng" or "doyle-turner" scattering factors.
        output: "intensity", or "amplitude" for complex waves (columns of the scattering matrix).
        solver: "auto", or "zone", "tilted", "chebyshev", "reference", "multislice"; or "fast", ten to a hundred
            times faster with absorption or on grids that do not fit the reciprocal lattice, for one Laue zone and
            a flat foil, good to some 1e-3 in intensity (Z ≤ 0.01 %).
        device: "auto", "cpu", "cuda", "cuda:1", ...
        dtype: "float64" or "float32".
        frozen_phonons: for solver="multislice", number of configurations of displaced atoms to average over; 0
            for the averaged potential with Debye-Waller factors.
        progress: called with the fraction of the work done, the search for enough beams included. If it has a
            method `describe`, that is called with a few words about what is being done.

    Returns:
        Labelled array (thickness, hkl, ky, kx), coordinates in Å, 1/Å and mrad, with metadata to reproduce it.

    Raises:
        SettingError: on impossible settings; ScatteringError: on elements that a table does not cover;
        MemoryLimitError: if the request does not fit, with the estimate.
    """
    settings = Settings(
        zone_axis, energy, thicknesses, TiltGrid() if grid is None else grid, hkl, foil_normal, x_direction,
        g_max, sg_max, beams, weak_beams, laue_zones, refraction, paraxial, absorption, factors, output, solver,
        device, dtype, frozen_phonons,
    )  # fmt: skip
    check_request(crystal, settings)
    with one_thread_each(torch.device("cpu")):
        return _simulate(crystal, settings, progress)


def _simulate(crystal: Crystal, settings: Settings, tick: Tick | None) -> xr.DataArray:
    """`simulate` with settings that are checked."""
    if settings.solver == "multislice":
        from lacbed.solvers.multislice import simulate_multislice  # noqa: PLC0415  an optional extra

        return simulate_multislice(crystal, settings, tick, frozen_phonons=settings.frozen_phonons)
    remark = ""
    if chooses_beams_by_convergence(settings):
        from lacbed.converge import converge, search_share  # noqa: PLC0415  it calls back to this module

        share = 0.0 if tick is None else search_share(crystal, settings)
        report = converge(crystal, settings, tick=part_of(tick, 0.0, share))
        settings, remark = replace(settings, beams=report.beams), report.summary
        tick = part_of(tick, share, 1.0)
        describe_work(tick, f"simulating with {report.beams} beams")
    if settings.solver == "fast":
        from lacbed.fast import solve_fast  # noqa: PLC0415  it calls back to this module

        result = solve_fast(crystal, settings, tick)
        return label_pattern(
            result.values.numpy(), result.setup.inside, result.setup.hkl, crystal, result.setup.frame, settings,
            {"solver": "fast", **result.setup.describe(), **result.facts},
            [*crystal.notes, f"solver fast: {result.note}", remark],
        )  # fmt: skip
    setup = prepare(crystal, settings)
    name, why, values = solve(setup, tick)
    return label_pattern(
        values.numpy(), setup.inside, setup.hkl, crystal, setup.frame, settings,
        {"solver": name, **setup.describe()}, [*crystal.notes, f"solver {name}: {why}", remark],
    )  # fmt: skip


def check_request(crystal: Crystal, settings: Settings) -> None:
    """Refuse at once what depends on the crystal: orientation, reflections, a result too large to hold."""
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    settings.grid.axes(frame, settings.energy)
    reflections = len(wanted_reflections(crystal, frame, settings))
    word = 8 if settings.dtype == "float64" else 4
    pixels, thicknesses = settings.grid.pixels**2, len(settings.thicknesses)
    pairs = math.ceil(pixels * reflections / alike(crystal, frame, settings))
    check_result_size(pixels, reflections, pairs, thicknesses, word, settings.output == "amplitude")
    choose_device(settings.device)


def alike(crystal: Crystal, frame: Frame, settings: Settings) -> int:
    """How many pixels of a pattern symmetry makes equal where it can."""
    if settings.output == "amplitude" or settings.solver == "reference":
        return 1
    operations = pattern_operations(crystal, frame, settings.laue_zones == 0)
    moves = {o.plane.tobytes() if not o.reversed else (-o.plane + 0.0).tobytes() for o in operations}
    return len(moves) if settings.hkl == ((0, 0, 0),) else sum(not o.reversed for o in operations)


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
    beams = _beams(crystal, settings, frame, wave, reduction)
    check_preparation(len(beams.hkl), settings.absorption is not None)
    problem = build_problem(
        crystal, frame, wave, beams, reduction, np.array(settings.thicknesses), settings.factors,
        settings.absorption, settings.refraction, settings.paraxial,
    )  # fmt: skip
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


def _beams(
    crystal: Crystal, settings: Settings, frame: Frame, wave: ElectronWave, reduction: Reduction
) -> BeamList:
    anchor = reduction.folding.anchor
    required = np.unique(np.concatenate([anchor, anchor[reduction.pair_tilt] + reduction.pair_hkl]), axis=0)
    return select_beams(
        crystal, frame, wave, reduction.tilts, required,
        count=None if settings.beams == "auto" else settings.beams,
        g_max=settings.g_max, sg_max=settings.sg_max, weak=settings.weak_beams, laue_zones=settings.laue_zones,
    )  # fmt: skip


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
    name, why = settings.solver, "asked for"
    if name == "auto":
        name, why = choose_solver(problem, device)
    check_solver(name, problem)
    precision = torch.float64 if settings.dtype == "float64" else torch.float32
    amplitude = run_solver(name, problem, device, precision, tick)
    return name, why, amplitude if problem.gauge is None else amplitude * _undo(problem).to(amplitude.dtype)


def _undo(problem: Problem) -> Tensor:
    """Phase that undoes the shift of origin made for real arithmetic: (pair,)."""
    assert problem.gauge is not None
    return problem.gauge[problem.pair_out].conj() * problem.gauge[problem.anchor[problem.pair_tilt]]
