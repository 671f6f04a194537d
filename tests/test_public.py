"""Everything that the command line does can be done with public names, and what they return can be saved."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import lacbed

CUBES = ["MgO", "NaCl", "SrTiO3"]


def test_every_public_name_exists_where_it_is_said_to_be() -> None:
    for name in lacbed.__all__:
        value = getattr(lacbed, name)
        assert value.__name__ == name
        assert value.__doc__
    assert set(lacbed.__all__) == set(lacbed._HOME)
    assert set(dir(lacbed)) == set(lacbed.__all__)
    with pytest.raises(AttributeError, match="no attribute 'simulat'"):
        _ = lacbed.simulat


def test_submodules_do_not_hide_public_names() -> None:
    """A module lacbed.fit would take the place of the function once it is imported."""
    code = (
        "import importlib, pkgutil, lacbed\n"
        "for m in pkgutil.iter_modules(lacbed.__path__): assert m.name not in lacbed.__all__, m.name"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def stack() -> lacbed.Experiment:
    """A measured stack, as far as the program can tell: GaAs along [110], 460 Å, 1,000 electrons a pixel."""
    pattern = lacbed.simulate(
        lacbed.Crystal.named("GaAs"),
        (1, 1, 0),
        thicknesses=(460.0,),
        grid=lacbed.TiltGrid(24, k_max=0.4),
        hkl=((0, 0, 0), (1, -1, 1), (0, 0, 2)),
        beams=60,
        solver="fast",
    )
    counts = np.random.default_rng(0).poisson(1e3 * pattern.values).astype(float)
    return lacbed.Experiment(pattern.copy(data=counts).assign_attrs(kind="measured"))


def test_a_pattern_is_predicted() -> None:
    pattern = lacbed.predict(lacbed.Crystal.named("MgO"), (500.0,))
    assert pattern.dims == ("thickness", "hkl", "ky", "kx")
    assert pattern.attrs["expected_z"][0] < 0.02
    same = lacbed.Surrogate.load().predict(lacbed.Crystal.named("MgO"), (500.0,))
    np.testing.assert_array_equal(pattern.values, same.values)


def test_a_stack_is_fitted(stack: lacbed.Experiment) -> None:
    settings = lacbed.FitSettings((420.0, 440.0, 460.0, 480.0), absorption=None, beams=60, free=(), blur=0.1)
    result = lacbed.fit(stack, lacbed.Crystal.named("GaAs"), settings)
    assert isinstance(result, lacbed.FitResult)
    assert result.thickness == pytest.approx(460.0, abs=6.0)


def test_a_stack_is_refined(stack: lacbed.Experiment) -> None:
    options = lacbed.RefinementOptions(
        ("thickness",), (450.0,), beams=60, absorption=None, blur=0.05, align="none", steps=4
    )
    steps: list[float] = []
    saved = []
    result = lacbed.refine(
        stack,
        lacbed.Crystal.named("GaAs"),
        options,
        on_progress=lambda _, f: steps.append(f),
        on_checkpoint=saved.append,
    )
    assert isinstance(result, lacbed.Refinement)
    assert result.values[0] == pytest.approx(460.0, abs=3.0)
    assert saved
    assert 0.0 <= min(steps) <= max(steps) <= 1.0


def test_a_crystal_is_identified() -> None:
    pattern = lacbed.simulate(
        lacbed.Crystal.named("NaCl"), thicknesses=(400.0,), grid=lacbed.TiltGrid(24, extent=2), beams=60
    )
    crystals = [lacbed.Crystal.named(name) for name in CUBES]
    found = lacbed.identify(pattern, crystals, (350.0, 400.0, 450.0), keep=1)
    assert isinstance(found, lacbed.Identification)
    assert CUBES[found.candidates[0].index] == "NaCl"


def test_a_potential_is_retrieved() -> None:
    crystal = lacbed.Crystal.named("MgO")
    pattern = lacbed.simulate(crystal, thicknesses=(300.0,), grid=lacbed.TiltGrid(32, extent=4), beams=120)
    start = lacbed.projected_potential(lacbed.Crystal.named("MgO"), pixels=128)
    foil = lacbed.Foil(crystal.cell[0], 300.0, 200e3)
    result = lacbed.retrieve(
        pattern, foil, torch.tensor(start.values / start.attrs["period"]), refined=False, divisions=2
    )
    assert isinstance(result, lacbed.Retrieval)
    assert result.z[0] < 0.05
    with pytest.raises(lacbed.LacbedError, match="lattice parameter"):
        lacbed.retrieve(pattern, lacbed.Foil(0.5, 300.0, 200e3), torch.tensor(start.values))
