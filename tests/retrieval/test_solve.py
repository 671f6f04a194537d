"""Solving a stack: laws of the forward model first, then a search in a small simulated stack, then bad input."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lacbed
from lacbed.constants import relativistic_gamma
from lacbed.errors import LacbedError, SettingError
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.experiment.experiment import Experiment
from lacbed.potential import structure_factors
from lacbed.retrieval import points as points_room
from lacbed.retrieval import search as search_room
from lacbed.retrieval import solve as solve_room
from lacbed.retrieval import solve_files
from lacbed.retrieval.candidates import crystals_of
from lacbed.retrieval.columns import ColumnModel, Columns, columns_of, form_factor, potential_of
from lacbed.retrieval.comparison import Comparison, begin, follow
from lacbed.retrieval.elements import Guess, by_element, guesses
from lacbed.retrieval.labels import without_wrong, wrong_labels
from lacbed.retrieval.plane_group import lattice_operations, operations_of_potential, plane_group
from lacbed.retrieval.points import Points, lattice_points, make_points
from lacbed.retrieval.projection_cell import projected_cell
from lacbed.retrieval.search import Search, SearchState, correlation
from lacbed.retrieval.solution import SolveOptions
from lacbed.retrieval.solve import assignments, solve_structure
from lacbed.scattering import elastic_factor

MGO = 4.211
TWO = Columns(np.array([[0.0, 0.0], [0.31, 0.54]]), np.array([0.08, 0.05]), np.array([0.1, -0.2]), 420.0, 0.03)


@pytest.fixture(scope="module")
def stack() -> Experiment:
    """MgO along [110], 8 reflections of 28 x 28 pixels."""
    crystal = lacbed.Crystal.named("MgO")
    hkl = [(0, 0, 0), (0, 0, 2), (0, 0, -2), (1, -1, 1), (-1, 1, 1), (1, -1, -1), (2, -2, 0), (-2, 2, 0)]
    pattern = lacbed.simulate(
        crystal,
        (1, 1, 0),
        200e3,
        (450.0,),
        lacbed.TiltGrid(28, k_max=0.75),
        hkl,
        x_direction=(0, 0, 1),
        absorption=("proportional", 4.0),
        beams=60,
    )
    images = np.random.default_rng(0).poisson(1000 * pattern.values[0] + 5)[:, ::-1]
    return make_experiment(images, hkl, Geometry(200e3, (1, 1, 0), (0, 0, 1), 0.75))


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer draws and beams than a search of an unknown stack needs."""
    monkeypatch.setattr(search_room, "DRAWS", 32)
    monkeypatch.setattr(points_room, "FEWEST_BEAMS", 40)
    monkeypatch.setattr(points_room, "ALL_BEAMS", 80)
    monkeypatch.setattr(search_room, "VARIED", 2)
    monkeypatch.setattr(search_room, "FOLLOWED", (4, 2))
    monkeypatch.setattr(solve_room, "RIVALS", 1)


@pytest.fixture(scope="module")
def points(stack: Experiment) -> Points:
    cell = projected_cell(stack, [MGO])
    return make_points(stack, cell.basis, cell.indices, reach=1.0)


# -- laws -------------------------------------------------------------------------------------------
def test_without_a_foil_nothing_is_diffracted(points: Points) -> None:
    found = ColumnModel(points, single=False).intensities(replace(TWO, thickness=1e-9))
    direct = points.pairs[1] == points.pairs[2]
    assert found[direct] == pytest.approx(1.0)
    assert found[~direct] == pytest.approx(0.0, abs=1e-12)


def test_a_shift_of_all_columns_changes_nothing(points: Points) -> None:
    model = ColumnModel(points, single=False)
    moved = replace(TWO, places=TWO.places + np.array([0.17, 0.41]))
    assert model.intensities(moved) == pytest.approx(model.intensities(TWO), abs=1e-9)


def test_absorption_takes_from_every_image(points: Points) -> None:
    model = ColumnModel(points, single=False)
    bright = points.pairs[1] == points.pairs[2]
    assert model.intensities(TWO)[bright].sum() < model.intensities(replace(TWO, alpha=0.0))[bright].sum()


@pytest.mark.parametrize(("alpha", "blur"), [(0.0, 0.0), (0.0, 0.3), (0.05, 0.3)])
def test_slopes_are_those_of_the_intensities(points: Points, alpha: float, blur: float) -> None:
    model = ColumnModel(points, single=False)
    at = replace(TWO, alpha=alpha, blur=blur).vector()
    _, slopes = model.with_slopes(columns_of(at))
    for i in range(len(at) - (blur == 0.0)):  # blur has no slope on both sides of none
        step = 1e-6 * np.eye(len(at))[i]
        rise, fall = (model.intensities(columns_of(at + s * step)) for s in (1, -1))
        wanted = (rise - fall) / 2e-6
        assert np.abs(wanted).max() > 1e-3
        assert slopes[i] == pytest.approx(wanted, abs=2e-3 * float(np.abs(wanted).max())), i


@pytest.mark.parametrize(("thickness", "worst"), [(150.0, 0.01), (420.0, 0.025), (900.0, 0.05)])
def test_blur_is_the_mean_over_tilts(points: Points, thickness: float, worst: float) -> None:
    """Against the mean of many foils that are tilted by as much, each with waves of its own."""
    sharp = replace(TWO, thickness=thickness, blur=0.0)
    blurred = ColumnModel(points, single=False).intensities(replace(sharp, blur=0.2))
    x, weight = np.polynomial.hermite_e.hermegauss(9)
    sigma, total = math.sqrt(0.2) * points.pixel, np.zeros(len(points))
    for i, u in enumerate(x):
        for j, v in enumerate(x):
            moved = replace(points, reduced=points.reduced + sigma * np.array([u, v]))
            found = ColumnModel(moved, single=False).intensities(sharp)
            total += weight[i] * weight[j] * found / weight.sum() ** 2
    plain = ColumnModel(points, single=False).intensities(sharp)
    off = float(np.sqrt(np.mean(np.square(blurred - total))))
    assert off < worst
    assert off < 0.35 * float(np.sqrt(np.mean(np.square(plain - total))))


def test_far_beams_that_are_folded_in_count_nearly_as_near_ones(points: Points) -> None:
    few = replace(TWO, alpha=0.0, blur=0.0)
    every = np.concatenate([points.beams, points.far])
    whole = ColumnModel(replace(points, beams=every, far=every[:0]), single=False).intensities(few)
    folded = ColumnModel(points, single=False).intensities(few)
    without = ColumnModel(replace(points, far=every[:0]), single=False).intensities(few)
    assert len(points.far) > len(points.beams)
    off, before = (float(np.sqrt(np.mean(np.square(v - whole)))) for v in (folded, without))
    assert off < 0.5 * before


def test_the_model_is_that_of_the_simulation(stack: Experiment, points: Points) -> None:
    """The true potential, written as two columns, leaves less of the contrast than the noise of shapes."""
    cell = projected_cell(stack, [MGO])
    crystal = lacbed.Crystal.named("MgO")
    orders = lattice_points(cell.basis, 1.6)
    true = structure_factors(crystal, orders @ cell.hkl, "kirkland").numpy()
    comparison = Comparison(ColumnModel(points))
    start = Columns(np.array([[0.0, 0.0], [0.5, 0.5]]), np.array([0.06, 0.03]), np.zeros(2), 450.0)
    end = follow(comparison, begin(start), 25, losses=True)
    found = potential_of(end.columns, orders, cell.basis).sum(axis=0)
    assert correlation(true[1:], found[1:], orders[1:]) > 0.98
    assert end.residual < 0.25
    assert end.columns.thickness == pytest.approx(450.0, rel=0.05)


def test_a_scale_and_a_background_of_every_image_change_nothing(stack: Experiment, points: Points) -> None:
    scale = np.linspace(0.5, 1.5, points.images)[points.pairs[3]]
    changed = replace(points, target=points.target * scale + 0.1 * scale, weight=points.weight / scale)
    plain, other = (Comparison(ColumnModel(p)).residual(TWO) for p in (points, changed))
    assert other == pytest.approx(plain, rel=1e-5)


def test_a_wrong_label_is_named(stack: Experiment) -> None:
    images = stack.images.copy()
    images[[1, 5]] = images[[5, 1]]  # 002 and 1-1-1
    images[:, 9, 13] = 50 * np.nanmax(images)  # and a hot pixel
    swapped = Experiment(stack.pattern.copy(data=images[None]))
    cell = projected_cell(swapped, [MGO], 225)
    start = Columns(np.array([[0.0, 0.0], [0.5, 0.5]]), np.array([0.06, 0.03]), np.zeros(2), 450.0)
    points = make_points(swapped, cell.basis, cell.indices)
    found = follow(Comparison(ColumnModel(points)), begin(start), 25, losses=True).columns
    wrong = wrong_labels(swapped, cell, found, 4)
    assert {(w.image, w.other) for w in wrong} == {(1, 5), (5, 1)}
    rest, smaller, notes = without_wrong(swapped, cell, wrong)
    assert len(rest.hkl) == len(smaller.indices) == len(stack.hkl) - 2
    assert "0,0,2 looks like 1,-1,-1" in notes[0]
    assert wrong_labels(rest, smaller, found, 4) == ()


# -- what is made of columns --------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("edges", "places", "strength", "name"),
    [
        (np.diag([4.0, 4.0]), [[0, 0], [0.5, 0.5]], [1.0, 0.5], "p4mm"),
        (np.diag([4.0, 5.0]), [[0, 0], [0.5, 0.5]], [1.0, 0.5], "p2mm"),
        (np.diag([4.0, 5.0]), [[0, 0], [0.2, 0.1], [0.2, 0.9]], [1.0, 0.5, 0.5], "pm"),
        (np.diag([4.0, 5.0]), [[0, 0], [0.21, 0.13]], [1.0, 0.6], "p1"),
        (np.diag([4.0, 5.0]), [[0.11, 0.14], [0.89, 0.86]], [1.0, 1.0], "p2"),
        (np.diag([4.0, 5.0]), [[0.1, 0.1], [0.6, 0.9], [0.2, 0.2], [0.7, 0.8]], [1.0, 1.0, 0.4, 0.4], "pg"),
        (np.array([[2.0, 2.0], [-1.5, 1.5]]), [[0, 0], [0.26, 0.26]], [1.0, 0.3], "cm"),
        (np.array([[2.0, 2.0], [-1.5, 1.5]]), [[0, 0], [0.5, 0.5]], [1.0, 0.5], "c2mm"),
        (np.array([[3.0, -1.5], [0, 1.5 * 3**0.5]]), [[0, 0]], [1.0], "p6mm"),
        (np.array([[3.0, -1.5], [0, 1.5 * 3**0.5]]), [[0, 0], [1 / 3, 2 / 3]], [1.0, 0.3], "p3m1"),
    ],
)
def test_plane_groups(edges: np.ndarray, places: list[list[float]], strength: list[float], name: str) -> None:
    basis = np.linalg.inv(edges).T
    orders = lattice_points(basis, 1.8)[1:]
    columns = Columns(np.array(places, dtype=float), 0.1 * np.array(strength), np.zeros(len(places)), 500.0)
    potential = potential_of(columns, orders, basis).sum(axis=0)
    operations = operations_of_potential(potential, orders, edges)
    assert len(operations) == len(lattice_operations(edges))
    assert plane_group(operations, edges) == name


def test_light_and_heavy_elements_are_told_apart(stack: Experiment) -> None:
    """Columns of one silicon or one tin atom, with their potentials as the tables have them."""
    cell = projected_cell(stack, [MGO])
    g = np.array([0.35, 0.7, 1.05, 1.4])
    for element in ("Si", "Sn"):
        f = elastic_factor(element, torch.as_tensor(0.5 * g)).numpy() * np.exp(-0.125 * g**2)
        U = relativistic_gamma(200e3) / (math.pi * cell.volume) * f
        slope, height = np.polyfit(-0.25 * g**2, np.log(U / form_factor(g)), 1)
        column = Columns(np.zeros((1, 2)), np.array([math.exp(height)]), np.array([slope]), 500.0)
        (row,) = guesses(column, cell.volume, cell.period, 200e3, ("Ga", "As", "Ge", "Sn", "Si", "Se"))
        assert by_element(row)[0][0] == element
        assert sum(g.probability for g in row) == pytest.approx(1.0, abs=0.02)


def test_zinc_blende_is_found_from_its_columns() -> None:
    images = np.random.default_rng(0).poisson(50, (2, 16, 16))
    e = make_experiment(images, [(0, 0, 0), (1, -1, 1)], Geometry(200e3, (1, 1, 0), (0, 0, 1), 0.9))
    cell = projected_cell(e, [5.65], 216)
    true = lacbed.Crystal.named("GaAs")
    places = np.unique(np.round((true.atoms.xyz @ cell.hkl.T) % 1.0, 6) % 1.0, axis=0)
    first, second = Guess("Ga", 1, 0.5, 1.0), Guess("As", 1, 0.5, 1.0)
    found = crystals_of(cell, places - places[0] + 0.004, (first, second), [216])
    assert found
    assert found[0].formula in ("GaAs", "AsGa")
    assert len(found[0].atoms) == 8
    distance = np.linalg.norm((found[0].sites[0].xyz - np.array(found[0].sites[1].xyz)) * 5.65 % 5.65)
    assert distance > 2.0
    assert assignments(places, ((first,), (second,)), []) == [(first, second)]


# -- the search ---------------------------------------------------------------------------------------
def test_a_small_stack_is_solved(stack: Experiment, tmp_path: Path) -> None:
    options = SolveOptions((2, 2), (300.0, 700.0), ("Mg", "O"), 225, refined=0, seed=1)
    states: list[SearchState] = []
    solution = solve_structure(stack, [MGO], options, on_checkpoint=states.append)
    assert solution.thickness == pytest.approx(450.0, rel=0.05)
    assert solution.solved, solution.notes
    assert solution.plane_group == "c2mm"
    apart = solution.best.columns.places[1] - [0.5, 0.5]
    assert np.abs(apart).max() < 0.02
    mark = solve_files.fingerprint(stack, (MGO,), options)
    out = tmp_path / "solved"
    out.mkdir()
    solve_files.save_state(out, states[0], mark)
    resumed = solve_structure(stack, [MGO], options, resume=solve_files.load_state(out, mark))
    assert resumed.best.columns.vector() == pytest.approx(solution.best.columns.vector(), abs=1e-9)
    written = {p.name for p in solve_files.write_solution(solution, out, "MgO")}
    assert {"map.nc", "columns.csv", "report.html", "solution.json"} <= written
    numbers = json.loads((out / "solution.json").read_text("utf-8"))
    assert numbers["solved"]
    assert len(numbers["columns"]) == 2


def test_noise_is_not_solved() -> None:
    random = np.random.default_rng(3)
    hkl = [(0, 0, 0), (0, 0, 2), (0, 0, -2), (1, -1, 1), (-1, 1, 1)]
    e = make_experiment(random.poisson(100, (5, 24, 24)), hkl, Geometry(200e3, (1, 1, 0), (0, 0, 1), 0.75))
    cell = projected_cell(replace_lines(e), [MGO], 225)
    search = Search(
        Comparison(ColumnModel(make_points(e, cell.basis, cell.indices, reach=0.9))), (2, 2), (300, 500)
    )
    state = search.round(SearchState(), lambda: False, lambda _: None)
    assert not search.finished(search.round(state, lambda: False, lambda _: None))


def replace_lines(e: Experiment) -> Experiment:
    """Two images of noise alone: too few for their Bragg lines to be checked."""
    return e.select([(0, 0, 0), (0, 0, 2)])


def test_ctrl_c_ends_with_the_best_so_far(stack: Experiment) -> None:
    def stop(_what: str, _fraction: float, state: SearchState) -> None:
        if state.round == 1:
            stopped.append(state)
            if len(stopped) == 1:
                raise KeyboardInterrupt

    stopped: list[SearchState] = []
    found = solve_structure(
        stack, [MGO], SolveOptions((2, 2), (300.0, 700.0), refined=0, seed=1), on_progress=stop
    )
    assert "stopped" in found.notes
    assert found.search.trials


# -- bad input ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("cell", "options", "message"),
    [
        ([42.11], {}, "too large for a search|Bragg lines"),
        ([0.6], {}, "Brillouin zones|can be seen"),
        ([6.5], {}, "Bragg lines of the cell"),
        ([4.2, 4.2], {}, "six numbers"),
        ([4.2, 4.2, 4.2, 90, 90, 179], {}, "lattice planes only"),
        ([MGO], {"space_group": 229}, "no points of the lattice"),
        ([4.2, 4.3, 4.4, 90, 90, 90], {"space_group": 225}, "metric"),
    ],
)
def test_impossible_problems_are_refused(
    stack: Experiment, cell: list[float], options: dict[str, object], message: str
) -> None:
    with pytest.raises(LacbedError, match=message) as error:
        solve_structure(stack, cell, SolveOptions(seconds=1e-3, **options))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_too_few_data_for_the_columns_are_refused(stack: Experiment) -> None:
    with pytest.raises(SettingError, match="too few for 24 columns, which need 495; ask for at most"):
        solve_structure(stack.select([(0, 0, 0)]), [MGO], SolveOptions((1, 24), space_group=225, seconds=1e-3))


@pytest.mark.parametrize(
    "options",
    [
        {"thickness": (500.0, 500.0)},
        {"thickness": (500.0, 200.0)},
        {"thickness": (0.0, 200.0)},
        {"thickness": (math.nan, 200.0)},
        {"columns": (3, 2)},
        {"columns": (0, 2)},
        {"columns": (1, 1000)},
        {"elements": ("ga",)},
        {"space_group": 231},
        {"seconds": 0.0},
        {"seed": -1},
    ],
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        SolveOptions(**options)  # type: ignore[arg-type]
