"""Shared by the tests of this folder: cells that fit a space group, structure factors, CIF texts."""

from __future__ import annotations

import math
from pathlib import Path

import gemmi
import numpy as np

from lacbed.crystals import Crystal

SHARED = Path(__file__).parents[2].parent / "shared"

PLAIN = """data_test
_cell_length_a 4.0
_cell_length_b 5.0
_cell_length_c 6.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_space_group_symop_operation_xyz
'x,y,z'
'-x,-y,-z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
_atom_site_U_iso_or_equiv
Fe1 Fe 0.1 0.2 0.3 1.0 0.005
O1 O 0.4 0.35 0.2 1.0 0.007
"""


def fitting_cell(group: gemmi.SpaceGroup, lengths: tuple[float, float, float] = (9.0, 10.3, 11.9)) -> tuple:
    """A cell with the symmetry of a group: the mean of a triclinic metric over its rotations."""
    a, b, c = lengths
    cosines = {(1, 2): 0.11, (0, 2): -0.13, (0, 1): 0.07}
    metric = np.diag([a * a, b * b, c * c])
    for (i, j), cosine in cosines.items():
        metric[i, j] = metric[j, i] = lengths[i] * lengths[j] * cosine
    rotations = [np.array(op.rot) / op.DEN for op in group.operations().sym_ops]
    mean = np.mean([r.T @ metric @ r for r in rotations], axis=0)
    edges = np.sqrt(np.diag(mean))

    def angle(i: int, j: int) -> float:
        return round(math.degrees(math.acos(mean[i, j] / (edges[i] * edges[j]))), 9)

    return (*map(float, edges), angle(1, 2), angle(0, 2), angle(0, 1))


def indices(limit: int) -> np.ndarray:
    """All hkl with |h|, |k|, |l| <= limit."""
    side = np.arange(-limit, limit + 1)
    return np.stack(np.meshgrid(side, side, side, indexing="ij"), axis=-1).reshape(-1, 3)


def structure_factors(crystal: Crystal, hkl: np.ndarray) -> np.ndarray:
    """F = sum occupancy f exp(-h beta h) exp(2 pi i h r) with X-ray factors, from the expanded atoms."""
    atoms = crystal.atoms
    stol2 = ((hkl @ crystal.reciprocal.T) ** 2).sum(axis=1) / 4.0
    total = np.zeros(len(hkl), dtype=complex)
    for n, element in enumerate(atoms.elements):
        table = gemmi.Element(element).it92
        f = np.array([table.calculate_sf(s) for s in stol2])
        damping = np.exp(-np.einsum("hi,ij,hj->h", hkl, atoms.beta[n], hkl))
        total += atoms.occupancy[n] * f * damping * np.exp(2j * np.pi * hkl @ atoms.xyz[n])
    return total


def distances(crystal: Crystal, reach: float = 4.5) -> np.ndarray:
    """Sorted distances below `reach` between atoms, each with the product of the atomic numbers as tag."""
    atoms = crystal.atoms
    z = np.array([gemmi.Element(e).atomic_number for e in atoms.elements])
    shifts = indices(2)
    rows = []
    for n in range(len(atoms)):
        vectors = (atoms.xyz[None] + shifts[:, None] - atoms.xyz[n]) @ crystal.direct.T
        length = np.linalg.norm(vectors, axis=-1)
        near = (length > 1e-6) & (length < reach)
        tags = np.broadcast_to(z, length.shape)[near] * z[n]
        rows.append(np.stack([tags, length[near]], axis=1))
    table = np.concatenate(rows)
    return table[np.lexsort((table[:, 1].round(6), table[:, 0]))] / [1, 1]


def amounts(crystal: Crystal) -> dict[str, float]:
    """Atoms of each element in the cell, occupancies added up, to 1e-3."""
    counts: dict[str, float] = {}
    for element, share in zip(crystal.atoms.elements, crystal.atoms.occupancy.tolist(), strict=True):
        counts[element] = counts.get(element, 0.0) + share
    return {element: round(count, 3) for element, count in counts.items()}
