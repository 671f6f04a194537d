"""The effective Hamiltonian of one crystal and the pattern that it gives.

Lengths are in Å and 1/Å; the potential is U = U_hk c with c = γ / (h² / 2 m_e) from volts to 1/Å². Derivatives
with respect to the potential hold to some 1 %: the space of the kept waves moves with it to first order (see
`lacbed.solvers.subspace`), only the derivative vectors of bound waves stay as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lacbed.geometry.interpolation import node_spacing
from lacbed.learn.downfold.plan import Plan, make_plan
from lacbed.learn.downfold.symmetry import REAL, alternating, area_of, mirror_lines, on_lattice, symmetric
from lacbed.solvers.exponential import matrix_exponential, scaled
from lacbed.solvers.hamiltonian import ProjectedHamiltonian, project
from lacbed.solvers.parity import parity_space
from lacbed.solvers.subspace import wave_basis

_BEYOND = 2.2
"""Beams reach at least this many 1/Å beyond the highest tilt; matters for cells below 5 Å, such as W."""


_STEEP = 1.4
"""Tilts beyond this many 1/Å, those of cells below 4 Å, carry electrons further sideways: nodes stand closer."""


@dataclass(frozen=True)
class Reach:
    """How much of the Hamiltonian is kept; all in 1/Å² but `g_max` in 1/Å.

    Attributes:
        margin: transverse energy above that of the highest tilt up to which waves are kept, in a thin foil.
        near: beams up to this much above are diagonalised, further ones follow.
        g_max: beams up to this length take part.
        beams: but no more than about so many, unless `_BEYOND` asks for them.
        most: no more than about so many in any case, unless they are near.
        spacing: of the nodes, in units of `lacbed.geometry.interpolation.node_spacing`; less for cells below 4 Å.
    """

    margin: float = 0.5
    near: float = 2.0
    g_max: float = 3.0
    beams: int = 1200
    most: int = 6000
    spacing: float = 1.2


@dataclass(frozen=True, eq=False)
class Cell:
    """One crystal in one foil of electrons.

    Attributes:
        elastic, absorptive: U_hk and U'_hk in 1/Å², complex, orders -r ... r: (2r + 1, 2r + 1), first k, then h.
        lattice_parameter: a in Å.
        wavelength: λ in Å.
        lattice: of what is not extinct, name in `LATTICES`.
        four_fold: whether the pattern has 4mm.
    """

    elastic: Tensor
    absorptive: Tensor
    lattice_parameter: Tensor
    wavelength: Tensor
    lattice: str
    four_fold: bool

    @property
    def size(self) -> tuple[int, float]:
        """Sorts cells by the work that they make, roughly: by reciprocal points in a*², then by a."""
        return -area_of(self.lattice), float(self.lattice_parameter.detach())


def solve_cell(cell: Cell, thickness: Tensor, pixels: int, extent: int, reach: Reach) -> tuple[Tensor, Tensor]:
    """Intensity of 000 in the quadrant kx, ky > 0, and what says how far to trust it.

    Args:
        cell: the crystal and the electrons.
        thickness: in Å: (T,).
        pixels: m along a side of the whole pattern.
        extent: its half-width in a*.
        reach: how much is kept.

    Returns:
        (T, m / 2, m / 2) and signs of the error (T, 6): ln λt, ln of what is lost of the incident waves (largest
        and mean), depth of the potential, highest energy, ln of the number of waves.
    """
    a, wavelength = float(cell.lattice_parameter.detach()), float(cell.wavelength.detach())
    lattice, device = cell.lattice, cell.elastic.device
    plan = _plan_for(
        lattice, cell.four_fold, a, wavelength, float(thickness.detach().max()), pixels, extent, reach, device
    )
    highest = float(plan.square.max()) / a**2
    spread = wavelength * float(thickness.detach().max()) / 15.0  # 1 at 200 kV and 600 Å
    energy = highest + reach.margin + 0.3 * max(0.0, math.log2(spread))
    zone = float(plan.reduced.square().sum(dim=1).max())  # |q|², large for small centred cells
    energy = max(
        energy, (math.sqrt(highest) + math.sqrt(zone) / a) ** 2
    )  # partners of the highest tilt at resonance
    hk = _beams(lattice, a, highest, energy, reach).to(device)
    basis, hamiltonian = _projected(cell, hk, plan.reduced, energy, reach)
    rows = basis[_positions(hk, plan.shift)]  # (matrix, pair, wave)
    energies = torch.linalg.eigvalsh(hamiltonian.elastic.detach())
    origin = -0.5 * float(energies[0] + energies[-1])  # the middle of the spectrum needs the fewest products
    amplitude = _amplitudes(cell, plan, hamiltonian, rows, thickness, origin)
    weights = plan.weights.to(amplitude.dtype)
    pixels_amplitude = weights @ amplitude.flatten(1)[:, plan.place] @ weights.T
    lost = (1.0 - rows.abs().square().sum(dim=2)).clamp(min=1e-7).detach()
    known = torch.tensor([highest, math.log(basis.shape[1])], device=device)
    signs = torch.cat([torch.stack([lost.max().log(), lost.mean().log(), energies[-1]]), known])
    ln_spread = torch.log(cell.wavelength.detach() * thickness.detach())[:, None]
    return pixels_amplitude.abs().square(), torch.cat([ln_spread, signs.expand(len(thickness), -1)], dim=1)


def _plan_for(
    lattice: str,
    four_fold: bool,
    a: float,
    wavelength: float,
    thickest: float,
    pixels: int,
    extent: int,
    reach: Reach,
    device: torch.device,
) -> Plan:
    each = pixels // (2 * extent)
    spacing = reach.spacing * min(1.0, _STEEP * a / (math.sqrt(2.0) * extent))
    nodes = math.ceil(1.0 / (spacing * node_spacing(wavelength, thickest) * a))
    if lattice == "primitive":
        nodes += nodes % 2  # an odd number needs as many matrices as the even one above it
    return make_plan(lattice, four_fold, nodes if nodes < each else each, pixels, extent, device)


def _beams(lattice: str, a: float, highest: float, energy: float, reach: Reach) -> Tensor:
    """The (h, k) that take part, by length: (beam, 2) integers."""
    cell = area_of(lattice)
    holds, holds_at_most = (math.sqrt(n * cell / math.pi) / a for n in (reach.beams, reach.most))  # so many beams
    further = math.sqrt(highest) + max(_BEYOND, 1.5 * math.sqrt(cell) / a)
    limit = max(min(reach.g_max, holds), further)
    limit = max(min(limit, holds_at_most), math.sqrt(energy + 0.5 * reach.near))
    order = math.floor(limit * a)
    orders = torch.arange(-order, order + 1)
    k, h = torch.meshgrid(orders, orders, indexing="ij")
    hk = torch.stack([h.flatten(), k.flatten()], dim=1)
    hk = hk[on_lattice(hk, lattice) & (hk.square().sum(dim=1) <= (limit * a) ** 2)]
    return hk[torch.argsort(hk.square().sum(dim=1), stable=True)]


def _projected(
    cell: Cell, hk: Tensor, reduced: Tensor, energy: float, reach: Reach
) -> tuple[Tensor, ProjectedHamiltonian]:
    """The waves that are kept and the matrices between them, real if a two-fold axis is at the origin."""
    reduced = reduced / cell.lattice_parameter
    elastic, absorptive = _tables(cell, 2 * int(hk.abs().max()))
    r = elastic.shape[0] // 2

    def entries(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        first, second = (beams[..., 1] * (2 * r + 1) + beams[..., 0] for beams in (left, right))
        index = (first[:, None] + r * (2 * r + 2)) - second[..., None, :]
        # several times faster than indexing with the same numbers
        u, v = (table.flatten().index_select(0, index.flatten()) for table in (elastic, absorptive))
        return u.view(index.shape), v.view(index.shape)

    odd = mirror_lines(cell.lattice, elastic.detach(), absorptive.detach())
    if odd is not None:
        if elastic.requires_grad or absorptive.requires_grad:  # a quarter of the entries must speak for all
            elastic, absorptive = (symmetric(table, cell.lattice, odd) for table in (elastic, absorptive))
        sign = alternating(hk, cell.lattice, odd)
        return parity_space(entries, hk, sign, cell.lattice_parameter, reduced, energy, reach.near, order=1)
    plane = hk / cell.lattice_parameter
    hermitian, damping = entries(hk, hk)
    hermitian = hermitian - torch.diag_embed(plane.square().sum(dim=1).to(hermitian.dtype))
    basis = wave_basis(hermitian, plane.detach(), energy, reach.near, order=1)
    return basis, project(basis, hermitian, damping, plane, reduced)


def _tables(cell: Cell, wide: int) -> tuple[Tensor, Tensor]:
    """U without its mean and U', orders to `wide`: an image of n pixels has no further coefficients."""
    r = cell.elastic.shape[0] // 2
    inside = slice(max(0, r - wide), r + min(r, wide) + 1)
    tables = [t[inside, inside] for t in (cell.elastic, cell.absorptive)]
    scale = float(tables[0].detach().abs().max())
    if all(float(t.detach().imag.abs().max()) <= REAL * scale for t in tables):
        tables = [t.real for t in tables]
    if wide > r:
        tables = [torch.nn.functional.pad(t, (wide - r,) * 4) for t in tables]
    mean = torch.zeros_like(tables[0])
    mean[wide, wide] = 1.0
    return tables[0] * (1.0 - mean), tables[1]


def _positions(hk: Tensor, wanted: Tensor) -> Tensor:
    """Where the wanted (h, k) stand in the list: (..., 2) to (...)."""
    order = int(hk.abs().max())
    table = hk.new_zeros(2 * order + 1, 2 * order + 1)
    table[hk[:, 1] + order, hk[:, 0] + order] = torch.arange(len(hk), device=hk.device)
    return table[wanted[..., 1] + order, wanted[..., 0] + order]


def _amplitudes(
    cell: Cell, plan: Plan, hamiltonian: ProjectedHamiltonian, rows: Tensor, thickness: Tensor, origin: float
) -> Tensor:
    """⟨G| exp(A t) |G⟩ of every pair: (T, matrix, pair); energies are counted from `origin` in 1/Å².

    As in `lacbed.solvers.subspace`: a common K_n for all pairs, and its change with the tilt to first order. Only
    a fraction of exp(A t) is made, and applied to the waves from both sides.
    """
    a, vacuum = cell.lattice_parameter, 1.0 / cell.wavelength
    square = plan.square / a**2
    inner = cell.elastic[(cell.elastic.shape[0] // 2,) * 2].real
    along = torch.sqrt(vacuum**2 - square + inner)
    middle = 0.5 * (along.min() + along.max())
    generator = scaled(hamiltonian.generator(slice(None), origin, 1.0), 0.5 / middle)
    shift = 1j * math.pi * (square - origin) / middle
    stretch = middle / along - 1.0
    halvings = _halvings(rows.shape[1] / rows.shape[2])
    results = []
    for t in thickness:
        step = matrix_exponential(scaled(generator, t * 0.5**halvings))
        left = _times(rows, step, 2 ** (halvings - 1))
        # With a centre the generator is symmetric, and its exponential too.
        right = _times(rows.conj(), step.mT, 2 ** (halvings - 1)) if rows.is_complex() else left
        amplitude = (left * right).sum(dim=2)
        change = (left @ generator * right).sum(dim=2) + shift * amplitude
        results.append((amplitude + change * (t * stretch)) * torch.exp(shift * t))
    return torch.stack(results)


def _halvings(pairs: float) -> int:
    """How often t is halved: n halvings save n products and cost 2ⁿ⁻¹ of as many rows as there are pairs."""
    return min(range(1, 5), key=lambda n: 2 ** (n - 1) * pairs - n)


def _times(rows: Tensor, step: Tensor, count: int) -> Tensor:
    """Rows times a power of complex matrices; real rows take half of the first product."""
    if not rows.is_complex():
        parts = rows @ torch.view_as_real(step).flatten(-2)
        rows = torch.view_as_complex(parts.view(*rows.shape, 2))
        count -= 1
    for _ in range(count):
        rows = rows @ step
    return rows
