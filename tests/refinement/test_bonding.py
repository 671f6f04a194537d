"""U_g that may differ from those of neutral atoms: symmetry, gradients, priors, truth found again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from gradient_cases import COUNTED, finite_difference, small_plan

import lacbed
from lacbed import Crystal, TiltGrid
from lacbed.errors import SettingError
from lacbed.geometry.frame import make_frame
from lacbed.patterns.figures import save_figure
from lacbed.potential import potential_coefficients
from lacbed.refinement.bonding import candidates, members
from lacbed.refinement.charge import charge_factors, deformation_map
from lacbed.refinement.figures import deformation_figure
from lacbed.refinement.joint import Joint
from lacbed.refinement.model import BlochModel, images
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.parameter import state_function
from lacbed.refinement.parameters import build_parameters, free_names, split_names
from lacbed.refinement.problem import Measured
from lacbed.refinement.refine import refine
from lacbed.refinement.report import summary
from lacbed.refinement.report_text import write_text
from lacbed.refinement.result import Refinement
from lacbed.refinement.structure import add_families, coefficients, family_of, make_structure
from lacbed.state import crystal_state
from lacbed.xray import xray_factors


def changed(name, families, values, hkl, absorption=None):
    """U_g without and with changes, and the names of these."""
    crystal = Crystal.named(name)
    structure = make_structure(crystal, np.array(hkl), "kirkland", absorption)
    state = crystal_state(crystal, 2e5, 0.5)
    more, moved, parameters = add_families(structure, state, [("Ug", g) for g in families], 0.04)
    vector = torch.zeros(len(parameters), dtype=torch.float64)
    vector[: len(values)] = torch.tensor(values, dtype=torch.float64)
    after = coefficients(more, state_function(moved, parameters)(vector))
    return coefficients(structure, state), after, parameters


# -- symmetry ---------------------------------------------------------------------------------------
def test_a_relative_change_keeps_the_symmetry_of_the_crystal():
    hkl = [(1, 1, 1), (-1, -1, -1), (1, -1, 1), (2, 2, 0), (1, 1, 3)]
    absorption = ("proportional", 10.0)
    before, after, parameters = changed("GaAs", [(1, 1, 1), (2, 2, 0)], [2.0, 3.0, -1.5], hkl, absorption)
    assert [p.name for p in parameters] == ["Ug:1,1,1", "Ug:1,1,1:phase", "Ug:2,2,0"]
    assert [p.unit for p in parameters] == ["%", "°", "%"]
    turn = 1.02 + 1j * np.radians(3.0)
    ratio = (after[0] / before[0]).numpy()
    # 1 -1 1 is the image of -1 -1 -1 under a mirror: its phase turns the other way round
    np.testing.assert_allclose(ratio[:3], [turn, turn.conjugate(), turn.conjugate()], rtol=1e-12)
    np.testing.assert_allclose(ratio[3:], [0.985, 1.0], rtol=1e-12)
    np.testing.assert_allclose((after[1] / after[0]).numpy(), 0.1, rtol=1e-12)


def test_a_forbidden_reflection_of_bonds_changes_by_an_absolute_amount():
    hkl = [(2, 2, 2), (-2, -2, -2), (1, 1, 1)]
    before, after, parameters = changed("Si", [(2, 2, 2)], [1e-3], hkl)
    assert [(p.name, p.unit) for p in parameters] == [("Ug:2,2,2", "1/Å²")]  # a centre fixes the phase
    change = (after[0] - before[0]).numpy()
    np.testing.assert_allclose(np.abs(change), [1e-3, 1e-3, 0.0], atol=1e-15)
    np.testing.assert_allclose(change[0], change[1].conj(), atol=1e-15)
    with pytest.raises(SettingError, match="space group of Si forbids"):
        changed("Si", [(2, 0, 0)], [], [(2, 0, 0)])
    with pytest.raises(SettingError, match="0,0,3 does not affect"):
        changed("Si", [(0, 0, 3)], [], hkl)


def test_families_are_the_lowest_allowed_ones():
    silicon = Crystal.named("Si")
    zone = np.array([(h, -h, l) for h in range(-4, 5) for l in range(-6, 7)])  # noqa: E741
    found = [tuple(sorted(abs(i) for i in g)) for g in candidates(silicon, zone)]
    assert found == [(1, 1, 1), (0, 2, 2), (1, 1, 3), (2, 2, 2), (0, 0, 4)]
    assert len(members(silicon, (1, 1, 1))) == 8
    assert (1, -1, 1) not in candidates(silicon, zone, [(1, 1, 1)])


# -- gradients --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "absorption"), [("GaAs", "thomas"), ("Si", ("proportional", 8.0)), ("SiO2", "thomas")]
)
def test_slopes_against_finite_differences(name, absorption):
    crystal = Crystal.named(name)
    zone = (1, 0, 0) if name == "SiO2" else (1, 1, 0)
    plan, state = small_plan(crystal, zone, absorption, "lattice", pixels=3)
    families = [("bonding", g) for g in candidates(crystal, plan.structure.hkl)[:4]]
    plain = replace(plan.structure, shapes=plan.structure.shapes[:0])
    structure, state, parameters = add_families(plain, state, families, 0.04)
    plan = replace(plan, structure=structure)
    parameters = [*build_parameters(crystal, state, ("B",), absorption), *parameters]
    assert any(p.unit == "°" for p in parameters) == (name == "GaAs")
    state_of = state_function(state, parameters)
    start = torch.tensor([p.value + 0.2 * (p.unit == "%") for p in parameters], dtype=torch.float64)
    _, columns, _ = BlochModel(plan).jacobian(state_of, start)
    for i, (p, column) in enumerate(zip(parameters, columns, strict=True)):

        def at(x, i=i):
            values = start.clone()
            values[i] = x
            return images(plan, state_of(values))

        expected = finite_difference(at, float(start[i]), 1e-3 if p.spread > 0.1 else 1e-6)
        assert float((column - expected).abs().max()) <= 1e-6 * float(expected.abs().max()) + 1e-10, p.name
    weight = torch.randn(columns.shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    leaf = start.clone().requires_grad_()
    (images(plan, state_of(leaf)) * weight).sum().backward()
    expected = (columns * weight).sum(dim=(1, 2, 3)).numpy()
    np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-8, atol=1e-12)


# -- names, priors, bad input -----------------------------------------------------------------------
def test_what_is_fixed_is_not_free():
    assert "bonding" in free_names(RefinementOptions())
    left = free_names(RefinementOptions(fixed=("bonding", "absorption")))
    assert "bonding" not in left
    assert "absorption" not in left
    assert split_names("bonding,Ug:1,1,-1") == ("bonding", "Ug:1,1,-1")
    with pytest.raises(SettingError, match="'x' is not free and cannot be fixed; free are thickness"):
        free_names(RefinementOptions(fixed=("x",)))
    with pytest.raises(SettingError, match="nothing left to refine"):
        free_names(RefinementOptions(free=("B",), fixed=("B",)))


def test_priors_of_no_width_are_refused():
    for width in (0.0, -1.0, float("nan")):
        with pytest.raises(SettingError, match="prior of Ug must be wider than 0"):
            RefinementOptions(priors=(("Ug", width),))
    with pytest.raises(SettingError, match="'B' has no prior; those that can be set are Ug"):
        RefinementOptions(priors=(("B", 0.1),))
    with pytest.raises(SettingError, match="is written Ug:h,k,l"):
        family_of("Ug:0,0,0")


HKL = ((0, 0, 0), (1, -1, 1), (1, -1, -1), (0, 0, 2), (2, -2, 0), (1, -1, 3))
CHANGES = {(1, -1, 1): -0.03, (2, -2, 0): 0.015}


@pytest.fixture(scope="module")
def bonded() -> Measured:
    """GaAs along [110] whose U_g are not those of neutral atoms, by the code of `lacbed.intensities`."""
    crystal, grid = Crystal.named("GaAs"), TiltGrid(16, k_max=0.4)
    options = {"zone_axis": (1, 1, 0), "energy": 200e3, "thicknesses": (640.0,), "grid": grid, "hkl": HKL}
    model = lacbed.prepare_model(crystal, free_ug=tuple(CHANGES), beams=60, **options)
    state = lacbed.model_state(model)
    places = np.array([g for g, _ in model.changes])
    size = np.abs(coefficients(make_structure(crystal, places, "kirkland", None), state)[0].numpy())
    along = [i == 0 or g != model.changes[i - 1][0] for i, (g, _) in enumerate(model.changes)]
    amounts = [CHANGES[g] * s * first for (g, _), s, first in zip(model.changes, size, along, strict=True)]
    truth = lacbed.intensities(model, state.changed(ug_change=torch.tensor(amounts, dtype=torch.float64)))
    counts = np.random.default_rng(0).poisson(3e3 * truth[0].detach().numpy()).astype(float)
    return Measured(counts, HKL, make_frame(crystal, (1, 1, 0)), 200e3, 0.4)


OPTIONS = replace(COUNTED, free=("thickness", "B", "bonding"), thicknesses=(640.0,), beams=60)


@pytest.fixture(scope="module")
def refined(bonded) -> Refinement:
    return refine(bonded, Crystal.named("GaAs"), OPTIONS)


def test_bonding_is_found_and_frees_b_of_its_bias(bonded, refined):
    crystal = Crystal.named("GaAs")
    values = dict(zip((p.name for p in refined.parameters), refined.values, strict=True))
    matrix = refined.covariance - np.outer(refined.bias, refined.bias)  # the truth has no more beams
    su = dict(zip(values, np.sqrt(np.diag(matrix)), strict=True))
    truth = {"Ug:1,-1,1": -3.0, "Ug:2,-2,0": 1.5, "Ug:1,-1,1:phase": 0.0, "thickness": 640.0}
    truth |= {f"B:{s.label}": s.b_iso for s in crystal.sites}
    for name, expected in truth.items():
        assert abs(values[name] - expected) < 4.0 * su[name], name
    assert su["Ug:1,-1,1"] < 0.5
    without = refine(bonded, crystal, replace(OPTIONS, fixed=("bonding",)))
    assert without.fit.cost > 1.5 * refined.fit.cost
    wrong = dict(zip((p.name for p in without.parameters), without.values, strict=True))
    assert abs(wrong["B:Ga1"] - truth["B:Ga1"]) > 3.0 * abs(values["B:Ga1"] - truth["B:Ga1"])


def test_x_ray_factors_are_those_of_the_truth(refined):
    """F_g against those of the U_g that the images were made with, with all uncertainties."""
    found, crystal = charge_factors(refined), Crystal.named("GaAs")
    assert found is not None
    places = np.array(found.hkl)
    u = potential_coefficients(crystal, places, 200e3)[0]
    change = torch.tensor([1.0 + CHANGES.get(g, 0.0) for g in found.hkl], dtype=torch.float64)
    truth = xray_factors(crystal, places, u * change, 200e3).numpy()
    error = np.abs(found.thermal) - np.abs(truth)
    assert np.all(np.abs(error) < 4.0 * found.uncertainty[1])
    rows = {row["hkl"]: row for row in found.table()}
    assert rows["1,-1,1"]["multiplicity"] == 8
    assert 0.0 < rows["1,-1,1"]["F_uncertainty"] < 0.03 * rows["1,-1,1"]["F"]
    assert rows["1,-1,1"]["F"] > rows["1,-1,1"]["F_neutral"]  # a weaker potential means more electrons
    assert rows["1,-1,1"]["F_thermal"] < rows["1,-1,1"]["F"]  # motion blurs
    assert found.names[0] == "F 1,-1,1"
    assert {"thickness", "B:Ga1"} <= set(found.names)
    np.testing.assert_allclose(np.diag(found.correlation), 1.0)


def test_the_map_of_the_electrons_is_their_difference(refined):
    x, density, repeat = deformation_map(refined)
    assert density.shape == (len(x), len(x))
    assert repeat == pytest.approx(np.linalg.norm(Crystal.named("GaAs").direct @ (1, 1, 0)))
    found = charge_factors(refined)
    here = np.array(found.hkl) @ np.array((1, 1, 0)) == 0
    assert here.all()
    strongest = np.abs(found.static - found.neutral_static).max() * repeat / Crystal.named("GaAs").volume
    assert 0.5 * strongest < np.abs(density).max() < 50.0 * strongest
    turned = density[::-1, ::-1]  # no centre in GaAs
    assert np.abs(turned - density).max() > 1e-3 * np.abs(density).max()


def test_the_report_shows_them(refined, tmp_path):
    numbers = summary(refined, OPTIONS)
    json.dumps(numbers)
    assert {row["hkl"] for row in numbers["structure_factors"]} >= {"1,-1,1", "2,-2,0"}
    assert set(numbers["leave_one_out"]["changes"]) == {",".join(map(str, h)) for h in HKL}
    save_figure(deformation_figure(refined, *deformation_map(refined)), tmp_path / "deformation.png")
    for name in ("comparison.png", "thickness.png", "correlation.png"):
        (tmp_path / name).write_bytes(b"")
    write_text(tmp_path, "GaAs", numbers)
    text = (tmp_path / "report.md").read_text("utf-8")
    assert "X-ray structure factors" in text
    assert "deformation.png" in text
    assert "| 1 \N{MINUS SIGN}1 1 |" in text or "| 1 -1 1 |" in text


def test_without_free_u_g_there_are_no_factors(refined):
    fixed = [i for i, p in enumerate(refined.parameters) if p.field != "ug_change"]
    less = replace(refined, parameters=tuple(refined.parameters[i] for i in fixed), values=refined.values[fixed])
    assert charge_factors(less) is None
    assert deformation_map(less) is None


def test_a_narrow_prior_holds(bonded):
    options = RefinementOptions(
        ("thickness", "Ug:1,-1,1"), (640.0,), beams=60, absorption=None, blur=0.05, starts=1, align="none"
    )
    wide, narrow = (
        Joint(Crystal.named("GaAs"), [bonded], replace(options, priors=(("Ug", width),))) for width in (0.04, 1e-5)
    )
    assert wide.parameters[1].spread == pytest.approx(4e3 * narrow.parameters[1].spread)
    held = refine(bonded, Crystal.named("GaAs"), replace(options, priors=(("Ug", 1e-5),)))
    assert abs(held.values[1]) < 0.05
    matrix = held.covariance - np.outer(held.bias, held.bias)
    assert np.sqrt(matrix[1, 1]) == pytest.approx(narrow.parameters[1].spread, rel=0.1)
