"""The matrices of all tilts of a zone in few Bloch waves, with what is left out folded in to second order.

With the far beams folded in, the Bloch waves of q = 0 are v_j = [C_j; X_j], C_j an eigenvector in the near beams
and X_j = (E_j - H_QQ)⁻¹ H_QP C_j found by conjugate gradients. For other q and with absorption

    M(q) = M(0) + B(q),   B(q) = iU' - 2 q·h   (|q|² is a phase),

couples the waves that are kept (energies above a limit) to those that are left out (l: further waves of the near
beams, and plane waves in the far ones). A canonical transformation takes that coupling away (Schrieffer & Wolff,
Phys. Rev. 149 (1966) 491; Löwdin, J. Chem. Phys. 19 (1951) 1396): to second order

    A_ij(q) = E_i δ_ij + B_ij + ½ Σ_l B_il B_lj (R_li + R_lj),   R_lj = [1 - exp(-(Δ/η)²)] / Δ,  Δ = E_j - E_l,

a polynomial of second degree in q, as k·p theory has it (Luttinger & Kohn, Phys. Rev. 97 (1955) 869), to which a
tilted foil adds what the kinetic energies of the beams have of third degree. The
exponential keeps neighbours across the limit, which hardly take part, from being resonant (Evangelista, J. Chem.
Phys. 141 (2014) 054109). The waves become v_j + Σ_l l R_lj B_lj, normalised to second order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.engine.foil import Foil
from lacbed.engine.potential import ZonePotential

ETA, ETA_ASIDE = 0.6, 0.3
"""η in 1/Å², the second for waves of other Laue zones that are left out."""

ASIDE = 4.0
"""Waves of other Laue zones are kept over a margin so many times smaller, as they are coupled weakly."""

STEPS = 3
"""Steps of conjugate gradients for the far beams."""

_SPLIT = 1e-3
"""Energies closer than this (in 1/Å²) are kept or left together, so that symmetry is."""

POWERS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""The monomials 1, q_x, q_y, q_x², q_x q_y, q_y² as products of two of (1, q_x, q_y).

In a tilted foil q_x³, q_x² q_y, q_x q_y² and q_y³ follow."""


@dataclass(frozen=True, eq=False)
class Waves:
    """Bloch waves of q = 0 and what the far beams add to the highest of them.

    Attributes:
        levels: what decides which are kept, rising, in 1/Å², see `near_waves`: (near,).
        energies: of all waves in the near beams in 1/Å²: (near,).
        vectors: the waves: (near, near).
        far: X_j of the first m waves: (far, m).
        pull: U X in all beams, and in the near ones what couples Laue zones: (beam, m).
        push: U C in the far beams: (far, m).
        damping: U' v in all beams, or None: (beam, m).
        between: what couples Laue zones of it, in near beams: (near, m), or empty with one zone.
    """

    levels: Tensor
    energies: Tensor
    vectors: Tensor
    far: Tensor
    pull: Tensor
    push: Tensor
    damping: Tensor | None
    between: Tensor

    @property
    def near(self) -> int:
        """Number of near beams, the first ones."""
        return len(self.energies)

    def kept(self, limit: float) -> int:
        """How many waves have levels below a limit, moved on to a gap in the spectrum."""
        return kept_waves(self.levels, limit)


def kept_waves(levels: Tensor, limit: float) -> int:
    """How many of rising levels are below a limit, moved on to a gap."""
    count = max(1, int((levels < limit).sum()))
    while count < len(levels) and float(levels[count] - levels[count - 1]) < _SPLIT:
        count += 1
    return count


def near_waves(
    potential: ZonePotential, near: int, highest: float, around: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Levels, rising, energies and waves in the first `near` beams, each wave in one Laue zone.

    The level of a wave of the zone is -energy. One of another zone matters where its energy, which changes by up
    to `around` with q, comes near those of the zone's waves, from the deepest to those that the highest tilt
    excites: its level is that of the zone's waves that are as far from the highest tilt.

    Args:
        potential: the potential.
        near: number of beams.
        highest: level of the highest tilt in 1/Å².
        around: in 1/Å².

    Returns:
        (near,), (near,) and (near, near).
    """
    aside, matrix = potential.aside, potential.matrix(near)
    energies, vectors = torch.linalg.eigh(matrix[aside:, aside:])
    energies, vectors = energies.flip(0), vectors.flip(1)
    if not aside:
        return -energies, energies, vectors
    others, waves = torch.linalg.eigh(matrix[:aside, :aside])
    away = torch.maximum(-others - highest, others - energies[0])
    levels = torch.cat([highest + ASIDE * (away - around), -energies])
    order = torch.argsort(levels)
    both = vectors.new_zeros((near, near))
    both[:aside, :aside], both[aside:, aside:] = waves, vectors
    return levels[order], torch.cat([others, energies])[order], both[:, order]


def far_enough(potential: ZonePotential, energies: Tensor, vectors: Tensor, allowed: float) -> tuple[float, float]:
    """The |h| beyond which all beams together shift no wave by more than `allowed`, and by how much they do.

    To second order a beam shifts the wave j by |⟨h| U |j⟩|² / (E_j + |h|²); the deepest waves are shifted most.

    Args:
        potential: in more beams than will be needed.
        energies: of the deepest waves in the near beams: (n,).
        vectors: these waves: (near, n).
        allowed: in 1/Å².

    Returns:
        |h| in 1/Å, and the shift in 1/Å² by the beams beyond it.
    """
    size = potential.size[len(vectors) :]
    if not len(size):
        return float(potential.size[-1].sqrt()), 0.0
    push = potential.apply(potential.elastic, vectors)[len(vectors) :]
    shift = (push.abs().square() / (energies + size[:, None])).flip(0).cumsum(dim=0).flip(0)  # from each beam on
    worst = shift.max(dim=1).values
    enough = int((worst > allowed).sum())
    if enough >= len(size):
        return float(size[-1].sqrt()), float(worst[-1])
    return float(size[enough].sqrt()) - 1e-6, float(worst[enough])


def bloch_waves(
    potential: ZonePotential, levels: Tensor, energies: Tensor, vectors: Tensor, limit: float
) -> Waves:
    """The waves of `near_waves`, with far beams for those of a level below a limit in 1/Å²."""
    near, kept = len(energies), kept_waves(levels, limit)
    waves, table = vectors[:, :kept], potential.elastic
    gap = energies[:kept] + potential.size[near:, None]
    if len(gap):
        push = potential.apply(table, waves)[near:]
        far = _conjugate_gradients(potential, near, push, gap)
        pull = potential.apply(table, far, near)
    else:
        push, far, pull = gap.to(waves.dtype), gap.to(waves.dtype), torch.zeros_like(waves)
    between = waves.new_zeros((0, 0))
    if potential.aside:
        between, first = potential.matrix(near), potential.aside
        between[:first, :first], between[first:, first:] = 0.0, 0.0
        between = between @ waves
        pull[:near] += between
    damping = None
    if potential.absorptive is not None:
        damping = potential.apply(potential.absorptive, torch.cat([waves, far]))
    return Waves(levels, energies, vectors, far, pull, push, damping, between)


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


@dataclass(frozen=True, eq=False)
class Model:
    """A(q) and the beams in the waves that are kept, as polynomials in q - q₀ (see `POWERS`).

    Attributes:
        centre: q₀ in 1/Å: (2,).
        matrix: coefficients of the Hermitian part of A: (6, m, m), with third powers (10, m, m).
        damping: coefficients of D, A = Hermitian part + iD, or None without absorption: (3, m, m).
        outgoing: coefficients of what beam h takes out of the waves: (6, near, m).
        incoming: coefficients of what beam h brings into them: (6, near, m).
    """

    centre: FloatArray
    matrix: Tensor
    damping: Tensor | None
    outgoing: Tensor
    incoming: Tensor


def polynomial(coefficients: Tensor, q: Tensor) -> Tensor:
    """The value at every q of a polynomial with the first of `POWERS`: (3, 6 or 10, ...), (n, 2) to (n, ...)."""
    x, y = q.unbind(dim=1)
    powers = [torch.ones_like(x), x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3]
    table = torch.stack(powers[: len(coefficients)], dim=1).to(coefficients.dtype)
    found: Tensor = torch.tensordot(table, coefficients, dims=1)
    return found


def fold(potential: ZonePotential, waves: Waves, limit: float, beams: int) -> Model:
    """The matrices in the waves of a level below a limit in 1/Å², and the zone's first `beams` beams in them."""
    m, near = waves.kept(limit), waves.near
    left = waves.vectors[:, m:]
    turn, energies, rest = _orthonormal(waves, m, potential)
    vector = torch.cat([waves.vectors[:, :m], waves.far[:, :m]]) @ turn
    moved = potential.slopes(vector)
    parts = [left.mH @ (waves.pull[:near, :m] @ turn), *(left.mH @ part[:near] for part in moved)]
    parts = [torch.cat([part, far]) for part, far in zip(parts, (rest, *(p[near:] for p in moved)), strict=True)]
    first = [torch.diag(energies).to(vector.dtype), *(vector.mH @ part for part in moved)]
    if waves.damping is not None:
        damped = waves.damping[:, :m] @ turn
        parts.append(torch.cat([left.mH @ damped[:near], damped[near:]]))
        first.append(vector.mH @ damped)
    second = None
    if potential.oblique is not None:
        second = torch.stack([vector.mH @ (c[:, None] * vector) for c in potential.oblique.curves.unbind(dim=1)])
    above = torch.cat([waves.energies[m:], -potential.size[near:]])
    gap = energies - above[:, None]
    eta = torch.full_like(above, ETA)
    if potential.aside:
        eta[: left.shape[1]][left[: potential.aside].abs().amax(dim=0) > 0.0] = ETA_ASIDE
    resolvent = -torch.expm1(-torch.square(gap / eta[:, None])) / torch.where(gap == 0.0, 1.0, gap)
    seen = slice(potential.aside, potential.aside + beams)
    return _assemble(potential.centre, vector[seen], left[seen], parts, resolvent, first, second)


def _orthonormal(waves: Waves, m: int, potential: ZonePotential) -> tuple[Tensor, Tensor, Tensor]:
    """The turn that makes [C; X] orthonormal and M(0) diagonal, its eigenvalues, and (M(0) - E) v in far beams."""
    far, values = waves.far[:, :m], waves.energies[:m]
    push, pull = waves.push[:, :m], waves.pull[waves.near :, :m]
    kinetic = potential.size[waves.near :, None].to(far.dtype)
    applied = push + pull - kinetic * far  # (M(0) v) in the far beams
    overlap = far.mH @ far
    overlap.diagonal().add_(1.0)
    matrix = push.mH @ far + far.mH @ applied
    if potential.aside:
        matrix += waves.vectors[:, :m].mH @ waves.between[:, :m]
    matrix.diagonal().add_(values.to(matrix.dtype))
    lower = torch.linalg.cholesky(overlap)
    inverse = torch.linalg.solve_triangular(lower, torch.eye(m, dtype=lower.dtype), upper=False)
    energies, vectors = torch.linalg.eigh(inverse @ (0.5 * (matrix + matrix.mH)) @ inverse.mH)
    turn = inverse.mH @ vectors
    return turn, energies, applied @ turn - far @ turn * energies.to(far.dtype)


def _assemble(
    centre: FloatArray,
    vector: Tensor,
    left: Tensor,
    parts: list[Tensor],
    resolvent: Tensor,
    first: list[Tensor],
    second: Tensor | None,
) -> Model:
    """Second order from the couplings `parts` = B_L,P to M(0), q_x, q_y and U' if there is any: (left, m) each.

    `first` holds the couplings of the same among the waves that are kept, (m, m) each, and `second` those to the
    second and third powers, (3 or 7, m, m), or None where there are none.
    """
    m, inside = vector.shape[1], left.shape[1]
    # What is folded in need not have all digits, and there are many products.
    short = torch.complex64 if vector.is_complex() else torch.float32
    scaled = [(resolvent.to(p.dtype) * p).to(short) for p in parts]
    stack, weighted = torch.cat([p.to(short) for p in parts], dim=1), torch.cat(scaled, dim=1)
    half, norm = stack.mH @ weighted, weighted.mH @ weighted
    half, norm = (0.5 * (half + half.mH)).to(vector.dtype), norm.to(vector.dtype)
    aside = [left @ part[:inside].to(vector.dtype) for part in scaled]

    def piece(table: Tensor, a: int, b: int) -> Tensor:
        return table[a * m : (a + 1) * m, b * m : (b + 1) * m]

    def pair(table: Tensor, a: int, b: int) -> Tensor:
        return piece(table, a, b) if a == b else piece(table, a, b) + piece(table, b, a)

    matrix, less = (torch.stack([pair(table, a, b) for a, b in POWERS]) for table in (half, -0.5 * norm))
    matrix[:3] += torch.stack(first[:3])
    if second is not None:
        matrix[3:] += second[:3]
        matrix = torch.cat([matrix, second[3:]])
    outgoing = vector @ less
    for number in range(3):
        outgoing[number] += aside[number]
    outgoing[0] += vector
    if len(parts) == 3:
        return Model(centre, matrix, None, outgoing, outgoing.conj() if vector.is_complex() else outgoing)
    # B = V + iU': what is of first order in U' goes with i, U' twice with -1.
    matrix[0] -= piece(half, 3, 3)
    damping = torch.stack([pair(half, n, 3) for n in range(3)])
    damping[0] += first[3]
    damped = vector @ torch.stack([pair(norm, n, 3) for n in range(3)]).mul_(-0.5)
    damped[0] += aside[3]
    outgoing[0] += vector @ (0.5 * piece(norm, 3, 3))
    beyond = outgoing[3:].to(torch.complex128)
    out = torch.cat([outgoing[:3] + 1j * damped, beyond])
    if not vector.is_complex():
        return Model(centre, matrix, damping, out, out)
    return Model(
        centre, matrix, damping, out, torch.cat([outgoing[:3].conj() + 1j * damped.conj(), beyond.conj()])
    )


def slanted(model: Model, foil: Foil, tilt: FloatArray, point: FloatArray) -> Model:
    """A model that is right for one tilt alone, with N̄ / N as an operator and not a scalar.

    With z = n·(q + h) - n·k' and all of it to first order in z, 2γ gains (s / 2 K_n²) (z 2γ̄ + 2γ̄ z) - s² z / K_n².

    Args:
        model: that of the zone.
        foil: the foil.
        tilt: k' in 1/Å: (2,).
        point: q of its matrix in 1/Å: (2,).
    """
    step = point - model.centre
    matrix = polynomial(model.matrix, torch.as_tensor(step)[None])[0]
    matrix.diagonal().sub_(float(step @ step))
    (across, along), base = (float(f(tilt[None])[0]) for f in (foil.across, foil.along)), float(foil.across(point))
    shift, share = along - across, base / across
    z = -0.5 * (foil.normal[0] * model.matrix[1] + foil.normal[1] * model.matrix[2])
    z.diagonal().add_(float(step @ foil.normal[:2]) + float(foil.normal[2]) * foil.inside - across)
    product = z @ matrix * (0.5 * shift / (along**2 * base))
    change = product + product.mH - z * (shift / along) ** 2
    changed = torch.cat([(model.matrix[0] + change * (along * share))[None], model.matrix[1:]])
    return replace(model, matrix=changed)
