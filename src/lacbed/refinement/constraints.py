"""What the space group leaves free: directions in which positions, U_ij and the cell may change."""

from __future__ import annotations

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray, direct_basis
from lacbed.crystals.expand import MERGE_DISTANCE

CELL_NAMES = ("a", "b", "c", "alpha", "beta", "gamma")
POSITION_NAMES = ("x", "y", "z")
DISPLACEMENT_NAMES = ("U11", "U22", "U33", "U23", "U13", "U12")

_PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def site_rotations(crystal: Crystal, site: int) -> np.ndarray:
    """Rotation parts of the operations that leave a site where it is: (operation, 3, 3)."""
    xyz = np.asarray(crystal.sites[site].xyz)
    shift = crystal.rotations @ xyz + crystal.translations - xyz
    shift -= np.round(shift)
    atoms = int(np.count_nonzero(crystal.atoms.site == site))
    order = np.argsort(np.linalg.norm(shift @ crystal.direct.T, axis=1), kind="stable")
    fixing = order[: len(crystal.rotations) // atoms]
    assert np.linalg.norm(shift[fixing] @ crystal.direct.T, axis=1).max() < 2 * MERGE_DISTANCE
    return np.asarray(crystal.rotations[fixing])


def position_directions(crystal: Crystal, site: int) -> list[tuple[str, FloatArray]]:
    """Free directions of a position, each named by the coordinate that it changes by one: x, y or z.

    A displacement d is free if R d = d for every rotation R of the site: the image of the mean of the R.
    """
    return _named(site_rotations(crystal, site).mean(axis=0), POSITION_NAMES)


def displacement_directions(crystal: Crystal, site: int) -> list[tuple[str, FloatArray]]:
    """Free directions of (U11, U22, U33, U23, U13, U12), each named by the element that it changes by one.

    β = 2π² N U N, N = diag(a*_i), is free if R β Rᵀ = β for every rotation R of the site.
    """
    lengths = np.linalg.norm(crystal.reciprocal, axis=0)
    turns = site_rotations(crystal, site) * (lengths[None, None, :] / lengths[None, :, None])  # N⁻¹ R N
    columns = []
    for i, j in _PAIRS:
        unit = np.zeros((3, 3))
        unit[i, j] = unit[j, i] = 1.0
        moved = (turns @ unit @ turns.transpose(0, 2, 1)).mean(axis=0)
        columns.append([moved[pair] for pair in _PAIRS])
    return _named(np.array(columns).T, DISPLACEMENT_NAMES)


def isotropic_displacement(crystal: Crystal) -> FloatArray:
    """(U11, U22, U33, U23, U13, U12) of an atom that moves by U = 1 Å² in every direction."""
    lengths = np.linalg.norm(crystal.reciprocal, axis=0)
    cosines = (crystal.reciprocal.T @ crystal.reciprocal) / np.outer(lengths, lengths)
    return np.array([cosines[pair] for pair in _PAIRS])


def cartesian_displacement(crystal: Crystal, u: FloatArray) -> FloatArray:
    """U of (U11, U22, U33, U23, U13, U12) on Cartesian axes: A N U N Aᵀ, A the direct basis: (3, 3)."""
    lengths = np.linalg.norm(crystal.reciprocal, axis=0)
    axes = crystal.direct * lengths
    tensor = np.zeros((3, 3))
    for value, (i, j) in zip(u, _PAIRS, strict=True):
        tensor[i, j] = tensor[j, i] = value
    return np.asarray(axes @ tensor @ axes.T)


def cell_directions(crystal: Crystal) -> list[tuple[str, FloatArray]]:
    """Free directions of (a, b, c, α, β, γ), in Å and degrees, each named by the first that it changes by one.

    A change is free if the metric tensor G keeps its symmetry, Rᵀ dG R = dG for all rotations of the group.
    """
    cell = np.asarray(crystal.cell)
    step = 1e-4
    columns = []
    for i in range(6):
        pair = []
        for sign in (1.0, -1.0):
            moved = cell.copy()
            moved[i] += sign * step
            basis = direct_basis(tuple(float(v) for v in moved))  # type: ignore[arg-type]
            pair.append(basis.T @ basis)
        columns.append((pair[0] - pair[1]) / (2.0 * step))
    change = np.stack(columns)  # dG of each of the six: (6, 3, 3)
    rotations = crystal.rotations.astype(float)
    mean = np.einsum("rji,cjk,rkl->cil", rotations, change, rotations) / len(rotations)
    back = np.linalg.pinv(change.reshape(6, 9).T, rcond=1e-10)
    return _named(back @ mean.reshape(6, 9).T, CELL_NAMES)


def _named(projector: FloatArray, names: tuple[str, ...]) -> list[tuple[str, FloatArray]]:
    """Reduced echelon basis of the image of a projector, each vector named by its leading 1."""
    rows = np.array(projector).T.copy()
    found: list[str] = []
    rank = 0
    for column in range(rows.shape[1]):
        below = rows[rank:]
        if rank == len(rows) or np.abs(below[:, column]).max() < 1e-6:
            continue
        best = rank + int(np.argmax(np.abs(below[:, column])))
        rows[[rank, best]] = rows[[best, rank]]
        rows[rank] /= rows[rank, column]
        for other in range(len(rows)):
            if other != rank:
                rows[other] -= rows[other, column] * rows[rank]
        found.append(names[column])
        rank += 1
    return [(name, np.round(rows[number], 9) + 0.0) for number, name in enumerate(found)]
