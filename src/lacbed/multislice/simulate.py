"""Multislice through abTEM: the other main method of LACBED, as an independent check of the propagation.

A plane wave of each incident direction runs through thin slices of the crystal; see
`lacbed.multislice.propagate`. The tilt is in the propagator, so that it need not fit the cell.
Transmission functions, anti-aliasing and Fourier convolutions are abTEM's (Madsen & Susi, Open Research Europe 1
(2021) 24). The potential is made of the same U_g as that of the Bloch waves: only the method differs.

The exit wave keeps only the part of a wave vector in the plane, so that beams of different Laue zones with the
same part are one.

The cost is high by nature: every direction has its own run, two Fourier transforms a slice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import MemoryLimitError, MissingExtraError, SettingError
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.symmetry import Reduction, pattern_operations, reduce_pairs
from lacbed.geometry.wave import electron_wave, internal_wave_vectors
from lacbed.io.numbers import check_number, check_whole
from lacbed.multislice.cell import Supercell, find_supercell, spectral_potential
from lacbed.multislice.phonons import displaced_slices, phonon_cell
from lacbed.multislice.propagate import Optics, Stack, propagate
from lacbed.patterns.result import label_pattern
from lacbed.potential import potential_coefficients
from lacbed.settings import Settings
from lacbed.setup import wanted_reflections
from lacbed.solvers.blocks import free_memory

if TYPE_CHECKING:
    import xarray as xr

SLICE_THICKNESS = 0.5
"""Å; the error of an intensity falls with its square."""

WAVE_RADIUS = 4.0
"""1/Å; waves further than that from the zone axis are cut off unless g_max says otherwise."""

_CUTOFF = 2.0 / 3.0  # of the Nyquist limit, abTEM's anti-aliasing aperture


def simulate_multislice(
    crystal: Crystal,
    settings: Settings,
    progress: Callable[[float], None] | None = None,
    *,
    slice_thickness: float = SLICE_THICKNESS,
    frozen_phonons: int = 0,
    seed: int = 0,
) -> xr.DataArray:
    """LACBED patterns by multislice; `lacbed.simulate(..., solver="multislice")` calls this.

    `g_max` is the radius of the circle of waves around the zone axis that the grid holds, at least; the other ways
    to choose beams do not apply. With `laue_zones=0` the potential is the projected one, as for Bloch waves.

    Args:
        crystal: what to compute.
        settings: as for `lacbed.simulate`.
        progress: called with the fraction of the work done.
        slice_thickness: largest thickness of a slice in Å.
        frozen_phonons: number of configurations with atoms displaced at random (Einstein model with the crystal's
            B or anisotropic U) in place of the smeared potential; the result is then the elastic part |⟨ψ_g⟩|²,
            estimated without bias as the mean of ψ*_i ψ_j over different configurations, so that it may be
            slightly negative. All Laue zones take part.
        seed: of the random displacements.

    Raises:
        MissingExtraError: if abTEM is not installed.
        SettingError: on settings that multislice cannot fulfil.
        MemoryLimitError: if the slices do not fit, with the estimate.
    """
    abtem = _import_abtem()
    _check(settings, slice_thickness, frozen_phonons)
    frame = make_frame(crystal, settings.zone_axis, settings.foil_normal, settings.x_direction)
    if not frame.is_flat:
        raise SettingError("multislice needs the foil normal along the zone axis; use a Bloch-wave solver")
    grid, inside = settings.grid.tilts(frame, settings.energy)
    hkl = wanted_reflections(crystal, frame, settings)
    zolz_only = settings.laue_zones == 0 and not frozen_phonons
    plain = settings.output == "amplitude"
    operations = pattern_operations(crystal, frame, zolz_only)[: 1 if plain else None]
    reduction = reduce_pairs(crystal, frame, grid[inside], hkl, operations, by_zone=False)
    cell = find_supercell(crystal, frame, zolz_only)
    cell = phonon_cell(cell) if frozen_phonons else cell
    shape = _pixels(crystal, settings, frame, cell, reduction)
    dtype = np.dtype("complex128" if settings.dtype == "float64" else "complex64")
    optics = Optics(cell, shape, settings.energy, electron_wave(settings.energy).wave_number, zolz_only, dtype)
    bounds, exits = _boundaries(settings.thicknesses, cell.period, slice_thickness)
    _check_memory(optics, len(bounds) - 1 if frozen_phonons else round(2 * cell.period / slice_thickness) + 8)
    runs = max(1, frozen_phonons)
    with abtem.config.set({"precision": settings.dtype, "diagnostics.progress_bar": False}):
        waves = []
        for run in range(runs):
            if frozen_phonons:
                slices = displaced_slices(crystal, frame, cell, shape, settings.factors, bounds, seed + run)
                stack = Stack([(v, None, d) for v, d in slices], list(range(len(slices))), exits)
            else:
                stack = _smeared_stack(crystal, settings, frame, optics, bounds, exits)
            tick = None if progress is None else _part(progress, run, runs)
            waves.append(_run_tilts(crystal, settings, frame, optics, stack, reduction, tick))
    values = _values(np.stack(waves), settings.output)[:, reduction.source]
    extra = {
        "solver": "multislice",
        "abtem": str(abtem.__version__),
        "slice_thickness": float(np.diff(bounds).max()),
        "frozen_phonons": frozen_phonons,
        "seed": seed,
        "multislice_pixels": list(shape),
        "multislice_cell": list(cell.edges),
        "tilts_solved": len(reduction.tilts),
    }
    return label_pattern(values, inside, hkl, crystal, frame, settings, extra, [*crystal.notes])


def _import_abtem() -> Any:
    try:
        import abtem  # an optional extra
    except ImportError:
        raise MissingExtraError('multislice needs abTEM: pip install "lacbed[multislice]"') from None
    return abtem


def _check(settings: Settings, slice_thickness: float, frozen_phonons: int) -> None:
    check_number("slice_thickness", slice_thickness, 0.01, 10, unit="Å")
    if settings.beams != "auto" or settings.sg_max is not None or settings.weak_beams:
        raise SettingError("multislice takes all waves on its grid: give g_max in place of beams or sg_max")
    check_whole("frozen_phonons", frozen_phonons, 0)
    if not frozen_phonons:
        return
    if frozen_phonons < 2:
        raise SettingError("frozen phonons need at least 2 configurations: the elastic part is a mean over pairs")
    if settings.absorption is not None:
        raise SettingError("frozen phonons are the absorption; leave absorption out")
    if settings.output == "amplitude":
        raise SettingError("frozen phonons give intensities; ask for output='intensity'")


def _pixels(
    crystal: Crystal, settings: Settings, frame: Frame, cell: Supercell, reduction: Reduction
) -> tuple[int, int]:
    """Pixels such that the anti-aliasing circle holds all waves that count; numbers that transform fast."""
    from scipy.fft import next_fast_len

    tilt = float(np.linalg.norm(reduction.tilts, axis=1).max())
    radius = WAVE_RADIUS if settings.g_max is None else settings.g_max
    if settings.laue_zones:
        spacing = 1.0 / float(np.linalg.norm(crystal.direct @ np.array(frame.zone_axis)))
        k = electron_wave(settings.energy).wave_number
        radius = max(radius, 1.05 * math.sqrt(2.0 * k * spacing * settings.laue_zones))
    needed = float(np.linalg.norm(frame.vectors(reduction.pair_hkl)[:, :2], axis=1).max(initial=0.0))
    cutoff = max(radius + tilt, needed + 0.5) + 0.05
    counts = [int(next_fast_len(math.ceil(2.0 * cutoff / _CUTOFF * edge))) for edge in cell.edges]
    return counts[0], counts[1]


def _boundaries(thicknesses: Sequence[float], period: float, largest: float) -> tuple[FloatArray, list[int]]:
    """Depths where slices meet: a whole number of slices a period, cut where a thickness is reached."""
    step = period / math.ceil(period / largest)
    deepest = max(thicknesses)
    regular = np.arange(math.ceil(deepest / step - 1e-6)) * step
    cuts = np.unique(np.round(thicknesses, 6))
    regular = regular[np.abs(regular[:, None] - cuts).min(axis=1) > 1e-3 * step]
    bounds = np.sort(np.concatenate([regular, cuts]))
    return bounds, [int(np.argmin(np.abs(bounds - t))) for t in thicknesses]


def _smeared_stack(
    crystal: Crystal, settings: Settings, frame: Frame, optics: Optics, bounds: FloatArray, exits: list[int]
) -> Stack:
    """Slices of the smeared potential; those that repeat are kept once."""
    potential = spectral_potential(
        crystal,
        frame,
        optics.cell,
        optics.shape,
        settings.energy,
        settings.factors,
        settings.absorption,
        settings.laue_zones,
    )
    period = optics.cell.period
    table: list[tuple[FloatArray, FloatArray | None, float]] = []
    known: dict[tuple[int, int], int] = {}
    order = []
    for z, d in zip(bounds[:-1], np.diff(bounds), strict=True):
        phase = 0 if settings.laue_zones == 0 else round(z / period % 1.0 * 1e5) % 100_000
        key = (phase, round(d * 1e5))
        if key not in known:
            known[key] = len(table)
            table.append((*potential.slice(z, d), float(d)))
        order.append(known[key])
    return Stack(table, order, exits)


def _check_memory(optics: Optics, slices: int) -> None:
    pixels = optics.shape[0] * optics.shape[1]
    need = pixels * 8 * (slices * 5 + 20)
    if need > 0.5 * free_memory(torch.device("cpu")):
        raise MemoryLimitError(
            f"{slices} slices of {optics.shape[0]} x {optics.shape[1]} pixels need about {need / 2**30:.1f} GiB; "
            "ask for smaller thicknesses, g_max or fewer Laue zones"
        )


def _run_tilts(
    crystal: Crystal,
    settings: Settings,
    frame: Frame,
    optics: Optics,
    stack: Stack,
    reduction: Reduction,
    tick: Callable[[float], None] | None,
) -> np.ndarray:
    """Amplitudes of the wanted pairs: (thickness, pair)."""
    mean = potential_coefficients(crystal, np.zeros((1, 3)), settings.energy, settings.factors)[0].real
    inner = internal_wave_vectors(
        torch.as_tensor(reduction.tilts),
        electron_wave(settings.energy).wave_number,
        torch.as_tensor(frame.normal),
        mean[0] if settings.refraction else torch.zeros(()),
    ).numpy()
    place = optics.cell.indices(frame.vectors(reduction.pair_hkl))
    result = np.empty((len(stack.exits), len(place)), dtype=complex)
    for tilt, wave_vector in enumerate(inner):
        pairs = np.flatnonzero(reduction.pair_tilt == tilt)
        along = frame.vectors(reduction.pair_hkl[pairs])[:, 2]
        spectra = propagate(optics, stack, wave_vector, (place[pairs, 0], place[pairs, 1]))
        depth = np.array(settings.thicknesses)[:, None]
        result[:, pairs] = spectra * np.exp(-2j * np.pi * along * depth)
        if tick is not None:
            tick((tilt + 1) / len(inner))
    return result


def _values(waves: np.ndarray, output: str) -> np.ndarray:
    """Intensities or amplitudes from the waves of all configurations: (run, ...) to (...)."""
    if output == "amplitude":
        return np.asarray(waves[0])
    runs = len(waves)
    each = np.sum(np.abs(waves) ** 2, axis=0)
    if runs == 1:
        return np.asarray(each)
    return np.asarray((np.abs(waves.sum(axis=0)) ** 2 - each) / (runs * (runs - 1)))


def _part(progress: Callable[[float], None], run: int, runs: int) -> Callable[[float], None]:
    return lambda done: progress((run + done) / runs)
