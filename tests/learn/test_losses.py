"""The loss formulas, and the autoencoder of the poster."""

import math

import pytest
import torch
from synthetic import SMALL, SyntheticData

from lacbed.errors import SettingError
from lacbed.learn import data
from lacbed.learn.config import load_config
from lacbed.learn.losses import LossSettings, kl_divergence, loss_terms, total_loss
from lacbed.learn.models import build_model
from lacbed.patterns.metrics import zncc_loss


def test_kl_against_torch():
    generator = torch.Generator().manual_seed(0)
    mu, logvar = torch.randn(5, 12, generator=generator), torch.randn(5, 12, generator=generator)
    latent = torch.distributions.Normal(mu, torch.exp(0.5 * logvar))
    expected = torch.distributions.kl_divergence(latent, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(kl_divergence(mu, logvar), expected, atol=1e-4)
    assert float(kl_divergence(torch.zeros(1, 3), torch.zeros(1, 3))) == 0.0


def test_loss_of_the_poster_is_ten_thousand_z_plus_kl():
    config = load_config("vae-seed")
    assert config.model == {
        "name": "vae",
        "latent": 12,
        "kernels": 32,
        "pixels": 128,
        "scale": 100.0,
        "one_origin": False,
        "symmetric": False,
    }
    assert config.training.batch == 24
    assert config.training.optimizer == "adam"
    batch = data.collate([SyntheticData(2)[i] for i in range(2)])
    torch.manual_seed(1)
    output = build_model(SMALL["vae"])(batch)
    z = zncc_loss(output["pattern"], batch["pattern"]).mean()
    kl = kl_divergence(output["mu"], output["logvar"]).mean()
    total = total_loss(loss_terms(output, batch["pattern"]), config.loss).detach()
    assert float(total) == pytest.approx(float((1e4 * z + kl).detach()), rel=1e-6)


def test_autoencoder_has_the_layers_of_the_poster():
    model = build_model({"name": "vae"})
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d | torch.nn.ConvTranspose2d)]
    assert len(convolutions) == 4
    assert all(c.kernel_size == (8, 8) and c.stride == (2, 2) for c in convolutions)
    assert [c.out_channels for c in convolutions] == [32, 32, 32, 1]
    assert model.mu.out_features == 12


def test_autoencoder_sees_nothing_but_the_image():
    batch = data.collate([SyntheticData(1)[0]])
    model = build_model(SMALL["vae"]).eval()
    other = {**batch, "energy": batch["energy"] / 2, "lattice_parameter": 3 * batch["lattice_parameter"]}
    assert torch.equal(model(batch)["pattern"], model(other)["pattern"])
    assert torch.equal(model(batch)["pattern"][:, 0], model(batch)["pattern"][:, 1])


def test_perfect_pattern_costs_nothing_and_scale_costs_intensity_only():
    truth = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    terms = loss_terms({"pattern": truth}, truth)
    assert float(terms["z"]) == 0.0
    assert float(terms["intensity"]) == 0.0
    terms = loss_terms({"pattern": 1.1 * truth}, truth)
    assert float(terms["z"]) == pytest.approx(0.0, abs=1e-6)
    assert float(terms["intensity"]) == pytest.approx(0.01, rel=1e-4)


def test_nll_is_least_where_sigma_is_the_rms_error_and_trains_nothing_else():
    truth = torch.zeros(1, 1, 8, 8)
    pattern = torch.full((1, 1, 8, 8), 0.2, requires_grad=True)
    values = {
        s: loss_terms({"pattern": pattern, "log_sigma": torch.full((1, 1, 1, 1), math.log(s))}, truth)["nll"]
        for s in (0.1, 0.15, 0.2, 0.3, 0.4)
    }
    assert min(values, key=lambda s: float(values[s])) == 0.2
    assert not values[0.1].requires_grad  # the prediction itself is held fixed


def test_only_weighted_terms_count():
    terms = {"z": torch.tensor(0.5), "intensity": torch.tensor(2.0), "nll": torch.tensor(math.nan)}
    assert float(total_loss(terms, LossSettings(z=2.0, intensity=0.25, nll=0.0))) == pytest.approx(1.5)


@pytest.mark.parametrize(
    "model",
    [
        {"name": "gan"},
        {"name": "vae", "laten": 3},
        {"name": "vae", "latent": "many"},
        {"name": "vae", "pixels": 18},
        {"name": "unet", "pixels": 20},
        {"name": "fno", "modes": 70},
        {},
    ],
)
def test_bad_models(model):
    with pytest.raises(SettingError):
        build_model(model)


def test_fourier_layer_is_a_circular_convolution():
    """Its whole-image part commutes with shifts, and equals the fast Fourier transform with the same weights."""
    from lacbed.learn.models.fno import FourierLayer

    torch.manual_seed(0)
    layer = FourierLayer(3, 4)
    torch.nn.init.zeros_(layer.local.weight)
    torch.nn.init.zeros_(layer.local.bias)
    hidden = torch.randn(2, 3, 16, 16)
    found = layer(hidden).detach()
    shifted = layer(hidden.roll((3, 5), dims=(-2, -1))).detach()
    assert torch.allclose(shifted, found.roll((3, 5), dims=(-2, -1)), atol=1e-5)
    weight = torch.complex(layer.weight[0], layer.weight[1]).detach()
    spectrum = torch.fft.fft2(hidden)
    kept = torch.zeros_like(spectrum)
    rows = torch.arange(-4, 4) % 16
    kept[:, :, rows, :4] = torch.einsum("bixy,ioxy->boxy", spectrum[:, :, rows, :4], weight)
    assert torch.allclose(found, torch.nn.functional.silu(torch.fft.ifft2(kept).real), atol=1e-5)
