"""Ionicity and stretched valence shells as parameters: slopes, truth found again, bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gradient_cases import COUNTED, finite_difference, small_plan

import lacbed
from lacbed import Crystal, TiltGrid
from lacbed.errors import ScatteringError, SettingError
from lacbed.geometry.frame import make_frame
from lacbed.refinement.charge import charge_factors, deformation_map
from lacbed.refinement.model import BlochModel, images
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.parameter import state_function
from lacbed.refinement.parameters import build_parameters
from lacbed.refinement.problem import Measured
from lacbed.refinement.refine import refine
from lacbed.refinement.structure import coefficients, make_structure
from lacbed.state import crystal_state
from lacbed.xray import xray_factors

MGO = Crystal.named("MgO").with_charges({"Mg": 2, "O": -2})
ZNS = Crystal.named("ZnS").with_charges({"Zn": 2, "S": -2})
HKL = ((0, 0, 0), (1, -1, 1), (0, 0, 2), (2, -2, 0))
NAMES = ("ionicity", "kappa")


@pytest.mark.parametrize("absorption", [("proportional", 8.0), "thomas"])
def test_slopes_against_finite_differences(absorption):
    plan, state = small_plan(MGO, (1, 1, 0), absorption, "lattice", pixels=3)
    parameters = build_parameters(MGO, state, NAMES, absorption)
    assert [p.name for p in parameters] == ["ionicity", "kappa:Mg"]  # O has no positive ion in the table
    assert (parameters[1].expected, parameters[1].spread) == (1.0, 0.05)
    state_of = state_function(state, parameters)
    start = torch.tensor([0.4, 1.03], dtype=torch.float64)
    _, columns, _ = BlochModel(plan).jacobian(state_of, start)
    for i, column in enumerate(columns):

        def at(x, i=i):
            return images(plan, state_of(torch.where(torch.arange(2) == i, x, start)))

        expected = finite_difference(at, float(start[i]), 1e-3)
        assert float(expected.abs().max()) > 1e-4
        assert float((column - expected).abs().max()) <= 1e-6 * float(expected.abs().max()) + 1e-10


def test_charges_are_found_again(monkeypatch):
    grid = TiltGrid(14, k_max=0.4)
    model = lacbed.prepare_model(
        MGO, beams=50, zone_axis=(1, 1, 0), energy=200e3, thicknesses=(520.0,), grid=grid, hkl=HKL
    )
    state = lacbed.model_state(model)
    truth = lacbed.intensities(model, state.changed(ionicity=torch.full_like(state.ionicity, 0.6)))
    counts = np.random.default_rng(1).poisson(3e3 * truth[0].detach().numpy()).astype(float)
    measured = Measured(counts, HKL, make_frame(MGO, (1, 1, 0)), 200e3, 0.4)
    options = replace(COUNTED, free=("thickness", "B", "ionicity"), thicknesses=(520.0,), beams=50)
    found = refine(measured, MGO, options)
    names = [p.name for p in found.parameters]
    matrix = found.covariance - np.outer(found.bias, found.bias)  # the truth has no more beams
    place = names.index("ionicity")
    uncertainty = float(np.sqrt(matrix[place, place]))
    assert uncertainty < 0.1
    assert abs(found.values[place] - 0.6) < 4.0 * uncertainty
    factors = charge_factors(found)  # those of ions with this part of their charges
    assert factors is not None
    places, state = np.array(factors.hkl), crystal_state(MGO, 2e5, 0.4)
    assert {(1, -1, 1), (0, 0, 2), (2, -2, 0)} <= set(factors.hkl)
    partly = make_structure(MGO, places, "kirkland", None)
    u = coefficients(partly, state.changed(ionicity=torch.full_like(state.ionicity, 0.6)))[0]
    truth = xray_factors(MGO, places, u, 2e5).abs().numpy()
    own = np.sqrt(np.maximum(factors.uncertainty[1] ** 2, 1e-20))
    assert np.all(np.abs(np.abs(factors.thermal) - truth) < 4.0 * own)
    assert np.all(factors.uncertainty[0] > 0.0)
    density = deformation_map(found)
    assert density is not None
    assert np.abs(density[1]).max() > 0.0
    monkeypatch.setattr("lacbed.refinement.charge.candidates", lambda *_: [])  # as for diamond along [001]
    assert charge_factors(found) is None


@pytest.mark.parametrize(
    ("crystal", "name", "factors", "words"),
    [
        (MGO, "ionicity", "ionic", "starts from neutral atoms"),
        (Crystal.named("MgO"), "ionicity", "kirkland", "no site of MgO has a charge"),
        (ZNS, "ionicity", "kirkland", "no X-ray scattering factor"),
        (MGO, "kappa:O2", "kirkland", "no positive ion of O"),
        (MGO, "ionicity:O2", "kirkland", "does not belong to a site"),
    ],
)
def test_what_cannot_be_free_is_said(crystal, name, factors, words):
    options = RefinementOptions((name,), factors=factors)
    with pytest.raises((SettingError, ScatteringError), match=words):
        build_parameters(crystal, crystal_state(crystal, 2e5, 0.5), (name,), None, options)
