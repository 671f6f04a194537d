"""One crystal of a data set: its potential, its pattern, and the numbers that go with them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import lacbed
from lacbed.constants import H2_OVER_2M, relativistic_gamma
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.datasets.config import DatasetConfig, Range
from lacbed.errors import SettingError
from lacbed.geometry.frame import make_frame
from lacbed.potential import potential_coefficients


@dataclass(frozen=True)
class Conditions:
    """Energy in eV, and thicknesses in Å."""

    energy: float
    thicknesses: tuple[float, ...]


def conditions_of(config: DatasetConfig, compound_id: str) -> Conditions:
    """What a crystal is computed at.

    Drawn values depend on the compound and the seed of the range alone, not on the other crystals or their
    order. Thicknesses are given in ascending order to 0.01 Å, energies to 1 eV.
    """
    energy = config.energy
    if isinstance(energy, Range):
        energy = float(np.round(_draw(energy, "energy", compound_id)[0]))
    thicknesses = config.thicknesses
    if isinstance(thicknesses, Range):
        thicknesses = tuple(float(t) for t in np.round(_draw(thicknesses, "thickness", compound_id), 2))
    return Conditions(energy, thicknesses)


def _draw(wanted: Range, name: str, compound_id: str) -> np.ndarray:
    """Sorted even deviates from a hash, which no change of random generators can alter."""
    fractions = [
        int.from_bytes(hashlib.sha256(f"{name}/{wanted.seed}/{compound_id}/{i}".encode()).digest()[:8]) / 2.0**64
        for i in range(wanted.count)
    ]
    return wanted.low + (wanted.high - wanted.low) * np.sort(np.array(fractions))


@dataclass(frozen=True, eq=False)
class Computed:
    """What a data set holds of one crystal.

    Attributes:
        pattern: fractions of the incident intensity: (thickness, hkl, ky, kx).
        potential: mean potential along the beam in V, at x = i / n: (v, u).
        scalars: further numbers, by name; see `SCALARS`.
    """

    pattern: FloatArray
    potential: FloatArray
    scalars: dict[str, float]


SCALARS = {
    "energy": "eV",
    "lattice_parameter": "Å, 1 / the shortest reciprocal vector of the zone; a for a cubic crystal at [001]",
    "period": "Å along the beam",
    "volume": "Å³ of the unit cell",
    "atoms": "in the unit cell, weighted by occupancy",
    "mean_b_iso": "Å², mean over the atoms",
    "mean_inner_potential": "V",
    "mean_absorptive_potential": "V",
    "beams": "number of beams",
    "z_reached": "Z against one and a half times as many beams",
    "intensity_change_reached": "largest |ΔI| against one and a half times as many beams",
}
"""Numbers kept for every crystal, with unit or meaning."""


def compute_one(crystal: Crystal, config: DatasetConfig, conditions: Conditions, device: str = "auto") -> Computed:
    """Compute one crystal with as many beams as the tolerances of the config need.

    Raises:
        SettingError: if `config.max_beams` beams are not enough.
        LacbedError: whatever else the crystal does not allow.
    """
    settings = config.settings(conditions.energy, conditions.thicknesses) | {"device": device}
    report = lacbed.convergence(
        crystal,
        tolerance_z=config.tolerance_z,
        tolerance_intensity=config.tolerance_intensity,
        max_beams=config.max_beams,
        **settings,
    )
    if not report.converged:
        raise SettingError(f"{report.summary}; max_beams is {config.max_beams}")
    pattern = lacbed.simulate(crystal, beams=report.beams, **settings)
    projected = lacbed.projected_potential(
        crystal, config.zone_axis, config.potential_pixels, config.potential_g_max, config.factors
    )
    step = next(s for s in report.steps if s.beams == report.beams)
    scalars = {
        **crystal_numbers(crystal, config.zone_axis),
        "energy": conditions.energy,
        "mean_absorptive_potential": _mean_absorptive(crystal, config, conditions.energy),
        "period": float(projected.attrs["period"]),
        "mean_inner_potential": float(projected.attrs["mean_inner_potential"]),
        "beams": float(report.beams),
        "z_reached": step.z,
        "intensity_change_reached": step.max_difference,
    }
    return Computed(pattern.values, projected.values / scalars["period"], scalars)


def crystal_numbers(crystal: Crystal, zone_axis: Sequence[int]) -> dict[str, float]:
    """Those of `SCALARS` that depend on the crystal and its orientation alone."""
    atoms = crystal.atoms
    return {
        "lattice_parameter": 1.0 / make_frame(crystal, zone_axis).shortest,
        "volume": crystal.volume,
        "atoms": math.fsum(atoms.occupancy),
        "mean_b_iso": float(np.average(np.nan_to_num(atoms.b_iso), weights=atoms.occupancy)),
    }


def _mean_absorptive(crystal: Crystal, config: DatasetConfig, energy: float) -> float:
    """Mean absorptive potential in V."""
    origin = np.zeros((1, 3), dtype=np.int64)
    absorptive = potential_coefficients(crystal, origin, energy, config.factors, config.absorption)[1]
    return 0.0 if absorptive is None else float(absorptive.real[0]) * H2_OVER_2M / relativistic_gamma(energy)


LEVELS = 65535
INTENSITY_BOUND = 0.5 / LEVELS
"""Largest error of a stored intensity, in units of the incident intensity: 7.6e-6."""

_ROUNDING = 5e-3
"""How far outside [0, 1] an intensity may be, by the error of an approximate solver; more is a fault."""

Codes = npt.NDArray[np.uint16]


def encode_intensity(values: FloatArray) -> Codes:
    """Intensities as codes.

    Raises:
        SettingError: if one is not a number or lies outside [0, 1].
    """
    low, high = float(np.min(values)), float(np.max(values))
    if not (low >= -_ROUNDING and high <= 1.0 + _ROUNDING):  # also false for NaN
        raise SettingError(f"intensities must lie between 0 and 1, got {low:g} to {high:g}")
    return np.asarray(np.round(np.clip(values, 0.0, 1.0) * LEVELS), dtype=np.uint16)


def decode_intensity(codes: npt.NDArray[np.unsignedinteger]) -> npt.NDArray[np.float32]:
    """Codes as intensities."""
    return codes.astype(np.float32) / np.float32(LEVELS)


def encode_potential(values: FloatArray) -> tuple[Codes, float, float]:
    """A potential as codes, offset V_min and scale s; the error is at most s / 2.

    Raises:
        SettingError: if a value is not finite.
    """
    low, high = float(np.min(values)), float(np.max(values))
    if not np.isfinite(high - low):
        raise SettingError("the potential must be finite")
    scale = (high - low) / LEVELS or 1.0
    return np.round((values - low) / scale).astype(np.uint16), low, scale


def decode_potential(codes: Codes, offset: float, scale: float) -> npt.NDArray[np.float32]:
    """Codes as a potential in V."""
    return np.asarray(codes * scale + offset, dtype=np.float32)
