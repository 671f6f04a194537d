"""The pattern of 000 as a function of the Fourier coefficients of the projected potential, with gradients.

The cell is a square of side a. With tilts k = q + G, waves q + h and U = V γ / (h² / 2 m_e),

    I(k) = |⟨G| exp(iτ A(q)) |G⟩|²,   A(q) = U + iU' - diag |q + h|² / a²,   τ = π t / K_n(k)

in a basis of few Bloch waves, as in `lacbed.refinement.waves`, whose derivatives are exact at
degenerate eigenvalues.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lacbed.constants import ELECTRON_REST_ENERGY, H2_OVER_2M
from lacbed.geometry.folding import fold_images
from lacbed.geometry.wave import electron_wave
from lacbed.learn.symmetry import OPERATIONS
from lacbed.refinement.layout import Layout, make_layout
from lacbed.refinement.waves import EigensystemCache, differentiable_intensities, intensities, tangents
from lacbed.retrieval.cell import resized
from lacbed.solvers.hamiltonian import ProjectedHamiltonian, project
from lacbed.solvers.subspace import wave_basis

Operation = tuple[bool, bool, bool]
RECIPROCITY: tuple[Operation, ...] = (OPERATIONS[0], OPERATIONS[3])
"""Identity and inversion: what the pattern of 000 always has."""

Direction = tuple[Tensor, Tensor | None]

MARGIN, FURTHER = 0.5, 2.0
"""Transverse energy in 1/Å² above that of the highest tilt up to which waves are kept, and above that again up to
which beams take part."""


@dataclass(frozen=True)
class Foil:
    """What is known beside the pattern.

    Attributes:
        lattice_parameter: a in Å.
        thickness: t in Å.
        energy: in eV.
    """

    lattice_parameter: float
    thickness: float
    energy: float

    @property
    def volts(self) -> float:
        """U / V: γ / (h² / 2 m_e) in 1/(V Å²)."""
        return (1.0 + self.energy / ELECTRON_REST_ENERGY) / H2_OVER_2M


@dataclass(frozen=True, eq=False)
class Grid:
    """Tilts, matrices and beams of a pattern.

    Attributes:
        foil: the foil.
        axis: pixel centres along a side in a*, symmetric about 0: (m,).
        order: largest order of a coefficient between two beams.
        lookup: place of h - h' in a flattened table of that order: (n, n).
        beams: h in 1/Å: (n, 2).
        reduced: q in 1/Å: (matrix, 2).
        square: |k|² of every tilt in 1/Å²: (tilt,).
        incoming: matrix and incident beam of every tilt: (tilt,) each.
        source: the tilt that gives each pixel: (m, m).
        energy: transverse energy in 1/Å² up to which waves are kept.
    """

    foil: Foil
    axis: Tensor
    order: int
    lookup: Tensor
    beams: Tensor
    reduced: Tensor
    square: Tensor
    incoming: tuple[np.ndarray, np.ndarray]
    source: Tensor
    energy: float


@dataclass(frozen=True, eq=False)
class Basis:
    """Few Bloch waves in which all matrices are written, found near one potential.

    Attributes:
        vectors: V, orthonormal columns: (n, m).
        hamiltonian: all matrices of that potential in it, without absorption.
        rows: V at the beams that are incident: (seen, m).
        layout: tilts, matrices and pairs.
    """

    vectors: Tensor
    hamiltonian: ProjectedHamiltonian
    rows: Tensor
    layout: Layout


def make_grid(
    foil: Foil,
    divisions: int = 4,
    extent: int = 4,
    operations: tuple[Operation, ...] = RECIPROCITY,
    margin: float = MARGIN,
) -> Grid:
    """Pixels at (i - m/2 + 1/2) / divisions, m = 2 extent divisions, of which as few as possible are computed.

    Args:
        foil: the foil.
        divisions: pixels per a*.
        extent: half-width in a*.
        operations: a group of operations of `lacbed.learn.symmetry.OPERATIONS` that the pattern has.
        margin: see `MARGIN`.
    """
    a, m = foil.lattice_parameter, 2 * extent * divisions
    steps = 2 * np.arange(m) - m + 1  # in 1 / (2 divisions)
    y, x = np.meshgrid(steps, steps, indexing="ij")
    tilts = np.stack([x.ravel(), y.ravel()], axis=1)
    matrices, square = [_matrix_of(o) for o in operations], 2 * divisions * np.eye(2, dtype=np.int64)
    first, _ = fold_images(tilts, None, matrices)  # tilts that are alike become one
    reduced, anchors = fold_images(first, square, matrices)
    pairs, source = np.unique(np.concatenate([reduced, anchors], axis=1), axis=0, return_inverse=True)
    _, first, group = np.unique(pairs[:, :2], axis=0, return_index=True, return_inverse=True)
    q = pairs[first, :2] / (2 * divisions)
    energy = 2.0 * (extent / a) ** 2 + margin
    beams = _beams(q, pairs[:, 2:], a * a * (energy + FURTHER))
    number = {tuple(h): i for i, h in enumerate(beams.tolist())}
    incoming = np.array([number[tuple(g)] for g in pairs[:, 2:].tolist()])
    difference = beams[:, None] - beams[None]
    order = int(np.abs(difference).max())
    k = (pairs[:, :2] / (2 * divisions) + pairs[:, 2:]) / a
    return Grid(
        foil=foil,
        axis=torch.as_tensor(steps / (2.0 * divisions)),
        order=order,
        lookup=torch.as_tensor((difference[..., 1] + order) * (2 * order + 1) + difference[..., 0] + order),
        beams=torch.as_tensor(beams / a),
        reduced=torch.as_tensor(q / a),
        square=torch.as_tensor(np.square(k).sum(axis=1)),
        incoming=(group.reshape(-1), incoming),
        source=torch.as_tensor(source.reshape(m, m)),
        energy=energy,
    )


def make_basis(grid: Grid, table: Tensor) -> Basis:
    """The Bloch waves that matter near a potential; see `lacbed.solvers.subspace`."""
    hermitian = _hermitian(grid, table.detach())
    vectors = wave_basis(hermitian, grid.beams, grid.energy, near=FURTHER, order=1)
    group, incoming = grid.incoming
    layout = make_layout(vectors.shape[1], group, incoming, np.arange(len(group)), incoming)
    return Basis(
        vectors, project(vectors, hermitian, None, grid.beams, grid.reduced), vectors[layout.seen], layout
    )


def _matrix_of(operation: Operation) -> np.ndarray:
    """An operation on tilts (x, y)."""
    swap, up, across = operation
    axes = np.eye(2, dtype=np.int64)[::-1] if swap else np.eye(2, dtype=np.int64)
    return np.diag([-1 if across else 1, -1 if up else 1]) @ axes


def _beams(q: np.ndarray, anchors: np.ndarray, energy: float) -> np.ndarray:
    """The h with |q + h|² below an energy in a*² for some q, and all incident ones: (n, 2)."""
    reach = math.ceil(math.sqrt(energy)) + 1
    steps = np.arange(-reach, reach + 1)
    h = np.stack([s.ravel() for s in np.meshgrid(steps, steps, indexing="ij")], axis=1)
    # Those that every q sees alike: the nearest of all q decides.
    near = np.square(np.abs(h) - np.minimum(np.abs(h), np.abs(q).max())).sum(axis=1) <= energy
    return np.unique(np.concatenate([h[near], anchors]), axis=0)


def phases(grid: Grid, table: Tensor) -> Tensor:
    """τ = π t / K_n of every tilt, K_n² = 1/λ² - |k|² + U_0: (tilt,)."""
    middle = table.shape[0] // 2
    mean = float(table[middle, middle].real.detach()) * grid.foil.volts
    return (
        math.pi
        * grid.foil.thickness
        / torch.sqrt(electron_wave(grid.foil.energy).wave_number ** 2 - grid.square + mean)
    )


def pattern(grid: Grid, basis: Basis, table: Tensor, absorptive: Tensor | None = None) -> Tensor:
    """Intensity of 000 at all pixels, differentiable: (m, m).

    Args:
        grid: the pixels.
        basis: from `make_basis` near the potential.
        table: V_hk in V, complex, or real where the origin is a centre.
        absorptive: V'_hk in V likewise, without V'_0, which only scales the pattern; None for none.
    """
    hamiltonian = _projected(grid, basis, table, absorptive)
    pairs = differentiable_intensities(basis.layout, basis.rows, hamiltonian, phases(grid, table))
    return pairs[grid.source]


def pattern_values(grid: Grid, basis: Basis, table: Tensor, absorptive: Tensor | None = None) -> Tensor:
    """As `pattern`, without gradient."""
    systems = EigensystemCache(_projected(grid, basis, table, absorptive), basis.rows, basis.layout)
    return intensities(systems, [phases(grid, table)])[0][grid.source]


def pattern_with_slopes(
    grid: Grid, basis: Basis, table: Tensor, absorptive: Tensor | None, directions: Sequence[Direction]
) -> tuple[Tensor, Tensor]:
    """The pattern and its derivatives along changes of both tables, from one diagonalisation.

    Args:
        grid: the pixels.
        basis: as in `pattern`.
        table: as in `pattern`.
        absorptive: as in `pattern`.
        directions: dV and dV' (None for 0), tables like `table`.

    Returns:
        (m, m) and (p, m, m).
    """
    hamiltonian, phase = _projected(grid, basis, table, absorptive), phases(grid, table)
    systems = EigensystemCache(hamiltonian, basis.rows, basis.layout)
    still = replace(
        hamiltonian,
        slopes=torch.zeros_like(hamiltonian.slopes),
        reduced=torch.zeros_like(hamiltonian.reduced),
    )
    steps = [
        replace(
            still,
            elastic=_inside(grid, basis, change),
            damping=None if damping is None else _inside(grid, basis, damping),
        )
        for change, damping in directions
    ]
    value, slope = tangents(systems, phase, steps, [torch.zeros_like(phase)] * len(steps))
    return value[grid.source], slope[:, grid.source]


def _projected(grid: Grid, basis: Basis, table: Tensor, absorptive: Tensor | None) -> ProjectedHamiltonian:
    elastic = basis.vectors.mH @ _hermitian(grid, table) @ basis.vectors
    damping = None if absorptive is None else _inside(grid, basis, absorptive)
    return replace(basis.hamiltonian, elastic=elastic, damping=damping)


def _hermitian(grid: Grid, table: Tensor) -> Tensor:
    """U - diag |h|² without U_0, which is in K: (n, n)."""
    matrix = _matrix(grid, table)
    kinetic = grid.beams.square().sum(dim=1).to(matrix.dtype)
    return matrix - torch.diag(matrix.diagonal() + kinetic)


def _inside(grid: Grid, basis: Basis, table: Tensor) -> Tensor:
    """V† U V of a table: (m, m)."""
    return basis.vectors.mH @ _matrix(grid, table) @ basis.vectors


def _matrix(grid: Grid, table: Tensor) -> Tensor:
    """Couplings between the beams in 1/Å², real if the table is: (2r + 1, 2r + 1) in V to (n, n)."""
    values: Tensor = resized(table, grid.order).reshape(-1)[grid.lookup] * grid.foil.volts
    return values
