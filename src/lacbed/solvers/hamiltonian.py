"""All matrices of one zone as a linear family in few Bloch waves: M(q) = H + iW - 2 q_x X - 2 q_y Y.

The matrix of a tilt k = q + G in the beams h is U + iU' - diag |q + h|² (see `lacbed.solvers.zone`), which is
linear in q but for |q|², a phase that no intensity shows. In an orthonormal basis V of the Bloch waves that take
part (`lacbed.solvers.subspace.wave_basis`)

    H = V† (U - diag |h|²) V,   W = V† U' V,   X = V† diag h_x V,   Y = V† diag h_y V.

This is the k·p method of band structures (Luttinger & Kohn, Phys. Rev. 97 (1955) 869). Where parameters change, V
stays what it is, so that the derivatives below are those of the model exactly; that the best V would turn with
them matters to second order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lacbed.solvers.eigen import Eigensystem, eigensystem


@dataclass(frozen=True, eq=False)
class ProjectedHamiltonian:
    """The numbers of all matrices, or a change of them.

    Attributes:
        elastic: H, real symmetric or Hermitian: (m, m).
        damping: W or None: (m, m).
        slopes: X and Y: (2, m, m).
        reduced: q in 1/Å: (matrix, 2).
    """

    elastic: Tensor
    damping: Tensor | None
    slopes: Tensor
    reduced: Tensor

    def generator(self, matrices: Tensor | slice, origin: float, scale: float) -> Tensor:
        """2πi (M(q) - |q|² + origin) · scale of some matrices: (matrix, m, m) complex."""
        reduced, (slope_x, slope_y) = self.reduced[matrices], self.slopes
        x, y = reduced[:, 0, None, None], reduced[:, 1, None, None]
        elastic: Tensor = self.elastic - 2.0 * (x * slope_x + y * slope_y)
        elastic.diagonal(dim1=1, dim2=2).add_((origin - reduced.square().sum(dim=1))[:, None])
        damping = torch.zeros_like(self.elastic) if self.damping is None else self.damping
        if elastic.is_complex():
            total: Tensor = (elastic + 1j * damping) * (2j * math.pi * scale)
            return total
        turn = 2.0 * math.pi * scale
        return torch.complex((-turn * damping).expand_as(elastic), turn * elastic)

    def solve(self, start: int, stop: int, rows: Tensor) -> Eigensystem:
        """Eigensystem of some matrices; `rows` of V are the beams that are seen: (beam, m)."""
        return eigensystem(self.elastic + _along(self.reduced[start:stop], self.slopes), self.damping, rows)

    def change(self, direction: ProjectedHamiltonian, start: int, stop: int) -> Tensor | None:
        """Change of some matrices along a change of all numbers.

        Returns:
            (matrix, m, m), or (m, m) if it is alike for all of them, or None if there is none.
        """
        total: Tensor | None = None
        if bool(direction.elastic.any()):
            total = direction.elastic
        if direction.damping is not None and bool(direction.damping.any()):
            total = 1j * direction.damping if total is None else total + 1j * direction.damping
        for reduced, slopes in ((self.reduced, direction.slopes), (direction.reduced, self.slopes)):
            if bool(reduced.any()) and bool(slopes.any()):
                moved = _along(reduced[start:stop], slopes)
                total = moved if total is None else total + moved
        return total

    def pull_back(self, P: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        """From dL = Re Σ P dM of some matrices to the same of H + iW, (m, m), of the slopes, and by q.

        Returns:
            P of H + iW: (m, m), of the slopes: (2, m, m), and ∂L/∂q: (matrix, 2).
        """
        q = self.reduced[start:stop].to(P.dtype)
        by_slopes = -2.0 * torch.einsum("ni,nab->iab", q, P)
        by_reduced = -2.0 * torch.einsum("nab,iab->ni", P, self.slopes.to(P.dtype)).real
        return P.sum(dim=0), by_slopes, by_reduced

    def same_as(self, other: ProjectedHamiltonian) -> bool:
        """Whether all numbers agree."""
        pairs = (
            (self.elastic, other.elastic),
            (self.damping, other.damping),
            (self.slopes, other.slopes),
            (self.reduced, other.reduced),
        )
        return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def project(
    basis: Tensor, hermitian: Tensor, absorptive: Tensor | None, plane: Tensor, reduced: Tensor
) -> ProjectedHamiltonian:
    """The matrices in the basis V.

    Args:
        basis: V, orthonormal columns: (beam, m).
        hermitian: U - diag |h|² in 1/Å²: (beam, beam).
        absorptive: U' or None: (beam, beam).
        plane: h in 1/Å: (beam, 2).
        reduced: q in 1/Å: (matrix, 2).
    """
    adjoint = basis.mH
    return ProjectedHamiltonian(
        elastic=adjoint @ hermitian @ basis,
        damping=None if absorptive is None else adjoint @ absorptive @ basis,
        slopes=torch.stack([adjoint @ (plane[:, i : i + 1] * basis) for i in (0, 1)]),
        reduced=reduced,
    )


def _along(reduced: Tensor, slopes: Tensor) -> Tensor:
    """-2 q_x X - 2 q_y Y: (matrix, m, m)."""
    total: Tensor = torch.tensordot(-2.0 * reduced.to(slopes.dtype), slopes, dims=1)
    return total
