"""Signs and hands, against a tiny multislice in real space that shares no code with the package but the tables.

Stated convention: the beam travels along +z = [uvw], y = z × x, waves are exp(+2πi k·r), the potential is a sum of
wells at the atoms, and reflection g leaves along k + g.
"""

from __future__ import annotations

import numpy as np
import pytest
from law_helpers import one_tilt

from lacbed import Crystal, simulate
from lacbed.constants import relativistic_gamma, wavelength
from lacbed.scattering._tables import coefficients

ENERGY = 100e3
PIXELS = 64


def wells(crystal: Crystal, axes: np.ndarray, edges: np.ndarray, depth: float) -> np.ndarray:
    """U(u, v) in 1/Å² averaged over the period along z: Gaussian wells at the projected atoms, summed in space.

    f(q) = Σ a exp(-(b + B) q²/4) is the transform of Σ a 4π/(b + B) exp(-4π² r²/(b + B)).
    """
    steps = np.arange(PIXELS) / PIXELS
    u, v = np.meshgrid(steps, steps, indexing="ij")
    total = np.zeros((PIXELS, PIXELS))
    atoms = crystal.atoms
    for element, xyz, b_iso in zip(atoms.elements, atoms.xyz, atoms.b_iso, strict=True):
        centre = np.linalg.solve(edges, (axes @ crystal.direct @ xyz)[:2])
        for m, n in np.ndindex(7, 7):
            du, dv = u - centre[0] % 1 + m - 3, v - centre[1] % 1 + n - 3
            x, y = edges[0, 0] * du + edges[0, 1] * dv, edges[1, 0] * du + edges[1, 1] * dv
            for a, b in coefficients(element, "doyle-turner").reshape(-1, 2).tolist():
                width = b + b_iso
                total += a * 4 * np.pi / width * np.exp(-4 * np.pi**2 * (x * x + y * y) / width)
    return total * relativistic_gamma(ENERGY) / (np.pi * depth)


def multislice(
    potential: np.ndarray, edges: np.ndarray, k: np.ndarray, thickness: float, slices: int
) -> np.ndarray:
    """Amplitudes (m, n) of the beams m b₁ + n b₂ by split steps of 2ik ∂φ/∂z = -(∇² + 4π²U) φ / 2π."""
    index = np.fft.fftfreq(PIXELS, 1 / PIXELS)
    m, n = np.meshgrid(index, index, indexing="ij")
    q = np.stack([m, n], axis=-1) @ np.linalg.inv(edges)
    along = np.sqrt(wavelength(ENERGY) ** -2 - k @ k)
    step = thickness / slices
    excitation = k @ k - np.sum((q + k) ** 2, axis=-1)
    half = np.exp(0.5j * np.pi * step * excitation / along)
    phase = np.exp(1j * np.pi * step * (potential - potential.mean()) / along)
    wave = np.zeros((PIXELS, PIXELS), dtype=complex)
    wave[0, 0] = 1.0
    for _ in range(slices):
        wave = half * np.fft.fft2(phase * np.fft.ifft2(half * wave))
    return wave


TURN = -np.eye(2, dtype=int)
FLIP_X, FLIP_Y = np.diag([-1, 1]), np.diag([1, -1])
SWAP = np.array([[0, 1], [1, 0]])

CASES = {
    # crystal, zone axis, x direction, two lattice vectors whose projections span the cell,
    # and operations in the plane that the projection has and lacks
    "GaAs [110], polar along x": ("GaAs", (1, 1, 0), (0, 0, 1), (0, 0, 1), (1, 0, 0), [FLIP_Y], [TURN, FLIP_X]),
    "quartz [100], p2": ("SiO2", (1, 0, 0), (0, 0, 1), (0, 0, 1), (0, 1, 0), [TURN], [FLIP_X, FLIP_Y]),
    "FeSi [001], p2gg": ("FeSi", (0, 0, 1), (1, 0, 0), (1, 0, 0), (0, 1, 0), [TURN, FLIP_X], [SWAP]),
    "FeSi [210], polar along x": ("FeSi", (2, 1, 0), (0, 0, 1), (0, 0, 1), (1, 0, 0), [FLIP_Y], [TURN, FLIP_X]),
    "GaN [100], polar along x": ("GaN", (1, 0, 0), (0, 0, 1), (0, 0, 1), (0, 1, 0), [FLIP_Y], [TURN, FLIP_X]),
}


@pytest.mark.parametrize("name", CASES)
def test_patterns_equal_a_multislice_and_not_its_mirror_images(name: str) -> None:
    crystal_name, zone, x_hkl, first, second, kept, broken = CASES[name]
    crystal, k, thickness = Crystal.named(crystal_name).with_b_iso(1.0), np.array([0.09, 0.05]), 300.0
    direct = crystal.direct
    beam = direct @ np.array(zone)
    z = beam / np.linalg.norm(beam)
    x = np.linalg.inv(direct).T @ np.array(x_hkl)
    x = (x - x @ z * z) / np.linalg.norm(x - x @ z * z)
    axes = np.stack([x, np.cross(z, x), z])
    edges = np.stack([(axes @ direct @ np.array(v))[:2] for v in (first, second)], axis=1)
    depth = np.linalg.det(direct) / abs(np.linalg.det(edges))  # period along z
    waves = multislice(wells(crystal, axes, edges, depth), edges, k, thickness, 900)

    pattern = simulate(
        crystal,
        zone,
        ENERGY,
        (thickness,),
        one_tilt(*k),
        ("all", 0.62),
        x_direction=x_hkl,
        factors="doyle-turner",
        refraction=False,
        output="amplitude",
        g_max=3.0,
        solver="zone",
    )
    hkl = np.stack([pattern.h, pattern.k, pattern.l], axis=1)
    place = hkl @ np.array([first, second]).T  # g·edge: how often the wave repeats along each edge
    found = pattern.values[0, :, 0, 0]
    np.testing.assert_allclose(found, waves[place[:, 0], place[:, 1]], atol=3e-3)

    # The same crystal with the tilt and the reflections turned: equal only where the projection has the operation.
    intensity = np.abs(found) ** 2
    potential = wells(crystal, axes, edges, depth)
    for turn in (*kept, *broken):
        other = np.abs(multislice(potential, edges, turn @ k, thickness, 300)) ** 2
        turned = np.round(place @ np.linalg.inv(edges) @ turn.T @ edges).astype(int)
        change = np.abs(other[turned[:, 0], turned[:, 1]] - intensity).max()
        assert change > 0.02 if any(turn is b for b in broken) else change < 5e-3, turn
