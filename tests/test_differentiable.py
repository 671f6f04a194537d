"""The public differentiable function: equal to the reference, gradients against finite differences, a fit."""

from dataclasses import fields

import numpy as np
import pytest
import torch

import lacbed
from lacbed import Crystal, ModelState, Site, TiltGrid, intensities, model_state, prepare_model, simulate
from lacbed.errors import LacbedError, SettingError
from lacbed.solvers import differentiable

FIELDS = tuple(field.name for field in fields(ModelState))
SCALES = {"energy": 1e3, "thickness": 10.0}  # so that one step suits finite differences of all fields

CASES = {
    "polar, absorbing, several thicknesses": dict(
        crystal="GaAs",
        zone_axis=(1, 1, 0),
        hkl=((0, 0, 0), (0, 0, 2)),
        absorption="thomas",
        beams=25,
        thicknesses=(300.0, 700.0),
        grid=TiltGrid(pixels=2, extent=1.5),
        free_ug=((1, -1, 1),),
    ),
    "tilted foil, disc off the axis": dict(
        crystal="GaAs",
        hkl=((0, 0, 0), (2, 2, 0)),
        beams=15,
        foil_normal=(0.1, 0.2, 1.0),
        grid=TiltGrid(pixels=2, k_max=0.3, shape="disc", center=(0.02, 0.01)),
        free_ug=((2, -2, 0),),
    ),
    "HOLZ, Bethe beams": dict(
        crystal="Si",
        zone_axis=(1, 1, 1),
        energy=40e3,
        beams=20,
        weak_beams=8,
        laue_zones=1,
        absorption=("proportional", 10.0),
        grid=TiltGrid(pixels=2, k_max=0.3),
    ),
    "zone axis itself, degenerate, no absorption": dict(
        crystal="SrTiO3",
        beams=21,
        hkl=((0, 0, 0), (1, 0, 0)),
        grid=TiltGrid(pixels=1, k_max=0.1),
    ),
    "trigonal, anisotropic, no refraction": dict(
        crystal="SiO2",
        zone_axis=(1, 0, 0),
        hkl=((0, 0, 0), (0, 1, 1)),
        beams=20,
        refraction=False,
        grid=TiltGrid(pixels=2, extent=1.0),
        absorption="thomas",
    ),
}


def prepared(name, **changes):
    settings = CASES[name] | changes
    return prepare_model(Crystal.named(settings.pop("crystal")), **settings)


@pytest.mark.parametrize("name", CASES)
def test_the_state_of_a_model_gives_the_reference_pattern(name):
    settings = {key: value for key, value in CASES[name].items() if key != "free_ug"}
    settings |= {"grid": TiltGrid(pixels=4, k_max=0.3, shape="disc"), "beams": 40}
    model = prepared(name, **{k: v for k, v in settings.items() if k != "crystal"})
    crystal = Crystal.named(settings.pop("crystal"))
    exact = simulate(crystal, **settings, solver="reference")
    images = intensities(model, model_state(model)).numpy()
    assert images.shape == exact.shape
    np.testing.assert_allclose(images, np.nan_to_num(exact.values), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_every_field_by_gradcheck(name):
    model = prepared(name)
    state = model_state(model).changed(blur=torch.tensor(0.6, dtype=torch.float64))
    inputs = [(getattr(state, f) / SCALES.get(f, 1.0)).clone().requires_grad_() for f in FIELDS]

    def images(*values):
        fields_of = {f: v * SCALES.get(f, 1.0) for f, v in zip(FIELDS, values, strict=True)}
        return intensities(model, ModelState(**fields_of))

    assert torch.autograd.gradcheck(images, inputs, eps=1e-6, atol=3e-5, rtol=1e-4, fast_mode=True)


def test_eigenvectors_computed_again_give_the_same_gradient(monkeypatch):
    model = prepared("polar, absorbing, several thicknesses", grid=TiltGrid(pixels=5, extent=1.5))
    found = []
    for kept in (2**30, 0):
        monkeypatch.setattr(differentiable, "KEPT_BYTES", kept)
        monkeypatch.setattr(differentiable, "_BLOCK_BYTES", 3 * 32 * 25**2)
        state = model_state(model)
        u = state.u.clone().requires_grad_()
        intensities(model, state.changed(u=u)).square().sum().backward()
        found.append(u.grad)
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-14)
    assert found[0][:, 0].abs().min() > 1e-3


def test_shared_matrices_give_the_gradient_of_separate_ones():
    """Tilts that differ by a reciprocal vector share a matrix unless the geometry itself is free."""
    model = prepared("polar, absorbing, several thicknesses", grid=TiltGrid(pixels=6, extent=1.5))
    gradients = []
    for free in ((), ("half_width",), ("cell",)):
        state = model_state(model)
        moved = {f: getattr(state, f).clone().requires_grad_() for f in ("u", *free)}
        intensities(model, state.changed(**moved)).square().sum().backward()
        gradients.append(moved["u"].grad)
    for other in gradients[1:]:
        torch.testing.assert_close(gradients[0], other, rtol=1e-9, atol=1e-11)


def test_thickness_and_debye_waller_factors_are_fitted_by_a_torch_optimizer():
    crystal = Crystal.build(
        "truth",
        3.905,
        "P m -3 m",
        [
            Site("Sr", "Sr", (0, 0, 0), u_iso=0.010),
            Site("Ti", "Ti", (0.5, 0.5, 0.5), u_iso=0.004),
            Site("O", "O", (0.5, 0.5, 0), u_iso=0.008),
        ],
    )
    settings = dict(grid=TiltGrid(pixels=6, extent=2), beams=21, hkl=((0, 0, 0), (1, 1, 0)))
    measured = torch.as_tensor(simulate(crystal, thicknesses=(520.0,), **settings).values)
    model = prepare_model(crystal, **settings)
    start = model_state(model)
    t = torch.tensor([5.0], dtype=torch.float64, requires_grad=True)  # in 100 Å
    b = torch.tensor([0.8, 0.6, 0.9], dtype=torch.float64, requires_grad=True)  # in 0.01 Å²

    def state():
        u = torch.cat([b[:, None] / 100.0, torch.zeros(3, 5, dtype=torch.float64)], dim=1)
        return start.changed(thickness=100.0 * t, u=u)

    optimizer = torch.optim.LBFGS([t, b], lr=1.0, max_iter=60, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = 1e3 * (intensities(model, state()) - measured).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert 100.0 * t.item() == pytest.approx(520.0, abs=0.02)
    np.testing.assert_allclose(b.detach().numpy(), [1.0, 0.4, 0.8], atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, "choose the beams"),
        ({"beams": 20, "paraxial": False}, "paraxial"),
        ({"beams": 20, "solver": "zone"}, "leave it out"),
        ({"beams": 20, "thickness": 3.0}, "lacbed.simulate"),
        ({"beams": 20, "free_ug": ((0, 0, 0),)}, "mean inner potential"),
        ({"beams": 20, "free_ug": ((1, 0, 0),)}, "centring"),
        ({"beams": 20, "energy": 200.0}, "200 kV is 200e3"),
    ],
)
def test_impossible_models_are_refused(settings, match):
    with pytest.raises(SettingError, match=match):
        prepare_model(Crystal.named("GaAs"), **settings)


def test_displacements_beyond_the_absorptive_table_are_refused():
    model = prepared("polar, absorbing, several thicknesses")
    state = model_state(model)
    with pytest.raises(LacbedError, match="B from 0 to 4"):
        intensities(model, state.changed(u=state.u * 100.0))


def test_it_is_public():
    assert {"intensities", "prepare_model", "model_state", "ModelState"} <= set(lacbed.__all__)
