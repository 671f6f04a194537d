"""What the symmetric autoencoder knows: origins do not matter, and patterns have the potential's symmetry."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import SMALL, SyntheticData

from lacbed.learn import data
from lacbed.learn.config import load_config
from lacbed.learn.models import build_model
from lacbed.learn.symmetry import heaviest_at_origin, symmetrise

SYMMETRIC = {**SMALL["vae"], "one_origin": True, "symmetric": True}


@settings(max_examples=30)
@given(
    seed=st.integers(0, 1000),
    up=st.integers(0, 31),
    across=st.integers(0, 31),
    pixels=st.sampled_from([8, 24, 32]),
)
def test_every_origin_gives_the_same_image(seed: int, up: int, across: int, pixels: int) -> None:
    images = torch.rand(3, 1, pixels, pixels, generator=torch.Generator().manual_seed(seed))
    images[..., seed % pixels, up % pixels] += 5.0  # of columns that are equal the origin would choose
    moved = heaviest_at_origin(images)
    assert torch.equal(heaviest_at_origin(images.roll((up, across), dims=(-2, -1))), moved)
    for one, other in zip(images, moved, strict=True):
        assert torch.equal(one.flatten().sort().values, other.flatten().sort().values)
        ways = [one.roll((i, j), dims=(-2, -1)) for i in range(pixels) for j in range(pixels)]
        assert any(torch.equal(way, other) for way in ways)


def test_the_heaviest_column_comes_to_the_origin() -> None:
    place = torch.arange(64) / 64
    bump = torch.exp(-100.0 * ((place + 0.5) % 1.0 - 0.5).square())
    cell = 5.0 * torch.outer(bump, bump)  # at the origin
    image = cell.roll((10, 50), dims=(0, 1)) + 0.8 * cell.roll((42, 18), dims=(0, 1))
    expected = cell + 0.8 * cell.roll((32, 32), dims=(0, 1))
    torch.testing.assert_close(heaviest_at_origin(image[None, None])[0, 0], expected)
    image[3, 3] += 5.1  # a single pixel does not make a column
    assert heaviest_at_origin(image[None, None])[0, 0].argmax() != 0


def test_flat_and_negative_images_stay_what_they_are() -> None:
    for value in (0.0, -3.0):
        image = torch.full((1, 1, 16, 16), value)
        assert torch.equal(heaviest_at_origin(image), image)


def test_it_is_differentiable() -> None:
    image = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    heaviest_at_origin(image).square().sum().backward()
    assert image.grad is not None
    assert torch.equal(image.grad, 2.0 * image.detach())


def test_of_equal_columns_the_first_is_taken() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., 3, 5] = image[..., 11, 2] = 1.0
    assert torch.equal(heaviest_at_origin(image), image.roll((-3, -5), dims=(-2, -1)))


def test_the_symmetric_autoencoder_is_symmetric_and_a_heaviest_column_makes_it_blind_to_the_origin() -> None:
    batch = data.collate([SyntheticData(3)[i] for i in range(3)])
    torch.manual_seed(0)
    model = build_model(SYMMETRIC).eval()
    pattern = model(batch)["pattern"]
    torch.testing.assert_close(symmetrise(pattern, batch["symmetry"]), pattern)
    moved = {**batch, "potential": batch["potential"].roll((3, 7), dims=(-2, -1))}
    assert torch.equal(model(moved)["pattern"], pattern)
    plain = build_model(SMALL["vae"]).eval()
    plain.load_state_dict(model.state_dict())  # the same weights: only what is done with them differs
    assert not torch.allclose(plain(moved)["pattern"], plain(batch)["pattern"])


def test_the_symmetric_config_is_the_poster_s_but_for_two_switches_and_brightness() -> None:
    seed, symmetric = load_config("vae-seed").to_dict(), load_config("vae-symmetric").to_dict()
    assert symmetric["model"] == seed["model"] | {"one_origin": True, "symmetric": True}
    assert symmetric["loss"] == seed["loss"] | {"intensity": symmetric["loss"]["intensity"]}
    assert 0 == seed["loss"]["intensity"] < symmetric["loss"]["intensity"] < 0.1 * seed["loss"]["z"]
    assert {**symmetric, "model": seed["model"], "loss": seed["loss"]} == seed
