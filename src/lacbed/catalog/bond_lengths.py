"""Lattice parameter and free coordinates from the bond lengths of a prototype: distance least squares.

Meier & Villiger, Z. Kristallogr. 129 (1969) 411. Gauss-Newton steps in the lattice parameter a and the free
coordinates u minimise the sum over bonds of w (a |r(u)| - d)²; w = 1/d⁴ makes short bonds stiff.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np
import numpy.typing as npt

from lacbed.catalog.prototypes import PROTOTYPES, Prototype
from lacbed.crystals.cell import FloatArray
from lacbed.crystals.wyckoff import operations

_STEPS = 12


@dataclass(frozen=True, eq=False)
class BondGeometry:
    """The bonds and sites of a prototype as linear functions of its free coordinates u, in fractions of the cell.

    Attributes:
        origin: bond vectors at u = 0: (bond, 3).
        slope: their derivatives with respect to u: (bond, 3, parameter).
        kind: index into the prototype's bonds: (bond,).
        places: coordinates of each site at u = 0: (3,), and their derivatives: (3, parameter).
    """

    origin: FloatArray
    slope: FloatArray
    kind: npt.NDArray[np.int64]
    places: tuple[tuple[FloatArray, FloatArray], ...]


@dataclass(frozen=True)
class Fit:
    """Lattice parameter in Å, coordinates of every site, and the largest relative error of a bond length."""

    a: float
    xyz: tuple[tuple[float, float, float], ...]
    error: float


def fit_prototype(name: str, lengths: npt.ArrayLike) -> list[Fit]:
    """Fit a prototype to many sets of bond lengths at once.

    Args:
        name: a key of `PROTOTYPES`.
        lengths: a length in Å for each kind of bond: (set, kind of bond).
    """
    bonds, prototype = bond_geometry(name), PROTOTYPES[name]
    wanted = np.asarray(lengths, dtype=float)
    target = (wanted * (prototype.stretch or (1.0,) * wanted.shape[1]))[:, bonds.kind]
    u = np.tile(np.array(prototype.start, dtype=float), (len(target), 1))
    weight = target**-2
    length = _lengths(bonds, u)[1]
    a = (weight**2 * length * target).sum(axis=1) / (weight**2 * length**2).sum(axis=1)
    moving = np.arange(len(target))
    for _ in range(_STEPS if u.shape[1] else 0):
        vector, length = _lengths(bonds, u[moving])
        slope = a[moving, None, None] * np.einsum("sni,nip->snp", vector, bonds.slope) / length[..., None]
        jacobian = np.concatenate([length[..., None], slope], axis=2) * weight[moving, :, None]
        left = (target[moving] - a[moving, None] * length) * weight[moving]
        step = (np.linalg.pinv(jacobian) @ left[..., None])[..., 0]
        a[moving] += step[:, 0]
        u[moving] += np.clip(step[:, 1:], -0.02, 0.02)
        moving = moving[np.abs(step).max(axis=1) >= 1e-7]
    error = np.abs(a[:, None] * _lengths(bonds, u)[1] / target - 1.0).max(axis=1)
    xyz = np.stack([np.round(origin + u @ slope.T, 5) % 1.0 for origin, slope in bonds.places], axis=1)
    return [
        Fit(round(float(own), 4), tuple((float(x), float(y), float(z)) for x, y, z in sites), float(worst))
        for own, sites, worst in zip(a, xyz, error, strict=True)
    ]


def _lengths(bonds: BondGeometry, u: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Bond vectors in fractions of the cell, (set, bond, 3), and their lengths."""
    vector = bonds.origin + np.einsum("nip,sp->sni", bonds.slope, u)
    return vector, np.linalg.norm(vector, axis=2)


@cache
def bond_geometry(name: str) -> BondGeometry:
    """The bonds of a prototype: for each site the nearest neighbours at the starting coordinates."""
    prototype = PROTOTYPES[name]
    places = _places(prototype)
    start = np.array(prototype.start, dtype=float)
    origins: list[FloatArray] = []
    slopes: list[FloatArray] = []
    kinds: list[int] = []
    for kind, (first, second, count) in enumerate(prototype.bonds):
        for i in _sites_of(prototype, first):
            own, own_slope = places[i]
            found = [_images(prototype, places[j], start) for j in _sites_of(prototype, second)]
            origin = np.concatenate([f[0] for f in found]) - own
            slope = np.concatenate([f[1] for f in found]) - own_slope
            length = np.linalg.norm(origin + slope @ start, axis=1)
            near = np.argsort(np.where(length < 0.01, np.inf, length), kind="stable")[:count]
            origins.append(origin[near])
            slopes.append(slope[near])
            kinds += [kind] * count
    return BondGeometry(
        np.concatenate(origins) if origins else np.zeros((0, 3)),
        np.concatenate(slopes) if slopes else np.zeros((0, 3, len(start))),
        np.array(kinds, dtype=np.int64),
        tuple(places),
    )


def _sites_of(prototype: Prototype, role: str) -> list[int]:
    return [i for i, (name, _) in enumerate(prototype.sites) if name == role]


def _places(prototype: Prototype) -> list[tuple[FloatArray, FloatArray]]:
    """Coordinates (3,) at u = 0 of each site and their change with u: (3, parameter)."""
    places: list[tuple[FloatArray, FloatArray]] = []
    used = 0
    for _, text in prototype.sites:
        op = gemmi.Op(text)
        free = [k for k, letter in enumerate("xyz") if letter in text]
        slope = np.zeros((3, len(prototype.start)))
        slope[:, used : used + len(free)] = (np.array(op.rot) / gemmi.Op.DEN)[:, free]
        used += len(free)
        places.append((np.array(op.tran) / gemmi.Op.DEN, slope))
    return places


def _images(
    prototype: Prototype, place: tuple[FloatArray, FloatArray], start: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """All images of a site in 27 cells, each once: coordinates at u = 0 and change with u."""
    rotations, translations = operations(prototype.space_group)
    origin = rotations @ place[0] + translations  # (operation, 3)
    slope = rotations @ place[1]  # (operation, 3, parameter)
    home = origin + slope @ start
    origin = origin - np.floor(home + 1e-9)
    keys = np.round((origin + slope @ start) * 1e4).astype(int)
    first = np.sort(np.unique(keys, axis=0, return_index=True)[1])
    steps = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    repeated = (origin[first][None] + steps[:, None]).reshape(-1, 3)
    return repeated, np.tile(slope[first], (len(steps), 1, 1))


@cache
def nearest_distances(name: str) -> tuple[tuple[str, str, float], ...]:
    """Shortest distance, in lattice parameters at the starting coordinates, for each pair of roles."""
    prototype = PROTOTYPES[name]
    places = _places(prototype)
    start = np.array(prototype.start, dtype=float)
    shortest: dict[tuple[str, str], float] = {}
    for i, (role, _) in enumerate(prototype.sites):
        own = places[i][0] + places[i][1] @ start
        for j, (other, _) in enumerate(prototype.sites):
            origin, slope = _images(prototype, places[j], start)
            length = np.linalg.norm(origin + slope @ start - own, axis=1)
            pair = (min(role, other), max(role, other))
            shortest[pair] = min(shortest.get(pair, np.inf), float(length[length > 0.01].min()))
    return tuple((*pair, length) for pair, length in shortest.items())
