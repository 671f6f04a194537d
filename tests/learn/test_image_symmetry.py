"""The pattern's symmetry, read off the potential."""

import pytest
import torch
from synthetic import PIXELS, SMALL, SyntheticData, potential_image

import lacbed
from lacbed.learn import data
from lacbed.learn.models import build_model
from lacbed.learn.symmetry import OPERATIONS, apply_to_cell, apply_to_pattern, pattern_symmetry, symmetrise


def _found(image):
    return {o for o, there in zip(OPERATIONS, pattern_symmetry(image[None])[0], strict=True) if there}


def _group(crystal):
    projected = lacbed.projected_potential(crystal, pixels=64, g_max=4.0)
    return _found(torch.as_tensor(projected.values, dtype=torch.float32)[None] / projected.attrs["period"])


def test_names_identity_first():
    assert OPERATIONS[0] == (False, False, False)
    assert len(set(OPERATIONS)) == 8


@pytest.mark.parametrize(("name", "order"), [("SrTiO3", 8), ("GaAs", 8), ("Si", 8), ("FeS2", 4)])
def test_orders_of_real_crystals(name, order):
    """Diamond needs a shift by 1/4 with its rotations; pyrite (Pa-3) has 2mm along [001]."""
    assert len(_group(lacbed.Crystal.named(name))) == order


@pytest.mark.parametrize("name", ["FeS2", "GaAs"])
def test_found_symmetry_is_that_of_the_exact_pattern(name):
    crystal = lacbed.Crystal.named(name)
    exact = lacbed.simulate(crystal, grid=lacbed.TiltGrid(pixels=16, extent=2.0), beams=60, thicknesses=[300])
    pattern = torch.as_tensor(exact.values[0, 0])
    holds = {o for o in OPERATIONS if torch.allclose(apply_to_pattern(pattern, o), pattern, atol=1e-6)}
    assert _group(crystal) == holds


def test_inversion_is_all_that_any_crystal_has():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 32, 32, generator=generator)
    assert _found(image) == {(False, False, False), (False, True, True)}


def test_symmetry_does_not_depend_on_origin():
    image = potential_image(2, 32)
    assert _found(image) == _found(image.roll((5, 11), dims=(-2, -1)))


def test_symmetrised_patterns_have_the_symmetry_and_keep_their_mean():
    generator = torch.Generator().manual_seed(1)
    pattern = torch.rand(2, 3, 8, 8, generator=generator)
    symmetry = torch.tensor([[1.0] * 8, [1.0, 0, 0, 1.0, 0, 0, 0, 0]])
    done = symmetrise(pattern, symmetry)
    for operation in OPERATIONS:
        assert torch.allclose(apply_to_pattern(done[0], operation), done[0], atol=1e-6)
    assert torch.allclose(apply_to_pattern(done[1], (False, True, True)), done[1], atol=1e-6)
    assert not torch.allclose(apply_to_pattern(done[1], (True, False, False)), done[1], atol=1e-3)
    assert torch.allclose(done.mean(dim=(-2, -1)), pattern.mean(dim=(-2, -1)), atol=1e-6)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations_on_cell_and_pattern_are_the_same(operation):
    """A wave of h along x turns into the wave of the turned h."""
    n = 16
    index = torch.arange(n)
    wave = torch.cos(2 * torch.pi * (3 * index[None, :] + 1 * index[:, None]) / n)
    moved = apply_to_cell(wave, operation)
    spot = torch.zeros(n + 1, n + 1)  # centre at n/2: pixels symmetric about 0
    spot[n // 2 + 1, n // 2 + 3] = 1.0
    y, x = (torch.nonzero(apply_to_pattern(spot, operation))[0] - n // 2).tolist()
    assert torch.allclose(
        moved, torch.cos(2 * torch.pi * (x * index[None, :] + y * index[:, None]) / n), atol=1e-5
    )


@pytest.mark.parametrize("name", ["unet", "fno"])
def test_models_have_the_symmetry_and_stay_between_0_and_1(name):
    torch.manual_seed(0)
    model = build_model(SMALL[name])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    batch = data.collate([SyntheticData(1)[0]])
    pattern = model(batch)["pattern"].detach()
    assert pattern.shape == (1, 2, PIXELS, PIXELS)
    assert float(pattern.min()) >= 0
    assert float(pattern.max()) <= 1
    assert float(pattern.std()) > 1e-3
    for operation in OPERATIONS:
        assert torch.allclose(apply_to_pattern(pattern, operation), pattern, atol=1e-5)


def test_augmentation_moves_potential_and_pattern_together():
    """A pattern computed from the moved potential is the moved pattern."""
    source = SyntheticData(3)
    batch = data.collate([source[i] for i in range(3)])
    skew = torch.rand(3, 1, PIXELS, PIXELS, generator=torch.Generator().manual_seed(2))
    batch["potential"] = batch["potential"] + 5 * skew  # no symmetry left
    model = build_model(SMALL["unet"])  # untrained: the two-beam answer, a function of |V_g| and F
    batch["symmetry"] = pattern_symmetry(batch["potential"])
    batch["pattern"] = model(batch)["pattern"].detach()
    moved = data.augment(batch, seed=4, step=1)
    assert not torch.allclose(moved["pattern"], batch["pattern"], atol=1e-3)
    assert torch.allclose(model(moved)["pattern"], moved["pattern"], atol=1e-4)
