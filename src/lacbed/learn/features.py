"""The two inputs that determine a pattern, and cheap physical answers made from them.

With x in units of a and k in units of 1/a the wave of one projected cell obeys, in the zero-order Laue zone,

    i dψ/dτ = [ π F |k + g|² - v(x) ] ψ ,   τ in [0, 1],   v = σ V t ,   F = λ t / a²

so that the phase image v and the number F replace potential, lattice parameter, thickness and energy.
B: crystals, T: thicknesses of each, n: pixels of a potential, m: pixels of a pattern.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lacbed.constants import ELECTRON_REST_ENERGY, H2_OVER_2M, PLANCK_TIMES_C
from lacbed.errors import SettingError

SCALARS = {
    "period": 4.0,
    "volume": 64.0,
    "atoms": 5.0,
    "mean_b_iso": 0.5,
    "mean_inner_potential": 15.0,
    "mean_absorptive_potential": 1.0,
}
"""Further numbers (B,) that every batch has, with typical values; see `lacbed.datasets.compute.SCALARS`."""


def wavelength(energy: Tensor) -> Tensor:
    """λ = h c / sqrt(E (E + 2 m_e c²)) in Å of energies in eV; differentiable."""
    return PLANCK_TIMES_C / torch.sqrt(energy * (energy + 2.0 * ELECTRON_REST_ENERGY))


def interaction_constant(energy: Tensor) -> Tensor:
    """σ = π γ λ / (h² / 2 m_e) in rad / (V Å) of energies in eV; differentiable."""
    gamma = 1.0 + energy / ELECTRON_REST_ENERGY
    return (math.pi / H2_OVER_2M) * gamma * wavelength(energy)


def phase_strength(thickness: Tensor, energy: Tensor) -> Tensor:
    """σ t in rad / V: thickness (B, T) in Å and energy (B,) in eV to (B, T)."""
    return interaction_constant(energy)[:, None] * thickness


def fresnel_number(lattice_parameter: Tensor, thickness: Tensor, energy: Tensor) -> Tensor:
    """F = λ t / a²: (B,) in Å, (B, T) in Å, (B,) in eV to (B, T)."""
    return wavelength(energy)[:, None] * thickness / lattice_parameter[:, None] ** 2


def fourier_coefficients(potential: Tensor, reach: int) -> Tensor:
    """V_hk for |h|, |k| ≤ reach, in V: (B, 1, n, n) to real and imaginary part (B, 2, 2 reach + 1, 2 reach + 1).

    V(x, y) = Σ V_hk exp(2πi (h x + k y)); the last axis is h, the one before k, both ascending from -reach.
    Products with sines and cosines, which every device, precision and export format knows.

    Raises:
        SettingError: if the image has too few pixels for the reach.
    """
    n = potential.shape[-1]
    if 2 * reach >= n:
        raise SettingError(f"a potential of {n} pixels has no Fourier coefficients up to {reach}")
    order = torch.arange(-reach, reach + 1, device=potential.device, dtype=potential.dtype)
    place = torch.arange(n, device=potential.device, dtype=potential.dtype)
    angle = (2.0 * math.pi / n) * torch.remainder(order[:, None] * place[None, :], n)
    cosine, sine = torch.cos(angle), torch.sin(angle)  # (order, pixel)
    image = potential[:, 0] / n**2
    along_x_real, along_x_imag = image @ cosine.T, -(image @ sine.T)  # (B, y, h)
    real = cosine @ along_x_real + sine @ along_x_imag
    imag = cosine @ along_x_imag - sine @ along_x_real
    return torch.stack([real, imag], dim=1)


def pattern_axis(pixels: int, extent: float, device: torch.device | None = None) -> Tensor:
    """Pixel centres of a pattern along one side in units of 1/a: (m,)."""
    return (torch.arange(pixels, device=device) - pixels / 2 + 0.5) * (2.0 * extent / pixels)


def two_beam_transmission(coefficients: Tensor, strength: Tensor, fresnel: Tensor, axis: Tensor) -> Tensor:
    """Product over all g of the two-beam answer: (B, T, m, m), between 0 and 1.

        I_0(k) ≈ Π_g [ 1 - |v_g|² sin²(w) / w² ] ,   w² = |v_g|² + (Δ/2)² ,   Δ = π F (2 k·g + |g|²)

    Exact for two beams, right to first order in |v|² for many; blind to all interference between beams. By
    Friedel's law it is even in k, so that half of it is computed if the number of pixels is even.

    Args:
        coefficients: V_hk from `fourier_coefficients`: (B, 2, 2r + 1, 2r + 1).
        strength: σ t: (B, T).
        fresnel: F: (B, T).
        axis: k along one side, symmetric about 0: (m,).
    """
    reach = coefficients.shape[-1] // 2
    size = torch.sqrt(coefficients.square().sum(dim=1) + 1e-20)
    even = len(axis) % 2 == 0
    k_y, k_x = axis[: len(axis) // 2 if even else None, None], axis[None, :]
    logarithm = torch.zeros(*strength.shape, len(k_y), len(axis), device=strength.device, dtype=strength.dtype)
    for k in range(-reach, reach + 1):
        for h in range(-reach, reach + 1):
            length = h * h + k * k
            if not 0 < length <= reach * reach:
                continue
            v = (strength * size[:, None, k + reach, h + reach])[..., None, None]  # (B, T, 1, 1)
            half = 0.5 * math.pi * fresnel[..., None, None] * (2.0 * (h * k_x + k * k_y) + length)
            w = torch.sqrt(v.square() + half.square() + 1e-12)
            diffracted = (v * torch.sin(w) / w).square()
            logarithm = logarithm + torch.log1p(-diffracted.clamp(max=0.999))
    if even:
        logarithm = torch.cat([logarithm, logarithm.flip(-2, -1)], dim=-2)
    return logarithm.exp()


def coefficient_map(coefficients: Tensor, pixels: int, extent: float) -> Tensor:
    """V_g of the reflection whose Bragg condition is nearest, for every pixel: real (B, 2, m, m).

    Pixel k takes g = round(2k): the line k·g = |g|²/2 passes through k = g/2. The two channels are the real and
    imaginary part; a g beyond the coefficients gives 0.
    """
    reach = coefficients.shape[-1] // 2
    index = torch.round(2.0 * pattern_axis(pixels, extent, coefficients.device)).long()
    inside = (index.abs() <= reach).to(coefficients.dtype)
    place = index.clamp(-reach, reach) + reach
    return coefficients[:, :, place][..., place] * (inside[:, None] * inside[None, :])
