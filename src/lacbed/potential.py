"""Fourier coefficients of the crystal potential, and the image of the projected potential.

Conventions: waves are exp(+2πi k·r), so U(r) = Σ_g U_g exp(+2πi g·r) and

    U_g = γ / (π Ω) Σ_atoms o f_e(|g|/2) exp(-hᵀ β h) exp(-2πi g·r)      in 1/Å²

with o the occupancy, f_e in Å and Ω the volume of the cell. The structure factor of crystallography,
F_g = Σ f exp(+2πi g·r), is its complex conjugate up to γ / (π Ω). The complete potential is U + i U' with the
absorptive part U'_g, both real functions of r.  (Spence & Zuo, Electron Microdiffraction, 1992, chapter 3.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from lacbed.constants import H2_OVER_2M, relativistic_gamma
from lacbed.errors import ScatteringError, SettingError
from lacbed.geometry.frame import Frame, make_frame
from lacbed.scattering import FACTOR_TABLES, absorptive_factor, elastic_factor

if TYPE_CHECKING:
    import xarray as xr

    from lacbed.crystals import Crystal

Absorption = Literal["thomas"] | tuple[Literal["proportional"], float] | None
_FULL = 12  # a box with this many places a reflection is still summed as a whole
_CHUNK = 4_000_000  # g times atoms in one block: 64 MB of complex128


def check_absorption(absorption: Absorption) -> None:
    """Refuse an absorption model that is not known.

    Raises:
        ScatteringError: saying which models there are.
    """
    if absorption is None or absorption == "thomas":
        return
    if isinstance(absorption, tuple) and len(absorption) == 2 and absorption[0] == "proportional":
        percent = absorption[1]
        if isinstance(percent, int | float) and math.isfinite(percent) and 0 <= percent <= 100:
            return
        raise ScatteringError(f"proportional absorption must be 0 to 100 percent, got {percent}")
    raise ScatteringError(f'absorption must be None, ("proportional", percent) or "thomas", got {absorption!r}')


def structure_factors(
    crystal: Crystal, hkl: np.ndarray, table: str = "kirkland", absorptive_energy: float | None = None
) -> Tensor:
    """Σ_atoms o f exp(-hᵀβh) exp(-2πi g·r) in Å: (reflection, 3) integer indices to (reflection,) complex128.

    Args:
        crystal: the crystal.
        hkl: reflections.
        table: "kirkland", "lobato", "peng" or "doyle-turner" electron scattering factors.
        absorptive_energy: if given, f is the absorptive factor of Thomas et al. (2024) at this energy in eV in
            place of the elastic one times the Debye-Waller factor.

    Raises:
        ScatteringError: if the table does not exist or does not cover an element.
    """
    if table not in FACTOR_TABLES:
        raise ScatteringError(f"factors must be one of {', '.join(FACTOR_TABLES)}, got {table!r}")
    atoms = crystal.atoms
    indices = np.asarray(hkl, dtype=np.float64)
    total = torch.zeros(len(indices), dtype=torch.complex128)
    length = np.round(0.5 * np.linalg.norm(indices @ crystal.reciprocal.T, axis=1), 12)
    distinct, place = np.unique(length, return_inverse=True)  # symmetry makes most lengths equal
    s, where = torch.as_tensor(distinct), torch.as_tensor(place.reshape(-1))
    for species in _species(crystal):
        element, b_iso = atoms.elements[species[0]], float(atoms.b_iso[species[0]])
        if absorptive_energy is None:
            factor = elastic_factor(element, s, table)[where] * _damping(indices, atoms.beta[species[0]])
        else:
            factor = absorptive_factor(element, s, b_iso, absorptive_energy)[where]
        total += factor * _phase_sum(indices, atoms.xyz[species], atoms.occupancy[species])
    return total


def _species(crystal: Crystal) -> list[np.ndarray]:
    """Atoms grouped by element and Debye-Waller tensor, as lists of indices."""
    atoms = crystal.atoms
    groups: dict[tuple[str, bytes], list[int]] = {}
    for i, element in enumerate(atoms.elements):
        groups.setdefault((element, np.round(atoms.beta[i], 12).tobytes()), []).append(i)
    return [np.array(members) for members in groups.values()]


def _damping(indices: np.ndarray, beta: np.ndarray) -> Tensor:
    """Debye-Waller factor exp(-hᵀ β h)."""
    return torch.as_tensor(np.exp(-np.einsum("gi,ij,gj->g", indices, beta, indices)))


def _phase_sum(indices: np.ndarray, xyz: np.ndarray, occupancy: np.ndarray) -> Tensor:
    """Σ_atoms o exp(-2πi g·r).

    Reflections that nearly fill a box are summed as products of one-dimensional tables, exp(-2πi h x) and so on,
    which takes no sine or cosine for each reflection and atom.
    """
    axes = [np.unique(column, return_inverse=True) for column in indices.T]
    box = math.prod(len(values) for values, _ in axes)
    if len(indices) and box <= _FULL * len(indices):
        x, y, z = (
            torch.as_tensor(np.exp(-2j * np.pi * np.outer(values, r)))
            for (values, _), r in zip(axes, xyz.T, strict=True)
        )
        weights = z * torch.as_tensor(occupancy)
        layers = torch.stack([(x * layer) @ y.mT for layer in weights], dim=2)  # (h, k, l)
        place = [torch.as_tensor(inverse.reshape(-1)) for _, inverse in axes]
        return layers[place[0], place[1], place[2]]
    step = max(1, _CHUNK // max(1, len(xyz)))
    blocks = []
    for start in range(0, len(indices), step):
        phase = -2.0 * np.pi * (indices[start : start + step] @ xyz.T)
        blocks.append(np.cos(phase) @ occupancy + 1j * (np.sin(phase) @ occupancy))
    return torch.as_tensor(np.concatenate(blocks) if blocks else np.zeros(0, dtype=complex))


def potential_coefficients(
    crystal: Crystal,
    hkl: np.ndarray,
    energy: float,
    factors: str = "kirkland",
    absorption: Absorption = None,
) -> tuple[Tensor, Tensor | None]:
    """U_g and U'_g in 1/Å² for electrons of `energy` eV: two (reflection,) complex128 tensors.

    U' is None without absorption, (percent / 100) U for proportional absorption, U'_0 included.

    Raises:
        ScatteringError: see `structure_factors` and `check_absorption`.
    """
    check_absorption(absorption)
    scale = relativistic_gamma(energy) / (math.pi * crystal.volume)
    elastic = scale * structure_factors(crystal, hkl, factors)
    if absorption is None:
        return elastic, None
    if isinstance(absorption, tuple):
        return elastic, elastic * (absorption[1] / 100.0)
    return elastic, scale * structure_factors(crystal, hkl, factors, absorptive_energy=energy)


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
    import xarray as xr  # noqa: PLC0415  heavy, and only results need it

    frame = make_frame(crystal, zone_axis, x_direction=x_direction)
    image, period = _zone_image(
        crystal, frame, pixels, g_max, lambda hkl: structure_factors(crystal, hkl, factors)
    )
    attributes: dict[str, Any] = {
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
    steps = np.arange(pixels) / pixels
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
    if isinstance(pixels, bool) or int(pixels) != pixels or not 2 <= pixels <= 8192:
        raise SettingError(f"pixels must be a whole number between 2 and 8192, got {pixels}")
    if not math.isfinite(g_max) or not 0 < g_max <= 50:
        raise SettingError(f"g_max must be above 0 and at most 50 1/Å, got {g_max}")
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
