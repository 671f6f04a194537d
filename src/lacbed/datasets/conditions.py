"""The energy and thicknesses of one crystal, fixed or drawn."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from lacbed.datasets.config import DatasetConfig, Range


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
