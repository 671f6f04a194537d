"""What must not matter: the origin, the cell, the setting, and how crystal and zone are turned together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_helpers import at, other_cell, tilt_vectors, triclinic_crystals

from lacbed import Crystal

PRIMITIVE_F = np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]])
PRIMITIVE_I = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])
CYCLIC = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
SHEAR = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
OBVERSE = np.array([[2.0, -1.0, -1.0], [1.0, 1.0, -2.0], [1.0, 1.0, 1.0]]) / 3.0


def compare(
    crystal: Crystal, change: np.ndarray, zone_axis, hkl, shift=(0.0, 0.0, 0.0), k=(0.04, 0.07), **chosen
) -> None:
    """Patterns of a crystal and of its other description, at the same zone axis and x direction."""
    other = other_cell(crystal, change, shift)
    zone = np.linalg.solve(change, np.array(zone_axis, dtype=float))
    zone = np.round(zone / np.min(np.abs(zone[np.abs(zone) > 1e-9])), 6)
    moved = [tuple(int(i) for i in np.round(np.array(g) @ change)) for g in hkl]
    x, new_x = next((g, m) for g, m in zip(hkl, moved, strict=True) if any(g))
    defaults = {"thicknesses": (150.0, 600.0), "g_max": 1.5, "absorption": "thomas"}
    expected = at(crystal, k, zone_axis=zone_axis, hkl=hkl, x_direction=x, **(defaults | chosen))
    found = at(other, k, zone_axis=tuple(zone), hkl=moved, x_direction=new_x, **(defaults | chosen))
    if chosen.get("output") == "amplitude":
        phase = np.exp(-2j * np.pi * (np.array(moved) @ np.array(shift)))
        expected = expected * phase
    np.testing.assert_allclose(found, expected, atol=1e-8)


CELLS = {
    "fcc, primitive": ("GaAs", PRIMITIVE_F, (0, 0, 1), ((0, 0, 0), (2, 2, 0), (2, 0, 0))),
    "fcc, primitive, polar": ("GaAs", PRIMITIVE_F, (1, 1, 0), ((0, 0, 0), (0, 0, 2), (1, -1, 1), (-1, 1, 1))),
    "bcc, primitive": ("W", PRIMITIVE_I, (0, 0, 1), ((0, 0, 0), (1, 1, 0))),
    "rhombohedral": ("MgSiO3", OBVERSE, (0, 0, 1), ((0, 0, 0), (1, 1, 0), (2, -1, 0))),
    "F as P1": ("Si", np.eye(3), (1, 1, 0), ((0, 0, 0), (0, 0, 4), (1, -1, 1))),
    "chiral, sheared": ("FeSi", SHEAR, (0, 1, 1), ((0, 0, 0), (1, 0, 0), (0, 1, -1))),
    "orthorhombic, axes renamed": ("CaTiO3", CYCLIC, (0, 0, 1), ((0, 0, 0), (1, 1, 0), (0, 2, 0))),
    "tetragonal, axes renamed": ("TiO2", CYCLIC, (0, 0, 1), ((0, 0, 0), (1, 1, 0))),
    "hexagonal, sheared": ("SiO2", SHEAR, (1, 0, 0), ((0, 0, 0), (0, 1, 0), (0, 1, 1))),
    "monoclinic, sheared": ("ZrO2", SHEAR @ CYCLIC, (0, 1, 0), ((0, 0, 0), (1, 0, 0), (1, 0, 1))),
}


@pytest.mark.parametrize("name", CELLS)
def test_the_choice_of_the_cell_does_not_matter(name: str) -> None:
    crystal, change, zone_axis, hkl = CELLS[name]
    absorption = None if crystal in ("TiO2", "W") else "thomas"
    compare(_isotropic(crystal), change, zone_axis, hkl, absorption=absorption)


@pytest.mark.parametrize("name", ["fcc, primitive, polar", "chiral, sheared", "hexagonal, sheared"])
def test_the_cell_and_the_foil_normal(name: str) -> None:
    crystal, change, zone_axis, hkl = CELLS[name]
    for laue_zones in (0, 1):
        compare(_isotropic(crystal), change, zone_axis, hkl, laue_zones=laue_zones, g_max=1.2, energy=60e3)


def _isotropic(name: str) -> Crystal:
    return Crystal.named(name).with_b_iso(0.6)


@pytest.mark.parametrize("output", ["intensity", "amplitude"])
@pytest.mark.parametrize("zone_axis", [(1, 1, 0), (0, 0, 1)])
def test_the_origin_does_not_matter(zone_axis, output: str) -> None:
    hkl = ((0, 0, 0), (2, -2, 0), (0, 0, 2)) if zone_axis == (1, 1, 0) else ((0, 0, 0), (2, 2, 0), (2, 0, 0))
    compare(_isotropic("GaAs"), np.eye(3), zone_axis, hkl, shift=(0.13, -0.21, 0.37), output=output)


changes = st.lists(st.tuples(st.permutations(range(3)), st.integers(-1, 1)), min_size=1, max_size=2)


@settings(max_examples=12)
@given(crystal=triclinic_crystals(), steps=changes, shift=st.tuples(*[st.floats(-1, 1)] * 3), k=tilt_vectors)
def test_any_cell_and_origin_of_any_crystal(crystal: Crystal, steps, shift, k) -> None:
    change = np.eye(3)
    for (i, j, _), times in steps:
        shear = np.eye(3)
        shear[i, j] = times
        change = change @ shear
    k = 0.2 * np.array(k)
    compare(crystal, change, (0, 0, 1), ((0, 0, 0), (1, 0, 0), (0, 1, 0)), shift, k, g_max=1.2, output="amplitude")


@pytest.mark.parametrize("turn", [1, 2])
def test_cubic_axes_are_alike(turn: int) -> None:
    """A cyclic permutation of zone axis, x direction and reflections is a symmetry of every cubic crystal."""

    def roll(v):
        return tuple(int(i) for i in np.roll(v, turn))

    crystal = Crystal.named("FeSi")
    expected = at(
        crystal, (0.1, 0.03), zone_axis=(0, 1, 2), x_direction=(1, 0, 0), hkl=((0, 0, 0), (1, 2, -1)), g_max=1.3
    )
    found = at(
        crystal,
        (0.1, 0.03),
        zone_axis=roll((0, 1, 2)),
        x_direction=roll((1, 0, 0)),
        hkl=((0, 0, 0), roll((1, 2, -1))),
        g_max=1.3,
    )
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_the_hand_of_a_chiral_crystal_and_its_mirror_image() -> None:
    """The mirror image of a crystal gives the mirror image of the pattern: z kept, x reversed."""
    crystal = Crystal.named("SiO2").with_b_iso(0.5)
    mirror = other_cell(crystal, np.diag([1.0, 1.0, 1.0]))
    sites = [(s.element, s.xyz, s.u_iso) for s in mirror.sites]
    flipped = Crystal(
        "mirror image",
        mirror.cell,
        tuple(
            type(mirror.sites[0])(f"{e}{i}", e, (x[1], x[0], x[2]), u_iso=u) for i, (e, x, u) in enumerate(sites)
        ),
    )
    hkl, swapped = ((0, 0, 0), (1, 0, 0), (2, -1, 0)), ((0, 0, 0), (0, 1, 0), (-1, 2, 0))
    chosen = {"thicknesses": (500.0,), "g_max": 1.2}
    expected = at(crystal, (0.05, 0.02), hkl=hkl, x_direction=(1, 1, 0), **chosen)
    found = at(flipped, (0.05, -0.02), hkl=swapped, x_direction=(1, 1, 0), **chosen)
    np.testing.assert_allclose(found, expected, atol=1e-9)
