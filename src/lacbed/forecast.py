"""What a simulation is likely to take, from counts alone: told before anything of its size is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from lacbed.beams import beams_within, reflections_within, zone_area
from lacbed.constants import wavelength
from lacbed.converge import GROWTH, LIKELY_G, coarse_grid
from lacbed.crystals import Crystal
from lacbed.engine.zone import covers, with_tolerance
from lacbed.geometry.folding import zone_of_allowed
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.interpolation import node_spacing
from lacbed.geometry.symmetry import matrix_count
from lacbed.geometry.wave import electron_wave
from lacbed.potential import potential_coefficients
from lacbed.settings import Settings
from lacbed.setup import alike, chooses_beams_by_convergence, likely_pairs, wanted_reflections
from lacbed.solvers.blocks import gibibytes, quick_block, side_by_side
from lacbed.solvers.choose import diagonalisation_operations
from lacbed.solvers.convolution import FEWEST, TOGETHER, box_cost
from lacbed.solvers.memory import OVERHEAD, Size, preparation_bytes, result_bytes, solver_bytes
from lacbed.solvers.problem import margin_of, unique_differences
from lacbed.solvers.subspace import MARGIN, NEAR

LONG = 30.0
"""Seconds from which on a forecast is worth a line."""

LARGE = 2 * 2**30
"""Bytes from which on it is as well."""

_RATE = 1e10
"""Operations per second and thread of a usual core; forecasts hold within a factor of three."""

_PREPARATION = 1500.0
"""Operations that an element of the matrices costs until they are made, those of a convolution included."""

_ATOM = 300.0
"""Operations for the potential of one difference of beams and one atom; a beam has about four differences."""

_TRIED = 4.0
"""With a tolerance larger models are tried until they agree: about as much work as so many of the first."""

_INNER = 150
"""Beams from which the depth of the potential is found."""

_POTENTIAL = 1.5
"""Depth in 1/Å² of the potential of usual crystals, which widens the spectrum."""


@dataclass(frozen=True)
class Forecast:
    """What a simulation is likely to take.

    Attributes:
        beams: likely number.
        seconds: the search for enough beams, the matrices and the solution.
        memory: bytes at the peak.
        fast: the same two numbers with the solver "fast", or None where it does not apply.
        hint: what would take less.
    """

    beams: int
    seconds: float
    memory: int
    fast: tuple[float, int] | None
    hint: str = "fewer --beams or --pixels, or a smaller --g-max,"

    def note(self) -> str:
        """One line for people, "" where there is nothing to tell."""
        if self.seconds < LONG and self.memory < LARGE:
            return ""
        text = f"about {duration(self.seconds)} and {gibibytes(self.memory)} GiB with {self.beams} beams, roughly"
        if self.fast is not None and self.fast[0] < 0.5 * self.seconds:
            seconds, memory = self.fast
            text += f"; --solver fast would take about {duration(seconds)} and {gibibytes(memory)} GiB "
            text += "(error about 1e-3)"
        return f"{text}; {self.hint} would take less"


def forecast(crystal: Crystal, settings: Settings) -> Forecast:
    """Time and memory of a simulation by Bloch waves, within a factor of two or three where beams are sought.

    Args:
        crystal: what is to be simulated.
        settings: as `lacbed.simulate` takes them.
    """
    settings = with_tolerance(crystal, settings)
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    searches = chooses_beams_by_convergence(settings)
    beams = _beams(crystal, frame, settings)
    margin = _tail_margin(crystal, frame, settings, beams)
    full = _size(crystal, frame, settings, beams, margin)
    narrow = replace(settings, grid=coarse_grid(settings.grid))
    prepared = _preparation_operations(crystal, beams)
    solver, seconds = _exact(crystal, frame, settings, full)
    if searches:
        wider = _size(crystal, frame, narrow, math.ceil(GROWTH * beams), margin)
        seconds += 1.7 * _exact(crystal, frame, settings, wider)[1]
        prepared *= 1.0 + GROWTH**4 / (GROWTH**2 - 1.0)  # every rung up to the one above makes its own
    reflections = len(wanted_reflections(crystal, frame, settings))
    memory = _bytes(solver, full, settings, reflections)
    fast = None
    within = bool(settings.tolerance) and covers(settings, frame)
    one_zone = frame.is_flat and not settings.laue_zones and not settings.weak_beams and settings.paraxial
    if one_zone or within:
        pixels, coarse = (_size(crystal, frame, which, beams, MARGIN) for which in (settings, narrow))
        interpolated = replace(pixels, matrices=min(pixels.matrices, _nodes(crystal, frame, settings)))
        if settings.laue_zones:  # their waves are about as many again
            interpolated = replace(interpolated, inside=2 * interpolated.inside)
        work = _fast_operations(pixels) + (_fast_operations(coarse) * (1.0 + GROWTH**3) if searches else 0.0)
        fast = (
            work / (_RATE * side_by_side()) + prepared / _RATE,
            _bytes("fast", interpolated, settings, reflections),
        )
    seconds = seconds / (_RATE * side_by_side()) + prepared / _RATE  # which one thread does
    if fast is not None and within:
        work = _TRIED * _fast_operations(interpolated)
        return Forecast(
            beams,
            work / _RATE + prepared / _RATE,
            fast[1],
            None,
            "a larger --tolerance, fewer --pixels or a number of --beams",
        )
    if fast is not None and settings.solver == "fast":
        return Forecast(beams, *fast, None)
    return Forecast(beams, seconds, memory, fast)


def duration(seconds: float) -> str:
    """A time in words: "50 s", "6 minutes", "3 hours"."""
    for unit, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2.0 * size:
            return f"{seconds / size:.2g} {unit}" if seconds < 100.0 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds < 10.0 else f"{round(seconds, -1):.0f} s"


def _beams(crystal: Crystal, frame: Frame, settings: Settings) -> int:
    """The number of beams that is asked for, or likely."""
    zones = 2 * settings.laue_zones + 1
    if settings.beams != "auto":
        return settings.beams
    reach = settings.g_max or LIKELY_G
    if settings.sg_max is not None and settings.g_max is None:
        edge = settings.grid.half_width(frame, settings.energy) * math.sqrt(2.0)
        reach = math.sqrt(edge**2 + 2.0 * electron_wave(settings.energy).wave_number * settings.sg_max)
    likely = beams_within(crystal, frame, reach) * zones
    return round(likely * math.sqrt(GROWTH)) if chooses_beams_by_convergence(settings) else likely  # a rung above


def _tail_margin(crystal: Crystal, frame: Frame, settings: Settings, beams: int) -> float:
    """`Problem.tail_margin`, from the inner ones of the beams; `MARGIN` without absorption."""
    if settings.absorption is None:
        return MARGIN
    reach = math.sqrt(min(beams, _INNER) * zone_area(crystal, frame) / math.pi)
    difference, index = unique_differences(np.array(reflections_within(crystal, frame, reach)))
    elastic, absorptive = potential_coefficients(
        crystal, difference, settings.energy, settings.factors, settings.absorption
    )
    assert absorptive is not None
    elastic[torch.as_tensor(np.all(difference == 0, axis=1))] = 0.0
    depth = float(torch.linalg.eigvalsh(elastic[index])[-1])
    return margin_of((0.0, depth, float(torch.linalg.eigvalsh(absorptive[index]).abs().max())))


def _size(crystal: Crystal, frame: Frame, settings: Settings, beams: int, margin: float) -> Size:
    """The size of the problem, without making it; waves are kept up to `margin` above the incident ones."""
    grid, inside = settings.grid.tilts(frame, settings.energy)
    tilts = grid[inside]
    same = alike(crystal, frame, settings)
    distinct = matrix_count(crystal, frame, tilts)
    highest = float(np.sum(tilts**2, axis=1).max())
    area = zone_area(crystal, frame)
    reach = math.sqrt(beams * area / math.pi)
    sides = sorted(max(1, round(2.0 * reach * float(n)) + 1) for n in _places(frame))
    length = 2 * sides[1]
    many = beams >= FEWEST and not settings.laue_zones and not settings.weak_beams
    return Size(
        beams=beams,
        tilts=-(-len(tilts) // same),
        matrices=-(-distinct // same) if frame.is_flat and not settings.laue_zones else -(-len(tilts) // same),
        pairs=likely_pairs(crystal, frame, settings, len(tilts)),
        thicknesses=len(settings.thicknesses),
        is_real=bool(np.any(np.all(crystal.rotations == -np.eye(3, dtype=int), axis=(1, 2)))),
        absorbs=settings.absorption is not None,
        inside=min(beams, round(math.pi * (highest + margin) / area)),
        near=min(beams, round(math.pi * (highest + MARGIN + NEAR) / area)),
        sides=(sides[0], sides[1], length) if many else None,
    )


def _places(frame: Frame) -> np.ndarray:
    """Lattice places per 1/Å along both vectors of the zone."""
    return np.asarray(np.linalg.norm(np.linalg.inv(frame.zone_vectors), axis=1))


def _nodes(crystal: Crystal, frame: Frame, settings: Settings) -> int:
    """Matrices between which the solver "fast" interpolates; symmetry counts without phases. See `lacbed.fast`."""
    same = 1 if np.any(np.array(wanted_reflections(crystal, frame, settings))) else alike(crystal, frame, settings)
    lattice = frame.vectors(zone_of_allowed(crystal, frame))[:, :2]
    spacing = node_spacing(wavelength(settings.energy), max(settings.thicknesses))
    nodes = math.prod(math.ceil(float(n) / spacing) for n in np.linalg.norm(lattice, axis=1))
    return -(-nodes // same)


def _bytes(name: str, size: Size, settings: Settings, reflections: int) -> int:
    word, threads = 8 if settings.dtype == "float64" else 4, side_by_side()
    once, work, each = solver_bytes(name, size, word)
    count = size.matrices if name in ("zone", "fast") else size.tilts
    aim = TOGETHER if name == "chebyshev" and size.sides else None
    solving = once + threads * (work + each * quick_block(count, threads * each, aim))
    pixels, thicknesses = settings.grid.pixels**2, len(settings.thicknesses)
    values = result_bytes(pixels, reflections, size.pairs, thicknesses, word, settings.output == "amplitude")
    return max(OVERHEAD + preparation_bytes(size.beams, size.absorbs, size.is_real), solving + values)


def _preparation_operations(crystal: Crystal, beams: int) -> float:
    """Operations until the matrices are made: numbers of all differences of beams, and their potential."""
    return _PREPARATION * beams**2 + 4.0 * _ATOM * beams * len(crystal.atoms.elements)


def _exact(crystal: Crystal, frame: Frame, settings: Settings, size: Size) -> tuple[str, float]:
    """The exact solver that would be chosen, or is asked for, and its operations."""
    flat = frame.is_flat and not settings.laue_zones and not settings.weak_beams
    by_diagonalisation = "zone" if flat else "tilted"
    each = diagonalisation_operations(size.beams, size.inside, size.is_real, size.absorbs)
    if settings.solver == "reference":
        return "reference", 8.0 * size.tilts * each
    by_matrices = size.matrices * each
    if settings.solver in ("zone", "tilted") or not settings.paraxial or settings.weak_beams:
        return settings.solver if settings.solver in ("zone", "tilted") else by_diagonalisation, by_matrices
    reach = math.sqrt(size.beams / (2 * settings.laue_zones + 1) * zone_area(crystal, frame) / math.pi)
    width = (reach**2 + _POTENTIAL) / (2.0 * electron_wave(settings.energy).wave_number)
    terms = math.pi * width * max(settings.thicknesses) + 40.0 * (1 + size.absorbs * len(settings.thicknesses))
    dense = size.beams**2 * (12.0 if size.is_real and not size.absorbs else 24.0)
    product = dense if size.sides is None else min(dense, box_cost(size.sides, size.beams))
    halved = (
        0.5 if not size.absorbs and not np.any(np.array(wanted_reflections(crystal, frame, settings))) else 1.0
    )
    by_terms = size.tilts * terms * product * halved
    if settings.solver == "chebyshev" or by_terms < by_matrices:
        return "chebyshev", by_terms
    return by_diagonalisation, by_matrices


def _fast_operations(size: Size) -> float:
    """Operations of the solver "fast": its subspace, then a few products for each matrix."""
    far = max(0, size.beams - size.near)
    space = (9.0 if size.is_real else 22.0) * size.near**3 + far**3 + 8.0 * far**2 * size.inside
    return space + size.matrices * 100.0 * size.inside**3
