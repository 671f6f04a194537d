"""All matrices of one zone as a linear family in few Bloch waves: A(q) = H + iW - 2 q_x X - 2 q_y Y.

The matrix of a tilt k = q + G in the beams h is U + iU' - diag |q + h|² (see `lacbed.solvers.zone`), which is
linear in q but for |q|², a phase that no intensity shows. In an orthonormal basis V of the Bloch waves that take
part (`lacbed.solvers.subspace.wave_basis`, found once for the zone near the state that is refined)

    H = V† (U - diag |h|²) V,   W = V† U' V,   X = V† diag h_x V,   Y = V† diag h_y V.

V stays what it is while parameters change, so that the derivatives below are those of the model exactly. That the
best V would turn with them matters to second order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lacbed.solvers.eigen import Eigensystem, eigensystem


@dataclass(frozen=True, eq=False)
class Pencil:
    """The numbers of all matrices.

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

    def solve(self, start: int, stop: int, rows: Tensor) -> Eigensystem:
        """Eigensystem of some matrices; `rows` of V are the beams that are seen: (beam, m)."""
        return eigensystem(self.elastic + _along(self.reduced[start:stop], self.slopes), self.damping, rows)

    def change(self, direction: Pencil, start: int, stop: int) -> Tensor | None:
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
        """From dL = Re Σ P dA of some matrices to the same of H + iW, (m, m), of the slopes, and by q.

        Returns:
            P of H + iW: (m, m), of the slopes: (2, m, m), and ∂L/∂q: (matrix, 2).
        """
        q = self.reduced[start:stop].to(P.dtype)
        by_slopes = -2.0 * torch.einsum("ni,nab->iab", q, P)
        by_reduced = -2.0 * torch.einsum("nab,iab->ni", P, self.slopes.to(P.dtype)).real
        return P.sum(dim=0), by_slopes, by_reduced

    def same_as(self, other: Pencil) -> bool:
        """Whether all numbers agree."""
        pairs = (
            (self.elastic, other.elastic), (self.damping, other.damping), (self.slopes, other.slopes),
            (self.reduced, other.reduced),
        )  # fmt: skip
        return all(a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in pairs)


def _along(reduced: Tensor, slopes: Tensor) -> Tensor:
    """-2 q_x X - 2 q_y Y: (matrix, m, m)."""
    total: Tensor = torch.tensordot(-2.0 * reduced.to(slopes.dtype), slopes, dims=1)
    return total
