"""The subspace of a crystal whose projection has mirrors along both axes, made in four parts that do not mix.

Beams (±h, ±k) combine into |r, p⟩ = Σ_g χ_p(g) |g r⟩ / √|orbit|, even or odd under each mirror. At the zone centre
M(0) couples only combinations of equal parity, so that each of the four parts is a matrix of a quarter of the
size; h_x joins parts that differ in the first parity, h_y those that differ in the second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from lacbed.solvers.subspace import Subspace, bound_change, kept_waves, orthonormal

PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""(p_x, p_y), 1 for odd."""

_EQUAL = 1e-5  # of the largest coefficient: rounding of images in single precision

Entries = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Differences (..., 2) of beams to U and U' there."""


def has_mirrors(*tables: Tensor) -> bool:
    """Whether tables U_hk (orders -r ... r) are real and even in h and in k."""
    for table in tables:
        bound = _EQUAL * float(table.abs().max())
        for image in (table.flip(0), table.flip(1), table.conj()):
            if float((table - image).abs().max()) > bound:
                return False
    return True


def parity_space(
    entries: Entries, hk: Tensor, lattice_parameter: Tensor, energy: float, near: float, order: int
) -> Subspace:
    """What `lacbed.solvers.subspace.wave_basis` and the projections onto it give, in a fraction of the time.

    Args:
        entries: U and U' between beams; the tables have the mirrors.
        hk: the beams, a set that the mirrors keep: (beam, 2) integers.
        lattice_parameter: a in Å.
        energy: transverse energy in 1/Å² up to which waves are kept.
        near: beams this much above are diagonalised.
        order: of the amplitudes of further ones in the energy of the wave.
    """
    first = hk[(hk >= 0).all(dim=1)]
    plane = first / lattice_parameter
    size = plane.square().sum(dim=1)
    members = (1 + (first > 0)).prod(dim=1)
    elastic, absorptive = _parts(entries, first, members)
    rows = [~((first == 0) & torch.tensor(p, dtype=torch.bool, device=hk.device)).any(dim=1) for p in PARITIES]
    hermitian = [u - torch.diag_embed(size) for u in elastic]
    waves = _waves(hermitian, rows, plane.detach(), energy, near, order)
    ends = torch.tensor([0, *(w.shape[1] for w in waves)]).cumsum(dim=0).tolist()
    places = [slice(a, b) for a, b in pairwise(ends)]
    slopes = []
    for axis in (0, 1):
        slope = plane.new_zeros(ends[-1], ends[-1])
        for part, other in enumerate(_partners(axis)):
            slope[places[part], places[other]] = waves[part].T @ (plane[:, axis : axis + 1] * waves[other])
        slopes.append(slope)
    return Subspace(
        basis=_spread(hk, first, members, waves),
        mean=_diagonal([w.T @ h @ w for w, h in zip(waves, hermitian, strict=True)]),
        damping=_diagonal([w.T @ u @ w for w, u in zip(waves, absorptive, strict=True)]),
        slope_x=slopes[0],
        slope_y=slopes[1],
    )


def _partners(axis: int) -> list[int]:
    """For each parity the one that h along the axis joins it to."""
    return [PARITIES.index((p ^ (axis == 0), q ^ (axis == 1))) for p, q in PARITIES]


def _parts(entries: Entries, first: Tensor, members: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """⟨r, p| U |s, p⟩ = √(|r| |s|) / 4 Σ_g χ_p(g) U(r - g s) for U and U', without the mean of U: four each."""
    root = torch.sqrt(members.to(torch.float32))
    weight = root[:, None] * root[None, :] / 4.0
    signs = torch.tensor([[[1, 1], [1, -1]], [[-1, 1], [-1, -1]]], device=first.device)
    images = entries(first[:, None] - signs[:, :, None, None] * first[None])  # (sign of h, sign of k, r, s)
    elastic, absorptive = (_transform(weight * image) for image in images)
    return elastic, absorptive


def _transform(images: Tensor) -> Sequence[Tensor]:
    """Σ_g χ_p(g) of images (sign of h, sign of k, ...), in the order of `PARITIES`."""
    by_h = images[0] + images[1], images[0] - images[1]
    return [part for image in by_h for part in (image[0] + image[1], image[0] - image[1])]


def _waves(
    hermitian: Sequence[Tensor], rows: Sequence[Tensor], plane: Tensor, energy: float, near: float, order: int
) -> list[Tensor]:
    """The basis of each part, zero where an odd combination does not exist: (first, m) each."""
    size = plane.square().sum(dim=1)
    values, waves = [], []
    for matrix, there in zip(hermitian, rows, strict=True):
        value, vector = kept_waves(matrix[there][:, there], size[there], energy, near, order)
        whole = plane.new_zeros(len(plane), len(value))
        whole[there] = vector
        values.append(value)
        waves.append(whole)
    change = [bound_change(v, w, size) for v, w in zip(values, waves, strict=True)]
    joined = []
    for part, there in enumerate(rows):
        company = [plane[:, axis : axis + 1] * change[_partners(axis)[part]] for axis in (0, 1)]
        basis = orthonormal(waves[part][there], torch.cat(company, dim=1)[there])
        whole = plane.new_zeros(len(plane), basis.shape[1])
        whole[there] = basis
        joined.append(whole)
    return joined


def _spread(hk: Tensor, first: Tensor, members: Tensor, waves: Sequence[Tensor]) -> Tensor:
    """The basis on the beams themselves: (beam, m)."""
    order = int(first.max())
    number = first.new_zeros(order + 1, order + 1)
    number[first[:, 0], first[:, 1]] = torch.arange(len(first), device=first.device)
    place = number[hk[:, 0].abs(), hk[:, 1].abs()]
    odd = (hk < 0).to(torch.float32)
    scale = torch.rsqrt(members.to(torch.float32))[place]
    parts = []
    for (p, q), wave in zip(PARITIES, waves, strict=True):
        sign = (1.0 - 2.0 * p * odd[:, 0]) * (1.0 - 2.0 * q * odd[:, 1])
        parts.append((sign * scale)[:, None] * wave[place])
    return torch.cat(parts, dim=1)


def _diagonal(blocks: Sequence[Tensor]) -> Tensor:
    whole: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return whole
