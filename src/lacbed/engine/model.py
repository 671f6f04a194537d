"""The matrices of all tilts of a zone in few Bloch waves, with what is left out folded in to second order.

With the far beams folded in, the Bloch waves of q = 0 are v_j = [C_j; X_j], C_j an eigenvector in the near beams and
X_j = (E_j - H_QQ)⁻¹ H_QP C_j found by conjugate gradients. For other q and with absorption

    M(q) = M(0) + B(q),   B(q) = iU' - 2 q·h   (|q|² is a phase),

couples the waves that are kept (P, energies above a limit) to those that are left out (L: further waves of the near
beams, and plane waves in the far ones). A canonical transformation takes that coupling away (Schrieffer & Wolff,
Phys. Rev. 149 (1966) 491; Löwdin, J. Chem. Phys. 19 (1951) 1396): to second order

    A_ij(q) = E_i δ_ij + B_ij + ½ Σ_l B_il B_lj (R_li + R_lj),   R_lj = [1 - exp(-(Δ/η)²)] / Δ,  Δ = E_j - E_l,

a polynomial of second degree in q, as k·p theory has it (Luttinger & Kohn, Phys. Rev. 97 (1955) 869). The exponential
keeps neighbours across the limit, which hardly take part, from being resonant (Evangelista, J. Chem. Phys. 141
(2014) 054109). The waves become v_j + Σ_l l R_lj B_lj, normalised to second order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lacbed.engine.potential import ZonePotential

ETA = 0.6
"""η in 1/Å²."""

STEPS = 3
"""Steps of conjugate gradients for the far beams."""

_SPLIT = 1e-3
"""Energies closer than this (in 1/Å²) are kept or left together, so that symmetry is."""

POWERS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""The monomials 1, q_x, q_y, q_x², q_x q_y, q_y² as products of two of (1, q_x, q_y)."""


@dataclass(frozen=True, eq=False)
class Waves:
    """Bloch waves of q = 0 and what the far beams add to the highest of them.

    Attributes:
        near: number of near beams, the first ones.
        energies: of all waves in the near beams, falling, in 1/Å²: (near,).
        vectors: the waves: (near, near).
        far: X_j of the first m waves: (far, m).
        pull: U X in all beams: (beam, m).
        push: U C in the far beams: (far, m).
        damping: U' v in all beams, or None: (beam, m).
        tail: energy in 1/Å² by which beams beyond the list would shift the wave that they shift most, about.
    """

    near: int
    energies: Tensor
    vectors: Tensor
    far: Tensor
    pull: Tensor
    push: Tensor
    damping: Tensor | None
    tail: float

    def kept(self, limit: float) -> int:
        """How many waves have energies above -limit, moved on to a gap in the spectrum."""
        count = max(1, int((self.energies > -limit).sum()))
        while count < len(self.energies) and float(self.energies[count - 1] - self.energies[count]) < _SPLIT:
            count += 1
        return count


def bloch_waves(potential: ZonePotential, near: int, limit: float) -> Waves:
    """Waves of the first `near` beams, with far beams for those of energy above -limit in 1/Å²."""
    energies, vectors = torch.linalg.eigh(potential.matrix(near))
    energies, vectors = energies.flip(0), vectors.flip(1)
    empty = vectors.new_zeros((0, 0))
    kept = Waves(near, energies, vectors, empty, empty, empty, None, 0.0).kept(limit)
    waves, values, size = vectors[:, :kept], energies[:kept], potential.size[near:]
    table = potential.elastic
    if len(size):
        gap = values + size[:, None]
        push = potential.apply(table, waves)[near:]
        far = _conjugate_gradients(potential, near, push, gap)
        pull = potential.apply(table, far, near)
        tail = _tail(push.abs().square() / gap, size, values > -limit)
    else:
        push = far = vectors.new_zeros((0, kept))
        pull, tail = vectors.new_zeros((near, kept)), 0.0
    damping = None
    if potential.absorptive is not None:
        damping = potential.apply(potential.absorptive, torch.cat([waves, far]))
    return Waves(near, energies, vectors, far, pull, push, damping, tail)


def _conjugate_gradients(potential: ZonePotential, near: int, push: Tensor, gap: Tensor) -> Tensor:
    """X of (E - H_QQ) X = push, every column by itself, with the kinetic energies as preconditioner."""
    far, rest = torch.zeros_like(push), push
    scaled = rest / gap
    direction, product = scaled, (rest.conj() * scaled).sum(dim=0).real
    for _ in range(STEPS):
        moved = gap * direction - potential.apply(potential.elastic, direction, near)[near:]
        length = (product / (direction.conj() * moved).sum(dim=0).real.clamp(min=1e-300)).to(push.dtype)
        far, rest = far + length * direction, rest - length * moved
        scaled = rest / gap
        after = (rest.conj() * scaled).sum(dim=0).real
        direction = scaled + (after / product.clamp(min=1e-300)).to(push.dtype) * direction
        product = after
    return far


def _tail(shifts: Tensor, size: Tensor, wanted: Tensor) -> float:
    """Sum of a geometric series from what the two outermost shells shift: (far, m), (far,), (m,)."""
    edge = float(size[-1])
    outer, inner = (size > 0.7 * edge), (size > 0.4 * edge) & (size <= 0.7 * edge)
    last, before = (float(shifts[shell][:, wanted].sum(dim=0).max()) if shell.any() else 0.0 for shell in (outer, inner))
    if before == 0.0:
        return last
    ratio = min(0.9, last / before)
    return last * ratio / (1.0 - ratio)


@dataclass(frozen=True, eq=False)
class Model:
    """A(q) and the beams in the waves that are kept, as polynomials in q (see `POWERS`).

    Attributes:
        matrix: coefficients of A, Hermitian without absorption: (6, m, m).
        outgoing: coefficients of what beam h takes out of the waves: (6, near, m).
        incoming: coefficients of what beam h brings into them: (6, near, m).
        is_hermitian: whether A is.
    """

    matrix: Tensor
    outgoing: Tensor
    incoming: Tensor
    is_hermitian: bool


def polynomial(coefficients: Tensor, q: Tensor) -> Tensor:
    """The value at every q of a polynomial: (6, ...), (n, 2) to (n, ...)."""
    x, y = q.unbind(dim=1)
    powers = torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], dim=1).to(coefficients.dtype)
    return torch.tensordot(powers, coefficients, dims=1)


def fold(potential: ZonePotential, waves: Waves, limit: float) -> Model:
    """The matrices in the waves of energy above -limit in 1/Å²."""
    m, near = waves.kept(limit), waves.near
    kept, left = waves.vectors[:, :m], waves.vectors[:, m:]
    turn, energies, rest = _orthonormal(waves, m, potential)
    vector = torch.cat([kept, waves.far[:, :m]]) @ turn
    kind = vector.dtype
    moved = [-2.0 * potential.vectors[:, i : i + 1].to(kind) * vector for i in (0, 1)]
    parts = [left.mH @ (waves.pull[:near, :m] @ turn), *(left.mH @ part[:near] for part in moved)]
    parts = [torch.cat([part, far]) for part, far in zip(parts, (rest, *(p[near:] for p in moved)), strict=True)]
    damped = None if waves.damping is None else waves.damping[:, :m] @ turn
    if damped is not None:
        parts.append(torch.cat([left.mH @ damped[:near], damped[near:]]))
    above = torch.cat([waves.energies[m:], -potential.size[near:]])
    gap = energies - above[:, None]
    resolvent = -torch.expm1(-torch.square(gap / ETA)) / torch.where(gap == 0.0, 1.0, gap)
    first = [torch.diag(energies).to(kind), *(vector.mH @ part for part in moved)]
    return _assemble(vector[:near], left, parts, resolvent, first, None if damped is None else vector.mH @ damped)


def _orthonormal(waves: Waves, m: int, potential: ZonePotential) -> tuple[Tensor, Tensor, Tensor]:
    """The turn that makes [C; X] orthonormal and M(0) diagonal, its eigenvalues, and (M(0) - E) v in far beams."""
    far, values = waves.far[:, :m], waves.energies[:m]
    push, pull = waves.push[:, :m], waves.pull[waves.near :, :m]
    kinetic = potential.size[waves.near :, None].to(far.dtype)
    applied = push + pull - kinetic * far  # (M(0) v) in the far beams
    overlap = far.mH @ far
    overlap.diagonal().add_(1.0)
    matrix = push.mH @ far + far.mH @ applied
    matrix.diagonal().add_(values.to(matrix.dtype))
    lower = torch.linalg.cholesky(overlap)
    inverse = torch.linalg.solve_triangular(lower, torch.eye(m, dtype=lower.dtype), upper=False)
    energies, vectors = torch.linalg.eigh(inverse @ (0.5 * (matrix + matrix.mH)) @ inverse.mH)
    turn = inverse.mH @ vectors
    return turn, energies, applied @ turn - far @ turn * energies.to(far.dtype)


def _assemble(
    vector: Tensor, left: Tensor, parts: list[Tensor], resolvent: Tensor, first: list[Tensor], damping: Tensor | None
) -> Model:
    """Second order from the couplings `parts` = B_L,P to M(0), q_x, q_y and U': (left, m) each."""
    m, absorbs = vector.shape[1], damping is not None
    scaled = [resolvent.to(p.dtype) * p for p in parts]
    stack, weighted = torch.cat(parts, dim=1), torch.cat(scaled, dim=1)
    half, norm = stack.mH @ weighted, weighted.mH @ weighted
    half = 0.5 * (half + half.mH)
    kind = torch.complex128 if absorbs or vector.is_complex() else vector.dtype

    def piece(table: Tensor, a: int, b: int) -> Tensor:
        return table[a * m : (a + 1) * m, b * m : (b + 1) * m].to(kind)

    def block(table: Tensor, a: int, b: int) -> Tensor:
        """With iU' joined to what does not depend on q."""
        found = piece(table, a, b)
        if absorbs and b == 0:
            found = found + 1j * piece(table, a, 3)
        if absorbs and a == 0:
            found = found + 1j * piece(table, 3, b)
        return found - piece(table, 3, 3) if absorbs and a == b == 0 else found

    def pair(table: Tensor, a: int, b: int) -> Tensor:
        return block(table, a, b) if a == b else block(table, a, b) + block(table, b, a)

    matrix = torch.stack([pair(half, a, b) for a, b in POWERS])
    for number, part in enumerate(first):
        matrix[number] += part.to(kind)
    if damping is not None:
        matrix[0] += 1j * damping.to(kind)
    less = torch.stack([-0.5 * pair(norm, a, b) for a, b in POWERS])
    beams, further, inside = vector.to(kind), left.to(kind), left.shape[1]
    outgoing, incoming = beams @ less, beams.conj() @ less.mT
    outgoing[0] += beams
    incoming[0] += beams.conj()
    for number in range(3):
        right, back = scaled[number][:inside].to(kind), scaled[number][:inside].conj().to(kind)
        if absorbs and number == 0:
            right = right + 1j * scaled[3][:inside].to(kind)
            back = back + 1j * scaled[3][:inside].conj().to(kind)
        outgoing[number] += further @ right
        incoming[number] += further.conj() @ back
    return Model(matrix, outgoing, incoming, not absorbs)
