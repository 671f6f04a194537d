"""The subspace of a square zone whose projection has mirror or glide lines along both axes, made in four parts.

Both lines act on beams as |h, k⟩ → s(h, k) |-h, k⟩ and s(h, k) |h, -k⟩, with s = 1 for mirrors through the
origin and s = ±1 for glides, or mirrors beside it. Beams (±h, ±k) combine, even or odd under each of them, into
|r, p⟩ = Σ_g χ_p(g) s_g(r) |g r⟩ / √|orbit|. At the zone centre M(0) couples only combinations of equal parity, so
that each of the four parts is a matrix of a quarter of the size; h_x joins parts that differ in the first parity,
h_y those that differ in the second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lacbed.solvers.hamiltonian import ProjectedHamiltonian
from lacbed.solvers.subspace import bound_change, kept_waves, orthonormal

PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))
"""(p_x, p_y), 1 for odd; in the order of 2 p_x + p_y."""

Entries = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Beams (m, 2) and (..., n, 2) to U and U' at their differences, (..., m, n) each."""


def parity_space(
    entries: Entries,
    hk: Tensor,
    sign: Tensor,
    lattice_parameter: Tensor,
    reduced: Tensor,
    energy: float,
    near: float,
    order: int,
) -> tuple[Tensor, ProjectedHamiltonian]:
    """What `lacbed.solvers.subspace.wave_basis` and the projections onto it give, in a fraction of the time.

    Args:
        entries: U and U' between beams; the tables have the lines.
        hk: the beams, a set that the lines keep: (beam, 2) integers.
        sign: s of the beams, 1 or -1: (beam,).
        lattice_parameter: a in Å.
        reduced: q of the matrices in 1/Å: (matrix, 2).
        energy: transverse energy in 1/Å² up to which waves are kept.
        near: beams this much above are diagonalised.
        order: of the amplitudes of further ones in the energy of the wave.
    """
    positive = (hk >= 0).all(dim=1)
    first, sign = hk[positive], sign[positive]
    plane = first / lattice_parameter
    size = plane.square().sum(dim=1)
    members = (1 + (first > 0)).prod(dim=1)
    elastic, absorptive = _parts(entries, first, members.to(plane.dtype), sign)
    # A beam on a line is its own image, times s: only parity s is there.
    parities = torch.tensor(PARITIES, device=hk.device)[:, None]
    there = ~((first == 0) & (parities != (sign < 0)[:, None])).any(dim=2)
    rows = [row.nonzero()[:, 0] for row in there]
    hermitian = [u - torch.diag_embed(size) for u in elastic]
    waves = _waves(hermitian, rows, plane.detach(), energy, near, order)
    together = torch.cat(waves, dim=1)
    part = torch.arange(4, device=hk.device).repeat_interleave(
        torch.tensor([w.shape[1] for w in waves], device=hk.device)
    )
    slopes = [
        (together.T @ (plane[:, axis : axis + 1] * together)) * (part[:, None] ^ (2 - axis) == part[None])
        for axis in (0, 1)
    ]
    return _spread(hk, first, members, sign, together, part), ProjectedHamiltonian(
        elastic=_diagonal([w.T @ h @ w for w, h in zip(waves, hermitian, strict=True)]),
        damping=_diagonal([w.T @ u @ w for w, u in zip(waves, absorptive, strict=True)]),
        slopes=torch.stack(slopes),
        reduced=reduced,
    )


def _partners(axis: int) -> list[int]:
    """For each parity the one that h along the axis joins it to."""
    return [number ^ (2 - axis) for number in range(len(PARITIES))]


def _parts(
    entries: Entries, first: Tensor, members: Tensor, sign: Tensor
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """⟨r, p| U |q, p⟩ = √(|r| |q|) / 4 Σ_g χ_p(g) s_g(q) U(r - g q) for U, without its mean, and U': four each."""
    root = torch.sqrt(members)
    weight = root[:, None] * root[None, :] / 4.0
    signs = torch.tensor([[[1, 1], [1, -1]], [[-1, 1], [-1, -1]]], device=first.device)
    images = entries(first, signs[:, :, None] * first)  # (sign of h, sign of k, r, q)
    if bool((sign < 0).any()):  # one of h and k reversed: a line; both: the two-fold axis
        weight = weight * torch.stack([torch.ones_like(sign), sign, sign, torch.ones_like(sign)]).view(2, 2, 1, -1)
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
        small = matrix.index_select(0, there).index_select(1, there)
        value, vector = kept_waves(small, size[there], energy, near, order)
        whole = vector.new_zeros(len(plane), len(value)).index_copy(0, there, vector)
        values.append(value)
        waves.append(whole)
    change = [bound_change(v, w, size) for v, w in zip(values, waves, strict=True)]
    joined = []
    for part, there in enumerate(rows):
        derivative_vectors = [plane[:, axis : axis + 1] * change[_partners(axis)[part]] for axis in (0, 1)]
        basis = orthonormal(waves[part][there], torch.cat(derivative_vectors, dim=1)[there])
        joined.append(basis.new_zeros(len(plane), basis.shape[1]).index_copy(0, there, basis))
    return joined


def _spread(hk: Tensor, first: Tensor, members: Tensor, sign: Tensor, waves: Tensor, part: Tensor) -> Tensor:
    """The basis on the beams themselves, from waves (first, m) of the parts (m,): (beam, m)."""
    order = int(first.max())
    number = first.new_zeros(order + 1, order + 1)
    number[first[:, 0], first[:, 1]] = torch.arange(len(first), device=first.device)
    place = number[hk[:, 0].abs(), hk[:, 1].abs()]
    odd_h, odd_k = (hk < 0).unbind(dim=1)
    scale = torch.rsqrt(members.to(waves.dtype))[place]
    scale = torch.where(odd_h != odd_k, scale * sign[place], scale)
    parities = torch.tensor(PARITIES, device=hk.device)[part].bool()
    turned = (odd_h[:, None] & parities[:, 0]) != (odd_k[:, None] & parities[:, 1])
    return torch.where(turned, -scale[:, None], scale[:, None]) * waves[place]


def _diagonal(blocks: Sequence[Tensor]) -> Tensor:
    whole: Tensor = torch.block_diag(*blocks)  # type: ignore[no-untyped-call]
    return whole
