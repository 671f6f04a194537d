"""Several stacks of one crystal together: what they share, strain, the likelihood along a parameter, bad input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiment_helpers import HALF_WIDTH, HKL, exact_stack, experiment_of, write_folder
from gradient_cases import finite_difference, small_plan

import lacbed
from lacbed import Crystal, TiltGrid
from lacbed.beams import reflections_within
from lacbed.crystals.cell import FloatArray, direct_basis
from lacbed.errors import SettingError
from lacbed.experiment.experiment import pattern_to_images
from lacbed.geometry.frame import make_frame
from lacbed.refinement.joint import Joint, checked_stacks
from lacbed.refinement.minimise import Minimiser, least_squares_fit
from lacbed.refinement.model import BlochModel, images
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.parameter import state_function
from lacbed.refinement.parameters import build_parameters
from lacbed.refinement.problem import Measured
from lacbed.refinement.refine import refine
from lacbed.refinement.strain import STRAINS, cell_change, strain_parameter, undecided
from lacbed.refinement.uncertainties import (
    covariance,
    evidence,
    formal_covariance,
    standard_uncertainties,
    together,
)
from lacbed.state import crystal_state

MGO = Crystal.named("MgO")
EPSILON = np.array([[2e-3, 1e-3, 0.0], [1e-3, -1e-3, 0.0], [0.0, 0.0, 1.5e-3]])
CONES = {(0, 0, 1): (450.0, 0.4, 200e3), (1, 1, 0): (600.0, 0.36, 120e3)}
FREE = ("thickness", "tilt", "rotation", "B", "strain")
FAST: dict[str, Any] = {
    "beams": 60,
    "absorption": None,
    "blur": 0.02,
    "starts": 1,
    "align": "none",
    "common_scale": True,
    "border": 0.0,
}


def strained_cell(crystal: Crystal, strain: FloatArray) -> FloatArray:
    """The cell of a strained crystal, without expansion in the strain."""
    basis = (np.eye(3) + strain) @ crystal.direct
    length = np.linalg.norm(basis, axis=0)
    cosines = (basis / length).T @ (basis / length)
    return np.array([*length, *np.degrees(np.arccos([cosines[1, 2], cosines[0, 2], cosines[0, 1]]))])


def stack(
    zone: tuple[int, int, int], pixels: int = 10, strain: FloatArray = EPSILON, dose: float = 0.0
) -> Measured:
    """Images of strained MgO by `lacbed.intensities`, pixel by pixel, in another voltage for each zone."""
    thickness, half, energy = CONES[zone]
    frame = make_frame(MGO, zone)
    hkl = reflections_within(MGO, frame, 2.2 * half)[:5]
    grid, cell = TiltGrid(pixels, k_max=half), torch.as_tensor(strained_cell(MGO, strain))
    asked = {"zone_axis": zone, "energy": energy, "thicknesses": (thickness,), "grid": grid, "hkl": hkl}
    model = lacbed.prepare_model(MGO, beams=120, **asked)
    found = lacbed.intensities(model, lacbed.model_state(model).changed(cell=cell))[0].numpy()
    counts = np.random.default_rng(0).poisson(dose * found).astype(float) if dose else 1e4 * found
    return Measured(counts, hkl, frame, energy, half, variance=counts + 1.0)


@pytest.fixture(scope="module")
def two() -> list[Measured]:
    return [stack((0, 0, 1)), stack((1, 1, 0))]


def joint_at_truth(
    stacks: list[Measured], free: tuple[str, ...] = FREE, **options: Any
) -> tuple[Joint, FloatArray]:
    """The stacks as one problem, and the true values of its parameters."""
    scanned = tuple(sorted(t for t, _, _ in CONES.values()))
    joint = Joint(MGO, stacks, RefinementOptions(free, scanned, **FAST | {"weights": "variance"} | options))
    values = np.array([p.value for p in joint.parameters])
    for i, p in enumerate(joint.parameters):
        if p.kind == "strain":
            values[i] = EPSILON[int(p.name[-2]) - 1, int(p.name[-1]) - 1]
        if p.kind == "thickness":
            number = int(p.name.partition("@")[2] or 1) - 1
            values[i] = CONES[tuple(stacks[number].frame.zone_axis)][0]
    return joint, values


# -- strain -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["GaN", "CuO", "MgO"])
def test_a_strain_changes_the_cell_as_it_deforms_the_basis(name: str) -> None:
    crystal = Crystal.named(name)
    for component in STRAINS:
        unit = np.zeros((3, 3))
        i, j = int(component[-2]) - 1, int(component[-1]) - 1
        unit[i, j] = unit[j, i] = 1.0
        exact = (strained_cell(crystal, 1e-5 * unit) - strained_cell(crystal, -1e-5 * unit)) / 2e-5
        np.testing.assert_allclose(cell_change(crystal, unit), exact, rtol=1e-6, atol=1e-6)
        assert strain_parameter(crystal, component, 0.005).spread == 0.005
    moved = np.array(crystal.cell) + cell_change(crystal, EPSILON)
    basis = direct_basis(tuple(moved.tolist()))
    exact_basis = (np.eye(3) + EPSILON) @ crystal.direct
    np.testing.assert_allclose(basis.T @ basis, exact_basis.T @ exact_basis, atol=2e-5 * basis.max() ** 2)


def test_slopes_by_strain_against_finite_differences() -> None:
    crystal = Crystal.named("GaAs")
    plan, state = small_plan(crystal, (1, 1, 0), None, "lattice", pixels=3, symmetric=False)
    parameters = build_parameters(crystal, state, (STRAINS[0], STRAINS[3], STRAINS[5]))
    state_of, start = (
        state_function(state, parameters),
        torch.tensor([1e-3, -2e-3, 2e-3]).double(),
    )
    _, columns, _ = BlochModel(plan).jacobian(state_of, start)
    for i, column in enumerate(columns):

        def at(x: float, i: int = i) -> torch.Tensor:
            return images(plan, state_of(start + x * (torch.arange(3) == i)))

        expected = finite_difference(at, 0.0, 1e-4)
        assert float((column - expected).abs().max()) <= 1e-6 * float(expected.abs().max()) + 1e-8, parameters[
            i
        ].name


def test_a_strained_crystal_has_not_the_symmetry_of_its_space_group() -> None:
    """On a lattice of tilts too, which symmetry would reduce, the model gives what was made pixel by pixel."""
    sheared = np.array([[0.0, 0.02, 0.0], [0.02, 0.0, 0.0], [0.0, 0.0, 0.0]])
    made = stack((0, 0, 1), strain=sheared)
    joint, values = joint_at_truth([made], ("thickness", "strain:12"), align="shift", divisions=12, beams=120)
    values[[p.name for p in joint.parameters].index("strain:12")] = 0.02
    worst = []
    for kept in (joint.problems[0].parameters, joint.problems[0].parameters[:1]):
        problem = joint.problems[0]
        state = state_function(problem.base, joint.parameters)(torch.as_tensor(values))
        problem.parameters = kept  # without the strain, nothing says that the symmetry is gone
        found = problem.model(problem.measured, state).read(state)[0]
        worst.append(float((found - torch.as_tensor(made.images) / 1e4).abs().max()))
    assert worst[0] < 0.02
    assert worst[1] > 3.0 * worst[0]


def test_cell_and_strain_are_not_free_together() -> None:
    with pytest.raises(SettingError, match="free one of them"):
        build_parameters(MGO, crystal_state(MGO, 2e5, 0.4), ("cell", *STRAINS))
    with pytest.raises(SettingError, match="no 'strain:44'; the components"):
        strain_parameter(MGO, "strain:44", 0.01)


# -- one Jacobian -----------------------------------------------------------------------------------
def test_all_residuals_and_their_slopes_by_finite_differences(two: list[Measured]) -> None:
    joint, values = joint_at_truth(two, ("thickness", "half_width", "B", "strain:11", "strain:12"))
    names = [p.name for p in joint.parameters]
    assert names[0] == "thickness@1"
    assert {"thickness@2", "half_width@2", "B:Mg1", "strain:12"} <= set(names)
    assert sum(name.startswith("B:") for name in names) == 2
    parts = [joint.part(k, values) for k in (0, 1)]
    exact = []
    for part in parts:  # nothing is left at the truth, so that slopes are exact
        made = part.compared(values).images
        exact.append(replace(part, target=replace(part.target, images=1e4 * made)))
    minimiser = Minimiser(exact, joint.parameters, values, range(len(values)))
    minimiser.unit, minimiser.weights = 0.7, np.array([1.0, 0.3])
    slopes, first = minimiser.slopes(values), exact[0].target.root.numel()
    for i, p in enumerate(joint.parameters):
        step = 1e-5 * max(1.0, abs(values[i])) if p.kind != "strain" else 1e-6

        def at(x: float, i: int = i) -> torch.Tensor:
            return torch.as_tensor(minimiser.residual(values + x * (np.arange(len(values)) == i)))

        expected = finite_difference(at, 0.0, step).numpy()
        assert np.abs(slopes[:, i] - expected).max() <= 1e-6 * np.abs(expected).max() + 1e-9 / step, p.name
        other = slice(first, -len(values)) if p.name.endswith("@1") else slice(0, first)
        if "@" in p.name:
            assert not slopes[: -len(values)][other, i].any()
        elif p.kind == "B":
            assert slopes[:first, i].any()
            assert slopes[first : -len(values), i].any()


def test_a_family_of_two_zones_is_one_parameter() -> None:
    silicon = Crystal.named("Si")
    stacks = []
    for zone, energy in (((1, 1, 0), 200e3), ((1, 1, 2), 100e3)):
        frame = make_frame(silicon, zone)
        hkl = reflections_within(silicon, frame, 0.7)[:3]
        noise = np.random.default_rng(0).random((len(hkl), 8, 8))
        stacks.append(Measured(noise, hkl, frame, energy, 0.3))
    options = RefinementOptions(("thickness", "Ug:1,-1,1", "Ug:2,-2,2"), (300.0,), **FAST)
    joint = Joint(silicon, stacks, options)
    assert [p.name for p in joint.parameters] == ["thickness@1", "thickness@2", "Ug:1,-1,1", "Ug:2,-2,2"]
    first, second = joint.places
    assert first[-2:] == second[-2:] == [2, 3]
    shapes = []
    for problem in joint.problems:  # 222 in 1/Å² at the first voltage, heavier electrons at it
        structure = problem.model(problem.small).plan.structure
        shapes.append(float(structure.shapes[1].abs().max()))
    assert shapes[1] / shapes[0] == pytest.approx((1 + 100 / 510.999) / (1 + 200 / 510.999), rel=1e-4)


# -- truth found again ------------------------------------------------------------------------------
def test_two_zones_decide_strain_or_name_what_they_do_not(two: list[Measured]) -> None:
    joint, truth = joint_at_truth(two, ("thickness", "B", "strain"))
    start = np.array([p.value for p in joint.parameters])
    for i, p in enumerate(joint.parameters):
        start[i] = truth[i] + 8.0 if p.kind == "thickness" else 1.1 * truth[i] if p.kind == "B" else 0.0
    parts = [joint.part(k, truth, finer=2.0) for k in (0, 1)]
    found = start
    for _ in range(2):  # the weight of priors is that of the first evaluation
        found = least_squares_fit(Minimiser(parts, joint.parameters, found, range(len(start))), 5, 1e-9)
    error = {p.name: v for p, v in zip(joint.parameters, found - truth, strict=True)}
    for name in ("strain:11", "strain:22", "strain:33", "strain:12"):
        assert abs(error[name]) < 1e-4, name
    assert abs(error["thickness@1"]) < 0.3
    assert abs(error["thickness@2"]) < 0.3
    assert abs(error["B:Mg1"]) < 0.01
    said = []
    for part in parts:
        fit = part.compared(found, with_slopes=True)
        said.append(evidence(part.target, fit.residual, fit.slopes))
    matrix = covariance(together(said, joint.places), np.array([1.0 / p.spread**2 for p in joint.parameters]))
    (note,) = undecided(joint.parameters, matrix, MGO, list(CONES), STRAINS)
    assert note.endswith(": shear between [110], the zone axis, and (0 0 1) on Cartesian axes")


def information(stacks: list[Measured], free: tuple[str, ...] = FREE) -> tuple[Joint, FloatArray]:
    """The covariance at the truth by the Jacobian, whatever these images happen to scatter by."""
    joint, values = joint_at_truth(stacks, free)
    said = []
    for k in range(len(stacks)):
        part = joint.part(k, values)
        fit = part.compared(values, with_slopes=True)
        said.append(evidence(part.target, fit.residual, fit.slopes))
    precision = np.array([1.0 / p.spread**2 for p in joint.parameters])
    return joint, formal_covariance(together(said, joint.places), precision)


def test_both_know_more_than_either(two: list[Measured]) -> None:
    both, *alone = [
        {p.name: s for p, s in zip(j.parameters, standard_uncertainties(m), strict=True)}
        for j, m in (information(two), information(two[:1]), information(two[1:]))
    ]
    for name in ("B:Mg1", "B:O2", "strain:11", "strain:22"):
        assert both[name] < min(one[name] for one in alone)


def test_along_one_zone_strain_trades_with_the_geometry(two: list[Measured]) -> None:
    zones, notes = [(0, 0, 1)], {}
    for free in (FREE, (*FREE, "half_width"), (*FREE, "half_width", "stretch", "shear")):
        joint, matrix = information([replace(two[0], variance=30.0 * two[0].variance)], free)  # fewer electrons
        assert "strain:23, strain:13" in joint.notes[0]
        (notes[free],) = undecided(joint.parameters, matrix, MGO, zones, STRAINS)
    plain, wide, bent = notes.values()
    assert "along [001], the zone axis" in plain
    assert "equal in all directions across" not in plain
    assert "equal in all directions across [001], the zone axis" in wide
    assert "1 of these 4 trade with half_width" in wide
    assert "(--fix half_width)" in wide
    assert "trade with half_width, stretch, shear" in bent


# -- likelihood along one parameter -----------------------------------------------------------------
def test_the_likelihood_along_a_parameter_is_that_of_its_uncertainty() -> None:
    noisy = stack((1, 1, 0), 12, 0.0 * EPSILON, dose=2e3)
    options = RefinementOptions(("thickness", "B"), (600.0,), profile="thickness", **FAST | {"weights": "poisson"})
    result = refine(noisy, MGO, options)
    found = result.profile
    assert found is not None
    value = dict(zip((p.name for p in result.parameters), result.values.tolist(), strict=True))["thickness"]
    assert found.best == pytest.approx(value, abs=0.2 * found.uncertainty)
    assert found.high - found.best == pytest.approx(found.uncertainty, rel=0.05)
    assert found.best - found.low == pytest.approx(found.uncertainty, rel=0.05)
    assert found.inflation == pytest.approx(1.0, abs=0.5)  # few images: how much they differ is not well known
    parabola = np.square((found.values - found.best) / found.uncertainty)
    np.testing.assert_allclose(found.rise, parabola, atol=0.25)
    with pytest.raises(SettingError, match="one free parameter, got 'speed'; free are thickness, B:Mg1"):
        refine(noisy, MGO, replace(options, profile="speed"))


# -- bad input --------------------------------------------------------------------------------------
def test_stacks_that_do_not_go_together(two: list[Measured]) -> None:
    with pytest.raises(SettingError, match="no stack"):
        checked_stacks([], MGO)
    with pytest.raises(SettingError, match="image 0,0,0 of stack 2 is image 0,0,0 of stack 1 again"):
        checked_stacks([two[0], two[0]], MGO)
    turned = replace(two[0], images=two[0].images[:, ::-1])
    with pytest.raises(SettingError, match="would count twice"):
        checked_stacks([two[0], turned], MGO)
    with pytest.raises(SettingError, match=r"stack 2: .*Laue zone"):
        checked_stacks([two[0], replace(two[1], frame=two[0].frame)], MGO)
    other = experiment_of(np.random.default_rng(0).random((len(HKL), 8, 8)))
    with pytest.raises(
        SettingError, match=r"stack 2: it was imported as .* with the cell 5\.65.* the crystal is MgO"
    ):
        checked_stacks([two[0], other], MGO)
    with pytest.raises(SettingError, match="stack 2: no measured image has any contrast"):
        checked_stacks([two[0], replace(two[1], images=0.0 * two[1].images)], MGO)


def test_the_command_refines_stacks_together(lacbed: Any, tmp_path: Path) -> None:
    free = ("--free", "thickness,B", "-t", "460", "--beams", "30", "--absorption", "none", "--align", "none")
    quick = (*free, "--starts", "1", "--steps", "3")
    for name, x in (("a", 0.0), ("b", 0.01)):
        counts = 1e3 * exact_stack(absorption=None, beams=30, center=(x, 0.0), finer=1)[1:4, 5:17, 5:17]
        half = HALF_WIDTH * 12 / 22
        write_folder(tmp_path / name, pattern_to_images(counts, "-x+y"), HKL[1:4], half_width_inv_A=half)
    code, out, err = lacbed("refine", "a", "b", "GaAs", *quick, "--profile", "B:Ga1", "-o", "out", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [row["stack"] for row in found["reflections"]] == [1, 1, 1, 2, 2, 2]
    assert {"thickness@1", "thickness@2", "B:Ga1", "B:As2"} == set(found["free"])
    assert found["profile"]["low"] < found["profile"]["best"] < found["profile"]["high"]
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"comparison-1.png", "comparison-2.png", "simulated-2.nc", "profile.png"} <= files
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    for words in ("## Stacks", "## Likelihood of B:Ga1", "thickness of stack 2", "Stack 2: "):
        assert words in text
    for words, expected in (
        (("a", "a", "GaAs"), "would count twice"),
        (("a", "b", "GaAs", "--profile", "speed"), "got 'speed'; free are thickness@1"),
        (("a", "b", "GaAs", "--free", "cell,strain"), "free one of them"),
        (("a", "b", "GaAs", "--free", "strain:44"), "no 'strain:44'"),
        (("a", "b", "GaAs", "--prior", "strain=0"), "prior of strain must be wider than 0"),
        (("a", "missing", "GaAs"), "missing"),
    ):
        code, out, err = lacbed("refine", *words, *(quick if "--free" not in words else ()), "-o", "no")
        assert (code, out) == (2, ""), words
        assert expected in err
        assert err.count("\n") == 1
        assert not (tmp_path / "no").exists()
