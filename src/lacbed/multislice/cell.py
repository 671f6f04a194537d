"""The rectangular cell and the slices of potential that multislice works on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lacbed.constants import H2_OVER_2M, relativistic_gamma
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.geometry.folding import is_allowed
from lacbed.geometry.frame import Frame, IntArray
from lacbed.potential import Absorption, potential_coefficients

_REACH = 8  # lattice vectors up to this index are tried as edges
_RIGHT = 1e-4  # largest cosine of an angle that counts as right, and largest relative misfit of a length


@dataclass(frozen=True, eq=False)
class Supercell:
    """A rectangular cell of the crystal seen along the zone axis.

    Attributes:
        axes: unit vectors of the edges A and B as rows, in the plane of the microscope frame: (2, 2).
        edges: lengths of A and B in Å.
        period: repeat of the crystal along the zone axis in Å.
    """

    axes: FloatArray
    edges: tuple[float, float]
    period: float

    def indices(self, vectors: FloatArray) -> IntArray:
        """Positions of reciprocal vectors in the discrete spectrum of the cell: (..., ≥ 2) to (..., 2)."""
        steps = vectors[..., :2] @ self.axes.T * np.array(self.edges)
        return np.asarray(np.round(steps).astype(np.int64))


def find_supercell(crystal: Crystal, frame: Frame, projected: bool) -> Supercell:
    """The smallest rectangular cell.

    Args:
        crystal: the crystal.
        frame: its orientation.
        projected: whether only the projection along the zone axis has to repeat; otherwise the edges are
            lattice vectors normal to the zone axis.

    Raises:
        SettingError: if there is none.
    """
    steps = np.arange(-_REACH, _REACH + 1)
    whole = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    pure = crystal.translations[np.all(crystal.rotations == np.eye(3, dtype=int), axis=(1, 2))]
    lattice = (whole[None] + np.unique(np.round(pure % 1.0, 9), axis=0)[:, None]).reshape(-1, 3)
    lattice = lattice @ (frame.rotation @ crystal.direct).T
    length = np.linalg.norm(lattice, axis=1)
    off_axis = np.linalg.norm(lattice[:, :2], axis=1)
    along = (off_axis < _RIGHT * length) & (length > 1e-6)
    flat = off_axis > 0.3 if projected else (np.abs(lattice[:, 2]) < _RIGHT * length) & (length > 1e-6)
    edges = _rectangle(np.unique(np.round(lattice[flat, :2], 7), axis=0))
    if edges is None or not along.any():
        raise SettingError(
            f"multislice needs a rectangular cell, and {crystal.name} has none along "
            f"{list(frame.zone_axis)} with edges of up to {_REACH} cells; use a Bloch-wave solver"
            + ("" if projected else ", or laue_zones = 0 without frozen phonons")
        )
    first, second = edges
    x = first / np.linalg.norm(first)
    size = (float(np.linalg.norm(first)), float(np.linalg.norm(second)))
    return Supercell(np.array([x, [-x[1], x[0]]]), size, float(length[along].min()))


def _rectangle(plane: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Two vectors at a right angle that span the least area, the shorter first."""
    length = np.linalg.norm(plane, axis=1)
    plane, length = plane[np.argsort(length, kind="stable")][:600], np.sort(length)[:600]
    # Of ±v the one in the right half plane, so that the first edge leads to +x.
    half = (plane[:, 0] > 1e-6) | ((np.abs(plane[:, 0]) <= 1e-6) & (plane[:, 1] > 0))
    plane, length = plane[half], length[half]
    area = length[:, None] * length[None, :]
    right = np.abs(plane @ plane.T) < _RIGHT * area
    if not right.any():
        return None
    i, j = np.unravel_index(np.argmin(np.where(right, np.round(area, 6), np.inf)), area.shape)
    return plane[min(i, j)], plane[max(i, j)]


@dataclass(frozen=True, eq=False)
class SpectralPotential:
    """Slices of the smeared crystal potential from its Fourier coefficients.

    The slice from z to z + d holds, in V Å, Σ_g V_g exp(2πi g_⊥·r) ∫ exp(2πi g_z z') dz', with the same V_g
    (Debye-Waller factors included) as the Bloch-wave solvers, without the mean potential V_0, which only refracts.

    Attributes:
        shape: pixels of the cell along A and B.
        place: flat index of each term in the spectrum: (term,).
        along: g_z of each term in 1/Å: (term,).
        elastic: V_g in V: (term,).
        absorptive: V'_g in V, V'_0 included, or None: (term,).
    """

    shape: tuple[int, int]
    place: IntArray
    along: FloatArray
    elastic: FloatArray
    absorptive: FloatArray | None

    def slice(self, z: float, thickness: float) -> tuple[FloatArray, FloatArray | None]:
        """Elastic and absorptive part of a slice in V Å: (A, B) each."""
        weight = thickness * np.sinc(self.along * thickness)
        weight = weight * np.exp(2j * np.pi * self.along * (z + thickness / 2))
        absorptive = None if self.absorptive is None else self._image(self.absorptive * weight)
        return self._image(self.elastic * weight), absorptive

    def _image(self, terms: FloatArray) -> FloatArray:
        size = self.shape[0] * self.shape[1]
        spectrum = np.bincount(self.place, terms.real, size) + 1j * np.bincount(self.place, terms.imag, size)
        return np.asarray(np.fft.ifft2(spectrum.reshape(self.shape)).real * size)


def spectral_potential(
    crystal: Crystal,
    frame: Frame,
    cell: Supercell,
    shape: tuple[int, int],
    energy: float,
    factors: str,
    absorption: Absorption,
    laue_zones: int,
) -> SpectralPotential:
    """The potential of all reflections that the pixels can hold, in Laue zones up to `laue_zones`."""
    limit = min(0.5 * n / edge for n, edge in zip(shape, cell.edges, strict=True)) - 1e-9
    spacing = 1.0 / float(np.linalg.norm(crystal.direct @ np.array(frame.zone_axis)))
    radius = math.hypot(limit, laue_zones * spacing)
    reach = np.floor(radius * np.linalg.norm(crystal.direct, axis=0) + 1e-9).astype(int)
    axes = [np.arange(-n, n + 1) for n in reach]
    u, v, w = frame.zone_axis
    h, k, l = np.meshgrid(*axes, indexing="ij", sparse=True)  # noqa: E741  the name of the index
    hkl = np.argwhere(np.abs(h * u + k * v + l * w) <= laue_zones) - reach
    hkl = hkl[is_allowed(crystal, hkl)]
    vectors = frame.vectors(hkl)
    inside = np.linalg.norm(vectors[:, :2], axis=1) <= limit
    hkl, vectors = hkl[inside], vectors[inside]
    volts = H2_OVER_2M / relativistic_gamma(energy)
    elastic, absorptive = potential_coefficients(crystal, hkl, energy, factors, absorption)
    values = np.where(np.any(hkl != 0, axis=1), elastic.numpy() * volts, 0.0)
    position = cell.indices(vectors) % np.array(shape)
    return SpectralPotential(
        shape,
        position[:, 0] * shape[1] + position[:, 1],
        np.where(np.abs(vectors[:, 2]) < 1e-9, 0.0, vectors[:, 2]),
        values,
        None if absorptive is None else absorptive.numpy() * volts,
    )
