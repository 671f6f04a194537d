"""From the asymmetric unit to all atoms of a cell, and the check that they do not collide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from lacbed.crystals.cell import FloatArray, reciprocal_basis
from lacbed.errors import CrystalError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lacbed.crystals.site import Site

IntArray = npt.NDArray[np.int64]

MERGE_DISTANCE = 0.1
"""Å: images of one site closer than this are one atom on a special position (0.333 for 1/3), unless they share it:
occupancies that add up to at most 1 are a split position."""

_MERGING = (MERGE_DISTANCE, MERGE_DISTANCE / 4, MERGE_DISTANCE / 16, 1e-4)
_NO_SPLIT = 2  # closer than the third of these, 0.006 Å, images are one atom in any case

COLLISION_DISTANCE = 0.4
"""Å: two atoms closer than this must share the place, that is, their occupancies add up to at most 1."""

OCCUPANCY_TOLERANCE = 5e-3
"""Published occupancies are rounded: 0.335 + 0.667 is accepted as 1."""

_MOST_IN_A_BOX = 60  # more than any mixed or split site has; bounds the list of pairs

MAX_ATOMS = 20_000
"""Atoms in a cell; the largest crystals that anyone simulates by Bloch waves have hundreds."""


@dataclass(frozen=True, eq=False)
class Atoms:
    """All atoms of one unit cell.

    Attributes:
        elements: chemical symbol of each atom.
        xyz: fractional coordinates in [0, 1): (atom, 3).
        occupancy: (atom,).
        beta: Debye-Waller tensors of exp(-hᵀ β h): (atom, 3, 3).
        b_iso: equivalent isotropic B in Å² for the absorptive factors: (atom,).
        site: index of the site in the asymmetric unit: (atom,).
        rotation: the operation that made the atom: (atom, 3, 3).
    """

    elements: tuple[str, ...]
    xyz: FloatArray
    occupancy: FloatArray
    beta: FloatArray
    b_iso: FloatArray
    site: IntArray
    rotation: IntArray

    def __len__(self) -> int:
        return len(self.elements)


def expand_sites(
    sites: Sequence[Site],
    rotations: IntArray,
    translations: FloatArray,
    direct: FloatArray,
    reciprocal: FloatArray,
) -> Atoms:
    """Apply x → R x + t to every site and merge the images that fall on one special position.

    Images of a split position stay: see `_orbit`.

    Raises:
        CrystalError: if the cell would hold more than `MAX_ATOMS` atoms.
    """
    xyz: list[FloatArray] = []
    beta: list[FloatArray] = []
    counts: list[int] = []
    first: list[IntArray] = []
    total = 0
    for site, filled in zip(sites, _filled(sites), strict=True):
        positions, operations, stabiliser = _orbit(site.xyz, filled, rotations, translations, direct)
        moved = rotations[operations]
        xyz.append(positions)
        beta.append(moved @ _site_beta(site, stabiliser, reciprocal) @ moved.transpose(0, 2, 1))
        counts.append(len(positions))
        first.append(operations)
        total += len(positions)
        if total > MAX_ATOMS:
            raise CrystalError(
                f"more than {MAX_ATOMS} atoms in the cell ({len(sites)} sites, {len(rotations)} operations); "
                "check the list of atoms"
            )
    index = np.repeat(np.arange(len(sites)), counts)
    beta_all = np.concatenate(beta)
    u_eq = np.einsum("nij,ij->n", beta_all, direct.T @ direct) / (6.0 * np.pi**2)  # tr(U) / 3
    return Atoms(
        elements=tuple(site.element for site, n in zip(sites, counts, strict=True) for _ in range(n)),
        xyz=np.concatenate(xyz),
        occupancy=np.array([site.occupancy for site in sites])[index],
        beta=beta_all,
        b_iso=8.0 * np.pi**2 * np.maximum(u_eq, 0.0),
        site=index.astype(np.int64),
        rotation=rotations[np.concatenate(first)],
    )


def _filled(sites: Sequence[Site]) -> list[float]:
    """Sum of the occupancies of all sites with the coordinates of each: 1 for Sn 0.05 in Ge 0.95."""
    keys = [tuple(round(v % 1.0, 4) for v in site.xyz) for site in sites]
    total: dict[tuple[float, ...], float] = {}
    for key, site in zip(keys, sites, strict=True):
        total[key] = total.get(key, 0.0) + site.occupancy
    return [total[key] for key in keys]


def _orbit(
    point: tuple[float, float, float],
    filled: float,
    rotations: IntArray,
    translations: FloatArray,
    direct: FloatArray,
) -> tuple[FloatArray, IntArray, IntArray]:
    """Distinct images of a point in [0, 1), the first operation of each, the rotations that fix the point.

    Operations that move the point by less than `MERGE_DISTANCE` are taken to fix it, and the point is put
    at the mean of its images under them, which is the special position itself: 0.333 becomes 1/3. If a
    point lies so that those operations are not a group, or if the images that would become one atom are a split
    position, a smaller distance is tried. They are split if their occupancies, each `filled`, add up to at most 1
    and the coordinates are not those of the special position, rounded.
    """
    xyz = np.asarray(point) - np.floor(point)
    if len(rotations) == 1:
        return np.where(xyz > 1.0 - 1e-9, 0.0, xyz)[None], np.zeros(1, dtype=np.int64), rotations
    shift = rotations @ xyz + translations - xyz  # (operation, 3)
    shift -= np.round(shift)
    distance = np.linalg.norm(shift @ direct.T, axis=1)
    if np.count_nonzero(distance < MERGE_DISTANCE) == 1:  # a general position
        images = rotations @ xyz + translations
        images -= np.floor(images)
        images[images > 1.0 - 1e-9] = 0.0
        return images, np.arange(len(images)), rotations[distance < MERGE_DISTANCE]
    counts = [int(np.count_nonzero(distance < tolerance)) for tolerance in _MERGING]
    for level, tolerance in enumerate(_MERGING):
        fixing = distance < tolerance
        step = shift[fixing].mean(axis=0)
        shares = [filled * counts[level] / count for count in counts[level + 1 : _NO_SPLIT + 1]]
        is_split = any(filled < share <= 1.0 + OCCUPANCY_TOLERANCE for share in shares)
        if is_split and not is_rounded(np.asarray(point), step):
            continue
        images = rotations @ (xyz + step) + translations
        images -= np.floor(images)
        first = _first_of_each(images)
        if len(first) * counts[level] == len(rotations):
            break
    mean = images[first]
    mean[mean > 1.0 - 1e-9] = 0.0
    return mean, first, rotations[fixing]


def merged_orbit(
    point: tuple[float, float, float], rotations: IntArray, translations: FloatArray, direct: FloatArray
) -> FloatArray:
    """Images of a point, merged within `MERGE_DISTANCE` even if they could be a split position: (image, 3)."""
    return _orbit(point, math.inf, rotations, translations, direct)[0]


def is_rounded(xyz: FloatArray, step: FloatArray) -> bool:
    """True if coordinates are those of xyz + step, rounded or cut off at the decimals that they have."""
    for value, change in zip(xyz.tolist(), step.tolist(), strict=True):
        decimals = len(repr(value).partition(".")[2])
        unit = 10.0**-decimals if decimals <= 6 and "e" not in repr(value) else 1e-6
        target = (value + change) / unit
        if abs(change) > 0.51 * unit and abs(np.trunc(target) * unit - value) > 1e-9:
            return False
    return True


def _first_of_each(images: FloatArray) -> IntArray:
    """Index of the first of each set of points that are equal modulo 1, to about 1e-4.

    The grid is shifted by an odd amount, so that no fraction that occurs in crystals is at a cell's border.
    """
    keys = np.floor((images + _ODD_SHIFT) % 1.0 * 10_000.0).astype(np.int64) @ _PACK
    return np.sort(np.unique(keys, return_index=True)[1])


_ODD_SHIFT = np.array([0.000_037_113_7, 0.000_041_339_1, 0.000_044_871_3])
_PACK = np.array([10_001**2, 10_001, 1], dtype=np.int64)


def _site_beta(site: Site, stabiliser: IntArray, reciprocal: FloatArray) -> FloatArray:
    """β of a site, averaged as R β Rᵀ over the rotations that fix it, so that it has the site's symmetry."""
    beta = site.beta(reciprocal)
    if site.u_iso is not None or len(stabiliser) == 1:
        return beta
    return np.asarray((stabiliser @ beta @ stabiliser.transpose(0, 2, 1)).mean(axis=0))


def check_distances(atoms: Atoms, direct: FloatArray, labels: Sequence[str]) -> None:
    """Refuse atoms that collide and places that are filled more than once.

    Args:
        atoms: of the cell.
        direct: columns a, b, c in Å.
        labels: of the sites.

    Raises:
        CrystalError: naming the two atoms, their distance and their occupancies.
    """
    points, owner = _with_neighbours(atoms.xyz, direct)
    boxes = np.floor(points / COLLISION_DISTANCE).astype(np.int64)
    many = len(points) > _MOST_IN_A_BOX
    if many and np.unique(boxes, axis=0, return_counts=True)[1].max() > _MOST_IN_A_BOX:
        raise CrystalError(
            f"over {_MOST_IN_A_BOX} atoms lie within {COLLISION_DISTANCE} Å of each other; check the coordinates"
        )
    pairs = cKDTree(points).query_pairs(COLLISION_DISTANCE, output_type="ndarray")
    count = len(atoms)
    total = atoms.occupancy.copy()
    for here, there in (pairs.T, pairs.T[::-1]):
        home = here < count  # points of the cell come first; the others are images of them
        np.add.at(total, here[home], atoms.occupancy[owner[there[home]]])
    worst = int(np.argmax(total))
    if total[worst] <= 1.0 + OCCUPANCY_TOLERANCE:
        return
    partner = [int(p[p != worst][0]) for p in pairs if worst in p]
    gap = min(partner, key=lambda p: float(np.linalg.norm(points[p] - points[worst])), default=worst)
    distance = float(np.linalg.norm(points[gap] - points[worst]))
    merged = f" (images within {MERGE_DISTANCE} Å of each other are one atom)" if distance < 5e-4 else ""
    one, other = int(atoms.site[worst]), int(atoms.site[owner[gap]])
    raise CrystalError(
        f"{labels[one]} and {labels[other] if other != one else 'an image of it'} collide: "
        f"{distance:.3f} Å apart{merged} with occupancies that sum to "
        f"{total[worst]:.3f}; atoms closer than {COLLISION_DISTANCE} Å must share one place (sum at most 1)"
    )


def _with_neighbours(xyz: FloatArray, direct: FloatArray) -> tuple[FloatArray, IntArray]:
    """Cartesian points of the cell and of the images just outside its faces, and the atom of each."""
    margin = COLLISION_DISTANCE * np.linalg.norm(reciprocal_basis(direct), axis=0) + 1e-6  # below 1
    points, owner = xyz, np.arange(len(xyz))
    for axis in range(3):
        step = np.eye(3)[axis]
        low, high = points[:, axis] < margin[axis], points[:, axis] > 1.0 - margin[axis]
        points, owner = (
            np.concatenate([points, points[low] + step, points[high] - step]),
            np.concatenate([owner, owner[low], owner[high]]),
        )
    return points @ direct.T, owner
