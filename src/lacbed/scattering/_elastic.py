"""Elastic electron scattering factors of atoms and ions in the first Born approximation."""

import torch

from lacbed.errors import ScatteringError
from lacbed.scattering._charged import ionic_change, split_species
from lacbed.scattering._tables import coefficients


def elastic_factor(element: str, s: torch.Tensor, table: str = "kirkland") -> torch.Tensor:
    """Electron scattering factor f_e(s) of a neutral atom at rest, for the electron's rest mass.

    U_g = γ / (π Ω) Σ_j f_j(s) exp(-B_j s²) exp(∓2πi g·r_j) is then the potential in 1/Å² (Ω: cell volume
    in Å³, γ: Lorentz factor). The tables and the variable that each was published in:

    * "kirkland": Σ a/(q² + b) + Σ c exp(-d q²), q = 2s. H to Lr, fitted to s = 6 1/Å.
      Kirkland, Advanced Computing in Electron Microscopy, 2nd ed. (2010), appendix C.
    * "lobato": Σ a (2 + b q²)/(1 + b q²)², q = 2s. H to Lr; falls as 1/s² exactly as Mott-Bethe demands.
      Lobato & Van Dyck, Acta Cryst. A70 (2014) 636.
    * "peng": Σ a exp(-b s²), five Gaussians. H to Cf, only for s < 2 1/Å.
      Peng, Ren, Dudarev & Whelan, Acta Cryst. A52 (1996) 257; Int. Tables C, table 4.3.2.2.
    * "doyle-turner": Σ a exp(-b s²), four Gaussians. 54 elements, only for s < 2 1/Å.
      Doyle & Turner, Acta Cryst. A24 (1968) 390.
    * "ionic": "kirkland" for atoms, and with `ionic_change` for ions, such as "O2-".

    The Gaussians of the last two vanish above their range, where the true factor falls as 1/s²: see
    `validity_limit`. No warning is given, because thermal motion often makes that region irrelevant.

    Args:
        element: Symbol of the neutral element, such as "Fe"; "D" is taken as "H". For "ionic" also of an ion.
        s: sin θ / λ = |g| / 2 in 1/Å, any shape, floating point.
        table: One of FACTORS.

    Returns:
        f_e in Å: shape, dtype and device of `s`, differentiable in `s`. Computed in double precision,
        as large terms of opposite sign cancel in some rows.

    Raises:
        ScatteringError: If the table does not exist or lacks the element, or `s` is not floating point.
    """
    if table == "ionic":
        symbol, charge = split_species(element)
        neutral = elastic_factor(symbol, s)
        return neutral + ionic_change(symbol, charge, s) if charge else neutral
    row = coefficients(element, table)
    s_squared = torch.square(working_precision(s))
    if table == "kirkland":
        f = _kirkland(row, 4.0 * s_squared)
    elif table == "lobato":
        f = _lobato(row, 4.0 * s_squared)
    else:
        f = _gaussians(row, s_squared)
    return f.to(s.dtype)


def working_precision(s: torch.Tensor) -> torch.Tensor:
    """`s` in float64 where its device has that, otherwise unchanged."""
    if not s.is_floating_point():
        raise ScatteringError(f"s must be a floating-point tensor in 1/Å, got {s.dtype}.")
    return s if s.device.type == "mps" else s.to(torch.float64)


def _kirkland(row: torch.Tensor, q_squared: torch.Tensor) -> torch.Tensor:
    a1, b1, a2, b2, a3, b3, c1, d1, c2, d2, c3, d3 = row.tolist()
    f = torch.zeros_like(q_squared)
    for a, b in ((a1, b1), (a2, b2), (a3, b3)):
        f = f + a / (q_squared + b)
    for c, d in ((c1, d1), (c2, d2), (c3, d3)):
        f = f + c * torch.exp(-d * q_squared)
    return f


def _lobato(row: torch.Tensor, q_squared: torch.Tensor) -> torch.Tensor:
    f = torch.zeros_like(q_squared)
    for a, b in row.reshape(-1, 2).tolist():
        f = f + a * (2.0 + b * q_squared) / torch.square(1.0 + b * q_squared)
    return f


def _gaussians(row: torch.Tensor, s_squared: torch.Tensor) -> torch.Tensor:
    f = torch.zeros_like(s_squared)
    for a, b in row.reshape(-1, 2).tolist():
        f = f + a * torch.exp(-b * s_squared)
    return f
