"""The asymmetric part of a pattern and of a potential: which pixels symmetry makes equal.

A map `source` says for every pixel which stored value it has, so that `stored[..., source]` is the whole image;
`first` is the inverse: the pixel that each stored value is taken from.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lacbed.crystals import Crystal
from lacbed.datasets.config import DatasetConfig
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.symmetry import PatternOperation, pattern_operations

Map = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Orbits:
    """Which values of an image are stored.

    Attributes:
        source: number of the stored value of each pixel; the shape is that of the image.
        first: flat position of the pixel that each stored value is taken from: (stored,).
    """

    source: Map
    first: Map

    def fold(self, image: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The values to store: (..., *image) to (..., stored)."""
        flat = image.reshape(*image.shape[: image.ndim - self.source.ndim], -1)
        return flat[..., self.first]


@dataclass(frozen=True, eq=False)
class Symmetry:
    """How a crystal is stored.

    Attributes:
        name: point symmetry of the 000 pattern and a hash of both maps, such as "4mm-1f2e3d4c".
        pattern: of (hkl, ky, kx).
        potential: of (v, u).
    """

    name: str
    pattern: Orbits
    potential: Orbits


def symmetry_of(crystal: Crystal, config: DatasetConfig) -> Symmetry:
    """The maps of a crystal, derived from its space group and its orientation.

    A pattern has the operations of `lacbed.geometry.symmetry.pattern_operations` that map the square of pixels
    to itself; those that need reciprocity hold for 000 alone. The potential has the projected operations of
    the space group that move pixels to pixels.
    """
    frame = make_frame(crystal, config.zone_axis)
    operations = pattern_operations(crystal, frame, config.laue_zones == 0)
    if any(g != (0, 0, 0) for g in config.hkl):
        operations = tuple(o for o in operations if not o.reversed)
    pattern = _pattern_orbits(operations, config.hkl, config.pixels)
    potential = _potential_orbits(crystal, frame, config.potential_pixels)
    content = hashlib.sha256(pattern.source.tobytes() + potential.source.tobytes()).hexdigest()
    return Symmetry(f"{_point_group(operations)}-{content[:8]}", pattern, potential)


def _pattern_orbits(
    operations: tuple[PatternOperation, ...], hkl: tuple[tuple[int, int, int], ...], pixels: int
) -> Orbits:
    """Pairs (reflection, pixel) related by I_Rg(±R k) = I_g(k)."""
    number: dict[tuple[int, ...], int] = {g: i for i, g in enumerate(hkl)}
    y, x = np.divmod(np.arange(pixels**2), pixels)
    doubled = np.stack([2 * x, 2 * y], axis=1) - (pixels - 1)  # k in half pixels, whole numbers
    own = np.arange(len(hkl))[:, None] * pixels**2 + np.arange(pixels**2)
    best = own.copy()
    for operation in operations:
        plane = np.round(operation.image(np.eye(2))).astype(np.int64)  # row i: the image of unit vector i
        if not _keeps_square(operation, plane):
            continue
        moved = (doubled @ plane + (pixels - 1)) // 2
        place = moved[:, 1] * pixels + moved[:, 0]
        for i, g in enumerate(hkl):
            target = number.get(tuple(int(n) for n in operation.hkl @ np.array(g)))
            if target is not None:
                best[i] = np.minimum(best[i], target * pixels**2 + place)
    return _numbered(best.reshape(len(hkl), pixels, pixels))


def _keeps_square(operation: PatternOperation, plane: npt.NDArray[np.int64]) -> bool:
    return bool(np.allclose(operation.image(np.eye(2)), plane, atol=1e-6))


def _potential_orbits(crystal: Crystal, frame: Frame, pixels: int) -> Orbits:
    """Pixels related by the operations {W | w} that keep the zone axis.

    With u = b_1·r and v = b_2·r and rows b_i of the basis B of the zone, B W = M B gives (u, v)' = M (u, v) + B w.
    """
    basis = frame.zone_basis
    inverse = np.linalg.pinv(basis.astype(float))
    v, u = np.divmod(np.arange(pixels**2), pixels)
    place = np.stack([u, v])
    best = np.arange(pixels**2)
    for rotation, translation in zip(crystal.rotations, crystal.translations, strict=True):
        image = basis @ rotation
        matrix = np.round(image @ inverse).astype(np.int64)
        shift = pixels * (basis @ translation)
        if not np.array_equal(matrix @ basis, image) or np.any(np.abs(shift - np.round(shift)) > 1e-6):
            continue
        moved = (matrix @ place + np.round(shift).astype(np.int64)[:, None]) % pixels
        best = np.minimum(best, moved[1] * pixels + moved[0])
    return _numbered(best.reshape(pixels, pixels))


def _numbered(best: npt.NDArray[np.int64]) -> Orbits:
    first, source = np.unique(best, return_inverse=True)
    return Orbits(source.reshape(best.shape).astype(np.int32), first.astype(np.int32))


def _point_group(operations: tuple[PatternOperation, ...]) -> str:
    """Name of the symmetry of the 000 pattern on a square of pixels: "1", "2", "m", "2mm", "4" or "4mm"."""
    planes = [operation.image(np.eye(2)) for operation in operations]
    kept = {tuple(np.round(p).astype(int).ravel()) for p in planes if np.allclose(p, np.round(p), atol=1e-6)}
    mirrors = sum(a * d - b * c < 0 for a, b, c, d in kept)
    turns = len(kept) - mirrors
    return f"{turns if turns > 1 or not mirrors else ''}{'m' if mirrors == 1 else 'mm' if mirrors else ''}"
