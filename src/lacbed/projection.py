"""Images of the potential of one unit cell, projected along a zone axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from lacbed.constants import H2_OVER_2M
from lacbed.geometry.frame import Frame, make_frame
from lacbed.io.checks import check_number, check_whole
from lacbed.potential import Absorption, check_absorption, structure_factors

if TYPE_CHECKING:
    import xarray as xr

    from lacbed.crystals import Crystal


def projected_potential(
    crystal: Crystal,
    zone_axis: Sequence[float] = (0, 0, 1),
    pixels: int = 128,
    g_max: float = 6.0,
    factors: str = "kirkland",
    x_direction: Sequence[float] | None = None,
) -> xr.DataArray:
    """Image of the potential of one unit cell projected along the zone axis.

    The value at fractional coordinates (u, v) of the projected cell is

        V(u, v) = L · h²/(2 π m_e Ω) Σ_g F*_g exp(2πi (m u + n v)),   g = m b_1 + n b_2,   |g| ≤ g_max

    over the zero-order Laue zone, L being the period along the zone axis; pixel i lies at i/n, so that no edge
    is repeated. Debye-Waller factors are included; the rest mass is used, so that V does not depend on the
    energy.

    Args:
        crystal: the crystal.
        zone_axis: [uvw].
        pixels: n; the image has n x n pixels whatever the shape of the projected cell.
        g_max: resolution in 1/Å.
        factors: scattering-factor table.
        x_direction: (hkl) that defines x; see `lacbed.geometry.make_frame`.

    Returns:
        (v, u) image in V Å, with attributes `mean_inner_potential` (V), `period` L (Å), and `cell`, the 2 x 2
        matrix whose columns are the edges of the image in Å in the microscope frame (affine-correct for a cell
        that is not square). Divide by `period` for the potential in V averaged along the beam.

    Raises:
        SettingError: on an impossible number of pixels, resolution, or zone axis.
    """
    frame = make_frame(crystal, zone_axis, x_direction=x_direction)
    image, period = _zone_image(
        crystal, frame, pixels, g_max, lambda hkl: structure_factors(crystal, hkl, factors)
    )
    attributes = {
        "units": "V Å",
        "long_name": "projected potential",
        "mean_inner_potential": float(image.mean() / period),
        "period": period,
        "cell": np.linalg.inv(frame.zone_vectors.T).ravel().tolist(),
        "zone_axis": list(frame.zone_axis),
        "x_direction": list(frame.x_direction),
        "g_max": float(g_max),
        "factors": factors,
        "crystal": crystal.name,
        "formula": crystal.formula,
        "crystal_cif": crystal.to_cif(),
    }
    return _labelled(image, attributes)


def labelled_mean(image: np.ndarray, cell: np.ndarray, zone_axis: Sequence[int], **known: Any) -> xr.DataArray:
    """A potential averaged along the beam in V, in the layout of `projected_potential`, with `period` 1.

    Args:
        image: (n, n), pixel i at i / n.
        cell: edges of the image in Å as columns: (2, 2).
        zone_axis: [uvw].
        known: further attributes.
    """
    attributes = {
        "units": "V",
        "long_name": "mean potential along the beam",
        "mean_inner_potential": float(image.mean()),
        "period": 1.0,
        "cell": np.asarray(cell, dtype=float).ravel().tolist(),
        "zone_axis": list(zone_axis),
    }
    return _labelled(image, attributes | known)


def _labelled(image: np.ndarray, attributes: dict[str, Any]) -> xr.DataArray:
    import xarray as xr  # heavy, and only results need it

    steps = np.arange(len(image)) / len(image)
    return xr.DataArray(
        image, dims=("v", "u"), coords={"v": steps, "u": steps}, name="projected_potential", attrs=attributes
    )


def mean_absorptive_potential(
    crystal: Crystal,
    energy: float,
    absorption: Absorption,
    zone_axis: Sequence[float] = (0, 0, 1),
    pixels: int = 128,
    g_max: float = 6.0,
    factors: str = "kirkland",
) -> np.ndarray:
    """Image of the absorptive potential averaged along the beam, in V, laid out as that of `projected_potential`.

    Divided by h²/2m_e and times γ it is U' as `potential_coefficients` has it; zero without absorption.

    Args:
        crystal: the crystal.
        energy: of the electrons in eV.
        absorption: as in `lacbed.simulate`.
        zone_axis: [uvw].
        pixels: n.
        g_max: resolution in 1/Å.
        factors: scattering-factor table, for proportional absorption.

    Returns:
        (v, u) float64.

    Raises:
        SettingError, ScatteringError: as `projected_potential` and `potential_coefficients`.
    """
    check_absorption(absorption)
    if absorption is None:
        return np.zeros((pixels, pixels))
    share = absorption[1] / 100.0 if isinstance(absorption, tuple) else 1.0
    thermal = None if isinstance(absorption, tuple) else energy
    frame = make_frame(crystal, zone_axis)
    image, period = _zone_image(
        crystal, frame, pixels, g_max, lambda hkl: structure_factors(crystal, hkl, factors, thermal)
    )
    return image * (share / period)


def _zone_image(
    crystal: Crystal, frame: Frame, pixels: int, g_max: float, coefficients: Callable[[np.ndarray], Tensor]
) -> tuple[np.ndarray, float]:
    """Σ over the zone of coefficients in Å as an image in V Å, and the period along the beam in Å."""
    check_whole("pixels", pixels, 2, 8192)
    check_number("g_max", g_max, above=0, high=50, unit="1/Å")
    terms = _zone_terms(frame.zone_vectors, g_max)
    period = float(np.linalg.norm(crystal.direct @ np.array(frame.zone_axis)))
    period /= _centring_divisor(crystal, frame.zone_axis)
    spectrum = np.zeros((pixels, pixels), dtype=complex)
    np.add.at(
        spectrum, (terms[:, 1] % pixels, terms[:, 0] % pixels), coefficients(terms @ frame.zone_basis).numpy()
    )
    volts = H2_OVER_2M / (math.pi * crystal.volume)
    return np.fft.ifft2(spectrum).real * pixels**2 * volts * period, period


def _zone_terms(basis: np.ndarray, g_max: float) -> np.ndarray:
    """All (m, n) with |m b_1 + n b_2| ≤ g_max."""
    reach = np.ceil(g_max * np.linalg.norm(np.linalg.inv(basis), axis=1)).astype(int)
    m, n = np.meshgrid(np.arange(-reach[0], reach[0] + 1), np.arange(-reach[1], reach[1] + 1))
    terms = np.stack([m.ravel(), n.ravel()], axis=1)
    return np.asarray(terms[np.linalg.norm(terms @ basis.T, axis=1) <= g_max])


def _centring_divisor(crystal: Crystal, zone: tuple[int, int, int]) -> int:
    """How many lattice points lie on one step [uvw], centring included (2 for [111] of a bcc cell)."""
    pure = crystal.translations[np.all(crystal.rotations == np.eye(3, dtype=int), axis=(1, 2))]
    axis = np.array(zone)
    for n in (6, 4, 3, 2):
        offset = axis / n - pure
        if np.any(np.all(np.abs(offset - np.round(offset)) < 1e-6, axis=1)):
            return n
    return 1
