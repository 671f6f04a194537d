"""Absorptive scattering factor of thermal diffuse scattering from the published parametrisation."""

import math
from functools import cache

import numpy as np
import torch

from lacbed.constants import beta_squared
from lacbed.errors import ScatteringError
from lacbed.scattering._elastic import working_precision
from lacbed.scattering._tables import absorptive_coefficients

B_KNOTS: tuple[float, ...] = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 2.75, 4.0)
"""Debye-Waller parameters in Å² at which the table was fitted."""

_SMALLEST_B = 1e-6


def absorptive_factor(
    element: str,
    s: torch.Tensor,
    b_iso: torch.Tensor | float,
    energy: float | torch.Tensor,
    *,
    debye_waller: bool = True,
) -> torch.Tensor:
    """Absorptive factor f'(s, B) of thermal diffuse scattering (Einstein model), as parametrised.

    By default f' INCLUDES its Debye-Waller factor exp(-B s²), so that

        U'_g = γ / (π Ω) Σ_j f'_j(s, B_j) exp(∓2πi g·r_j)

    in 1/Å² is the absorptive potential as it stands, to be added as U + iU' (the same phase convention in
    both). Do not multiply it by exp(-B s²) again. With `debye_waller=False` that factor is left out, for
    use as (f_e + i f') T_g where T_g is, say, an anisotropic Debye-Waller factor:
    f'(included) = f'(left out) · exp(-B s²).

    The unit (Å) and mass (rest mass; γ is outside) are those of `elastic_factor`. f' ∝ 1/β = c/v:

        β f'(s, B) exp(+B s²) = Σ_i a_i exp(-b_i s²) + c,

    fitted by Thomas et al. to the integral of Bird & King (1990) with Kirkland's f_e for each of 13
    values of B; `einstein_absorptive_factor` is that integral. Between them f'/B is interpolated by a
    natural cubic spline in ln B. Below B = 0.1 Å² it is continued linearly in ln B, which is how the
    integral behaves, so that f' → 0 with B. U'_0 gives the mean absorption: intensities fall as
    exp(-2π λ U'_0 t).

    Measured against the integral for all elements and s < 4 1/Å, with exp(-B s²) in, and relative to
    f'(0): at most 1.2 % and typically 0.2 % for B from 0.1 to 4 Å²; about 2 % at B = 0.05 and 6 % at
    0.02. Where exp(-B s²) is small f' is slightly negative, as in the integral; without exp(-B s²) the
    integral plunges there and the fit does not follow, which is harmless once it is multiplied. No value
    is raised to zero.

    Thomas, Cleverley & Beanland, Acta Cryst. A80 (2024), "Parameterized absorptive electron scattering
    factors".

    Args:
        element: Symbol of the neutral element, H to Lr; "D" is taken as "H".
        s: sin θ / λ = |g| / 2 in 1/Å, floating point.
        b_iso: Isotropic Debye-Waller parameter B = 8π² <u²> in Å², from 0 to 4, broadcast with `s`.
        energy: Kinetic energy of the electrons in eV; a tensor () lets gradients flow.
        debye_waller: Whether f' includes exp(-B s²).

    Returns:
        f' in Å, broadcast shape of `s` and `b_iso`, dtype and device of `s`; differentiable in both.

    Raises:
        ScatteringError: If the element is not covered, B is outside 0 to 4 Å², or the energy not positive.
    """
    if not energy > 0.0:
        raise ScatteringError(f"The energy must be positive, in eV; got {energy}.")
    work = working_precision(s)
    b = torch.as_tensor(b_iso, dtype=work.dtype, device=work.device)
    if not bool(((b >= 0.0) & (b <= B_KNOTS[-1])).all()):
        raise ScatteringError(
            f"absorption of Thomas et al. is known for B from 0 to {B_KNOTS[-1]:g} Å², got "
            f"{float(b.max() if b.max() > B_KNOTS[-1] else b.min()):g}; take proportional absorption or none"
        )
    s_squared = torch.square(work)
    weights = _spline_weights(torch.log(b.clamp_min(_SMALLEST_B)))  # (*b, knot)
    ratio = torch.zeros((), dtype=work.dtype, device=work.device)
    for k, (knot, *terms, constant) in enumerate(absorptive_coefficients(element).tolist()):
        curve = torch.full_like(s_squared, constant)
        for a, width in zip(terms[0::2], terms[1::2], strict=True):
            curve = curve + a * torch.exp(-width * s_squared)
        ratio = ratio + weights[..., k] * (curve / knot)
    result = b * ratio / beta_squared(energy) ** 0.5
    if debye_waller:
        result = result * torch.exp(-b * s_squared)
    return result.to(s.dtype)


def _spline_weights(x: torch.Tensor) -> torch.Tensor:
    """Weights of the 13 knots in the natural cubic spline in x = ln B, shape (*x, knot).

    Linear below the first knot. With A = (x₁ - x)/h and C = 1 - A on the interval [x₀, x₁],
    y = A y₀ + C y₁ + [(A³ - A) y₀'' + (C³ - C) y₁''] h²/6.
    """
    knots, curvature = (t.to(x) for t in _spline_system())
    inside = x.clamp_min(math.log(B_KNOTS[0]))
    upper = torch.searchsorted(knots, inside.detach().contiguous()).clamp(1, len(knots) - 1)
    lower = upper - 1
    unit = torch.eye(len(knots), dtype=x.dtype, device=x.device)
    h = (knots[upper] - knots[lower])[..., None]
    a = (knots[upper] - inside)[..., None] / h
    c = 1.0 - a
    bend = (a**3 - a) * curvature[lower] + (c**3 - c) * curvature[upper]
    weights = a * unit[lower] + c * unit[upper] + bend * h**2 / 6.0
    h0 = knots[1] - knots[0]
    first_slope = (unit[1] - unit[0]) / h0 - h0 / 6.0 * curvature[1]
    return weights + (x - inside)[..., None] * first_slope


@cache
def _spline_system() -> tuple[torch.Tensor, torch.Tensor]:
    """Knots ln B, shape (13,), and the matrix that turns values at them into second derivatives."""
    x = np.log(np.array(B_KNOTS))
    h = np.diff(x)
    n = len(x)
    left, right = np.eye(n), np.zeros((n, n))
    for i in range(1, n - 1):
        left[i, i - 1 : i + 2] = h[i - 1] / 6.0, (h[i - 1] + h[i]) / 3.0, h[i] / 6.0
        right[i, i - 1 : i + 2] = 1.0 / h[i - 1], -1.0 / h[i - 1] - 1.0 / h[i], 1.0 / h[i]
    return torch.from_numpy(x), torch.from_numpy(np.linalg.solve(left, right))
