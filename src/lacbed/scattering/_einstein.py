"""Absorptive scattering factor of independently vibrating atoms by direct integration: the reference."""

import math

import numpy as np
import torch

from lacbed.constants import ELECTRON_REST_ENERGY, PLANCK_TIMES_C, beta_squared
from lacbed.errors import ScatteringError
from lacbed.scattering._elastic import elastic_factor, working_precision

_RADIAL_NODES = 80
_ANGULAR_NODES = 48
_CHUNK = 128


def einstein_absorptive_factor(
    element: str,
    s: torch.Tensor,
    b_iso: torch.Tensor | float,
    energy: float,
    table: str = "kirkland",
    *,
    debye_waller: bool = True,
) -> torch.Tensor:
    r"""Absorptive factor of thermal diffuse scattering in the Einstein model, by two-dimensional integration.

    f'(s, B) = (2 h / (m₀ v)) ∫ f(|s/2 + s'|) f(|s/2 - s'|) [exp(-B s²) - exp(-B (s²/2 + 2 s'²))] d²s'

    in which the bracket is exp(-B s²) [1 - exp(-2 B (s'² - s²/4))]. The prefactor follows from the loss of
    current: with dσ/dΩ = γ² f² (1 - exp(-2 B s²)), dΩ = λ² d²q = 4 λ² d²s, an atom removes
    σ = 4 γ² λ² ∫ f² (1 - exp(-2 B s²)) d²s. The Bloch waves decay as exp(-2π λ U'₀ t) with
    U'₀ = γ f'(0) / (π Ω), which must be exp(-σ t / Ω): so f'(0) = σ / (2 λ γ) = 2 γ λ ∫ ..., and
    γ λ = h / (m₀ v). The same two waves interfering give g ≠ 0. The integral runs over the whole plane
    perpendicular to the beam (small angles), so f' ∝ 1 / v.

    Slow and exact: meant to check `absorptive_factor` and for B outside its range.
    Hall & Hirsch, Proc. R. Soc. A 286 (1965) 158; Bird & King, Acta Cryst. A46 (1990) 202.

    Args:
        element: Symbol of the neutral element.
        s: sin θ / λ = |g| / 2 in 1/Å, floating point.
        b_iso: Isotropic Debye-Waller parameter B = 8π² <u²> in Å², not negative, broadcast with `s`.
        energy: Kinetic energy of the electrons in eV.
        table: Elastic table; those of Gaussians cut the integral off above s of about 3 1/Å.
        debye_waller: True for the factor above; False without its exp(-B s²), as `absorptive_factor` says.

    Returns:
        f' in Å, broadcast shape of `s` and `b_iso`, dtype and device of `s`; differentiable in both.

    Raises:
        ScatteringError: If table, element, `b_iso` or energy do not apply.
    """
    if not energy > 0.0:
        raise ScatteringError(f"The energy must be positive, in eV; got {energy}.")
    work = working_precision(s)
    b = torch.as_tensor(b_iso, dtype=work.dtype, device=work.device)
    if not bool((b >= 0.0).all()):
        raise ScatteringError("b_iso must not be negative or NaN (B = 8π² <u²> in Å²).")
    work, b = work + torch.zeros_like(b), b + torch.zeros_like(work)  # one shape for both
    flat_s, flat_b = work.reshape(-1), b.reshape(-1)
    starts = range(0, len(flat_s), _CHUNK)
    pieces = [_plane_integral(element, table, flat_s[i : i + _CHUNK], flat_b[i : i + _CHUNK]) for i in starts]
    integral = torch.cat(pieces) if pieces else flat_s
    undamped = _prefactor(energy) * integral.reshape(work.shape)
    result = undamped * torch.exp(-b * torch.square(work)) if debye_waller else undamped
    return result.to(s.dtype)


def _prefactor(energy: float) -> float:
    """2 h / (m₀ v) = 2 (h c / m₀ c²) / β in Å."""
    return 2.0 * PLANCK_TIMES_C / ELECTRON_REST_ENERGY / math.sqrt(beta_squared(energy))


def _plane_integral(element: str, table: str, s: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """∫ f(|s/2 + s'|) f(|s/2 - s'|) [1 - exp(-2 B (s'² - s²/4))] d²s' in 1, for s and b of shape (points,).

    Polar coordinates about the middle of the two atoms' centres. The radius is split at s/2, where
    f is sharpest, and the outer part mapped to [0, 1); Gauss-Legendre nodes crowd at both ends.
    """
    nodes, weights = (torch.from_numpy(x).to(s) for x in np.polynomial.legendre.leggauss(_RADIAL_NODES))
    nodes, weights = (nodes + 1.0) / 2.0, weights / 2.0  # on [0, 1]
    half = s[:, None] / 2.0
    radius = torch.cat([half * nodes, half + nodes / (1.0 - nodes)], dim=1)  # (point, radius)
    measure = torch.cat([half * weights, (weights / torch.square(1.0 - nodes)).expand(len(s), -1)], dim=1)

    angles, angle_weights = (torch.from_numpy(x).to(s) for x in np.polynomial.legendre.leggauss(_ANGULAR_NODES))
    cosine = torch.cos((angles + 1.0) * (math.pi / 4.0))  # one quadrant stands for four
    angle_weights = angle_weights * math.pi  # 4 quadrants, each of length π/2 = 2 · π/4

    sum_of_squares = torch.square(half) + torch.square(radius)
    cross = 2.0 * (half * radius)[..., None] * cosine  # (point, radius, angle)
    plus = _factor_of_square(element, table, sum_of_squares[..., None] + cross)
    minus = _factor_of_square(element, table, sum_of_squares[..., None] - cross)
    ring = (plus * minus * angle_weights).sum(-1)  # (point, radius)
    thermal = -torch.expm1(-2.0 * b[:, None] * (torch.square(radius) - torch.square(half)))
    return (ring * thermal * radius * measure).sum(-1)


def _factor_of_square(element: str, table: str, s_squared: torch.Tensor) -> torch.Tensor:
    # The floor keeps the gradient of the square root finite where the two centres meet.
    return elastic_factor(element, torch.sqrt(s_squared.clamp_min(1e-16)), table)
