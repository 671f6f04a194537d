"""What is stored is enough: unfolding gives the whole image back."""

from dataclasses import replace

import numpy as np
import pytest

import lacbed
from lacbed.datasets.config import SEED
from lacbed.datasets.orbits import symmetry_of

CHEAP = replace(SEED, pixels=16, potential_pixels=24, solver="auto", dtype="float64")

CASES = [
    ("NaCl", (0, 0, 1), "4mm"),
    ("GaAs", (0, 0, 1), "4mm"),
    ("Cu2O", (0, 0, 1), "4mm"),
    ("FeS2", (0, 0, 1), "2mm"),
    ("FeSi", (0, 0, 1), "2mm"),
    ("Si", (1, 1, 0), "2mm"),
    ("TiO2", (0, 0, 1), "4mm"),
    ("Si", (1, 1, 1), "2mm"),
    ("CuO", (1, 1, 1), "2"),
]


@pytest.mark.parametrize(("name", "zone", "group"), CASES)
def test_unfolding_gives_the_image_back(name, zone, group):
    crystal = lacbed.Crystal.named(name)
    config = replace(CHEAP, zone_axis=zone)
    symmetry = symmetry_of(crystal, config)
    pattern = lacbed.simulate(crystal, beams=30, thicknesses=(300, 700), **_settings(config)).values
    potential = lacbed.projected_potential(crystal, zone, config.potential_pixels).values
    folded = symmetry.pattern.fold(pattern)
    assert folded.shape == (2, len(symmetry.pattern.first))
    # Tilts on the edge of a Brillouin zone have one of several sets of beams, which lacks the symmetry.
    assert np.abs(folded[:, symmetry.pattern.source] - pattern).max() < 2e-2
    assert np.median(np.abs(folded[:, symmetry.pattern.source] - pattern)) < 1e-10
    assert np.abs(symmetry.potential.fold(potential)[symmetry.potential.source] - potential).max() < 1e-8
    assert symmetry.name.startswith(f"{group}-")


def _settings(config):
    settings = config.settings(config.energy, config.thicknesses)
    return {name: value for name, value in settings.items() if name not in ("thicknesses", "absorption")}


def test_only_the_asymmetric_part_is_stored():
    eighth = symmetry_of(lacbed.Crystal.named("NaCl"), SEED)
    quarter = symmetry_of(lacbed.Crystal.named("FeS2"), SEED)
    assert len(eighth.pattern.first) == 64 * 65 // 2
    assert len(quarter.pattern.first) == 64 * 64
    assert len(eighth.potential.first) < 128**2 / 16


@pytest.mark.parametrize("name", ["NaCl", "FeS2"])
def test_several_reflections_share_values(name):
    crystal = lacbed.Crystal.named(name)
    config = replace(CHEAP, hkl=((0, 0, 0), (2, 0, 0), (0, 2, 0), (-2, 0, 0)))
    symmetry = symmetry_of(crystal, config)
    pattern = lacbed.simulate(crystal, beams=60, thicknesses=(500,), **_settings(config)).values
    folded = symmetry.pattern.fold(pattern)
    assert folded.shape[-1] <= pattern[0].size // 2
    assert np.abs(folded[:, symmetry.pattern.source] - pattern).max() < 1e-8


def test_equal_symmetry_has_one_name():
    named = lacbed.Crystal.named
    assert symmetry_of(named("NaCl"), CHEAP).name == symmetry_of(named("Cu"), CHEAP).name
    assert symmetry_of(named("NaCl"), CHEAP).name != symmetry_of(named("CsCl"), CHEAP).name
