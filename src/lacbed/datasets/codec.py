"""Numbers as 16-bit integers, with the largest error that this makes.

Intensities lie between 0 and 1 and are stored as round(65535 I). A potential is stored as round((V - V_min) / s)
with its own V_min and s = (V_max - V_min) / 65535.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError

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
