"""Patterns within a tolerance, compared with exact solvers and many more beams."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import copy
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pytest
import torch

from lacbed import Crystal, Site, TiltGrid, Zone, simulate
from lacbed.engine import propagate
from lacbed.engine.interpolate import ORDER, differences, doubt, mend
from lacbed.engine.model import polynomial
from lacbed.engine.orbits import find_orbits, plane_operations, smallest_wedge
from lacbed.engine.potential import zone_potential
from lacbed.engine.request import Request
from lacbed.errors import FileFormatError, LacbedError, SettingError
from lacbed.geometry.frame import make_frame
from lacbed.geometry.interpolation import node_lattice
from lacbed.io.tensors import write_tensors

TRICLINIC = Crystal.build(
    "oblique",
    (4.1, 4.9, 5.3, 83.0, 97.0, 104.0),
    1,
    (Site("Ti1", "Ti", (0.0, 0.0, 0.0), u_iso=0.005), Site("O1", "O", (0.31, 0.42, 0.17), u_iso=0.008)),
)

HARD: dict[str, tuple[str | Crystal, tuple[int, int, int], float, Any, tuple[tuple[int, int, int], ...]]] = {
    "no centre, absorbing": ("GaAs", (1, 1, 0), 200e3, "thomas", ((0, 0, 0), (0, 0, 2), (1, -1, 1), (-1, 1, -1))),
    "bound states": ("UO2", (0, 0, 1), 300e3, "thomas", ((0, 0, 0), (2, 0, 0))),
    "heavy, slow electrons": ("Au", (1, 1, 0), 60e3, None, ((0, 0, 0), (1, -1, 1))),
    "hexagonal, glides": ("GaN", (1, 0, 0), 100e3, ("proportional", 8.0), ((0, 0, 0), (0, 0, 2), (0, 1, 1))),
    "threefold, screws": ("SiO2", (0, 0, 1), 200e3, None, ((0, 0, 0), (1, 0, 0), (-1, 1, 0))),
    "no symmetry": (TRICLINIC, (1, 0, 1), 120e3, "thomas", ((0, 0, 0), (1, 1, -1), (-1, -1, 1), (0, 2, 0))),
}


def _exact(crystal: Crystal, zone: tuple[int, int, int], g_max: float, **asked: object) -> np.ndarray:
    found = simulate(crystal, zone, g_max=g_max, output="amplitude", device="cpu", **asked)  # type: ignore[arg-type]
    return np.asarray(found.values)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [*((name, 1e-3) for name in HARD), ("bound states", 1e-2), ("heavy, slow electrons", 1e-4)],
)
def test_hard_cases_stay_within_the_tolerance(name: str, tolerance: float) -> None:
    given, zone, energy, absorption, hkl = HARD[name]
    crystal = given if isinstance(given, Crystal) else Crystal.named(given)
    grid = TiltGrid(2, semi_angle=14.0, center=(3.0, 1.0))
    asked = {"energy": energy, "thicknesses": (80.0, 190.0), "grid": grid, "hkl": hkl, "absorption": absorption}
    exact = _exact(crystal, zone, 8.0 if given in ("Au", "UO2") else 5.0, **asked)
    found = simulate(crystal, zone, tolerance=tolerance, **asked)
    worst = float(np.abs(found.values - np.abs(exact) ** 2).max())
    assert worst <= tolerance
    assert found.attrs["error_estimate"] <= tolerance
    assert worst <= 3.0 * found.attrs["error_estimate"] + 3e-5
    assert found.attrs["tolerance"] == tolerance


def test_many_tilts_are_interpolated_and_phases_are_right() -> None:
    crystal, zone, hkl = Crystal.named("GaAs"), (1, 1, 0), ((0, 0, 0), (1, -1, 1), (0, 0, 2))
    grid = TiltGrid(61, semi_angle=9.0, shape="disc")
    solved = Zone(crystal, zone, absorption="thomas", tolerance=1e-3)
    found = solved.pattern((300.0,), grid, hkl, output="amplitude")
    assert "interpolated" in found.attrs["notes"][-1]
    few = TiltGrid(1, k_max=1e-6, center=(float(found.kx[41]), float(found.ky[22])))
    exact = _exact(crystal, zone, 5.5, thicknesses=(300.0,), grid=few, hkl=hkl, absorption="thomas")
    assert np.abs(found.values[0, :, 22, 41] - exact[0, :, 0, 0]).max() < 1e-3
    assert np.isnan(found.values[0, 0, 0, 0])


@pytest.mark.parametrize("absorption", [None, "thomas"])
def test_what_a_zone_gives_later_is_what_it_gives_at_once(absorption: Any) -> None:
    crystal, grid = Crystal.named("SrTiO3"), TiltGrid(8, extent=1.0)
    zone = Zone(crystal, (0, 0, 1), absorption=absorption, tolerance=1e-3)
    zone.pattern((400.0,), grid, ((0, 0, 0), (2, 0, 0)))
    waves = zone.waves
    later = zone.pattern((150.0, 250.0), grid, ((1, 0, 0),))
    assert zone.waves == waves
    fresh = simulate(
        crystal, thicknesses=(150.0, 250.0), grid=grid, hkl=((1, 0, 0),), absorption=absorption, tolerance=1e-3
    )
    assert np.abs(later.values - fresh.values).max() < 2e-3
    assert later.attrs["error_estimate"] <= 1e-3


@pytest.mark.parametrize(
    ("crystal", "absorption", "paraxial"),
    [("MgO", None, True), ("MgO", "thomas", True), ("GaAs", "thomas", True), ("GaAs", "thomas", False)],
)
def test_further_thicknesses_take_no_diagonalisation(
    crystal: str, absorption: Any, paraxial: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = TiltGrid(16, semi_angle=8.0)
    zone = Zone(Crystal.named(crystal), (0, 1, 1), absorption=absorption, paraxial=paraxial, tolerance=1e-3)
    first = zone.pattern((500.0,), grid)
    if absorption is not None:  # first by exponentials, then by eigenvectors
        zone.pattern((400.0,), grid)
    zone.save(tmp_path / "solved.zone")
    monkeypatch.setattr("lacbed.engine.propagate.polynomial", _only_beams(zone.waves))
    for held in (zone, Zone.load(tmp_path / "solved.zone")):
        later = held.pattern((300.0, 450.0, 500.0), grid, ((0, 0, 0), (2, 0, 0)))
        assert np.abs(later.values[2, 0] - first.values[0, 0]).max() < 2e-4


@pytest.mark.parametrize("absorption", [None, "thomas"])
def test_waves_that_are_chosen_for_a_series_serve_all_of_it(
    absorption: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crystal, grid, thick = Crystal.named("GaAs"), TiltGrid(24, semi_angle=8.0), (250.0, 700.0, 1000.0)
    zone = Zone(crystal, (1, 1, 0), absorption=absorption, tolerance=1e-3, thickest=1000.0)
    zone.pattern((300.0,), grid)
    zone.save(tmp_path / "a.zone")
    fresh = Zone(crystal, (1, 1, 0), absorption=absorption, tolerance=1e-3).pattern(thick, grid)

    def anew(*_: Any) -> None:
        raise AssertionError("waves are chosen anew")

    monkeypatch.setattr("lacbed.engine.adaptive.solve_basis", anew)
    found = zone.pattern(thick, grid)
    assert found.attrs["error_estimate"] <= 1e-3
    assert np.abs(found.values - fresh.values).max() < 2e-3
    np.testing.assert_allclose(Zone.load(tmp_path / "a.zone").pattern(thick, grid), found, atol=1e-6)
    first, second = (copy(zone).pattern((t,), grid).values for t in (700.0, 650.0))
    np.testing.assert_array_equal(copy(zone).pattern((650.0,), grid).values, second)
    np.testing.assert_array_equal(copy(zone).pattern((700.0,), grid).values, first)
    with pytest.raises(AssertionError, match="anew"):
        zone.pattern((3000.0,), grid)


@pytest.mark.parametrize("thickest", [0.0, -5.0, math.nan, math.inf])
def test_a_series_has_a_largest_thickness(thickest: float) -> None:
    with pytest.raises(SettingError, match="thickest"):
        Zone(Crystal.named("Si"), thickest=thickest)


def test_who_gives_up_waits_for_no_matrices_that_were_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, begun, told = TiltGrid(64, semi_angle=9.0), [0], [0]
    solved = propagate._solve_diagonal

    def counted(*args: Any) -> None:
        begun[0] += 1
        sleep(0.01)  # so that many wait for their turn
        solved(*args)

    def give_up(fraction: float) -> None:
        if fraction > 0.3:  # at the nodes
            told[0] = begun[0]
            raise KeyboardInterrupt

    monkeypatch.setattr(propagate, "_solve_diagonal", counted)
    monkeypatch.setattr(propagate, "_BYTES", 2**18)
    Zone(Crystal.named("MgO"), (0, 1, 1)).pattern((800.0,), grid)
    whole, begun[0] = begun[0], 0
    with pytest.raises(KeyboardInterrupt):
        Zone(Crystal.named("MgO"), (0, 1, 1)).pattern((800.0,), grid, progress=give_up)
    assert begun[0] <= told[0] + torch.get_num_threads() + 1 < whole


@pytest.mark.parametrize("turn", [0.3, 0.5, 0.8, 0.95])
def test_what_interpolation_misses_is_known(turn: float) -> None:
    """A wave of a phase of `turn` times π per node along x, whose interpolation errs most between nodes."""
    lattice = np.array([[1.0, 0.0], [0.0, 1.0]])
    tilts = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 2))
    nodes = node_lattice(lattice, tilts, (40, 40), ORDER, None)
    wave = lambda at: np.exp(1j * math.pi * turn * 40.0 * at[:, 0])[None, None]  # noqa: E731
    stencil = nodes.stencil(tilts, ORDER)
    found = stencil.matrix(stencil.weights, len(nodes.tilts)) @ wave(nodes.tilts)[0, 0]
    wrong, told = 2.0 * np.abs(found - wave(tilts)[0, 0]), doubt(nodes, wave(nodes.tilts), tilts)
    assert 0.4 <= (told / wrong).min() <= (told / wrong).max() <= 2.0
    assert doubt(nodes, np.ones((1, 1, len(nodes.tilts)), dtype=complex), tilts).max() < 1e-5


def test_what_interpolation_misses_beside_a_line_is_known() -> None:
    """A narrow line on a smooth wave: the modulus changes from node to node."""
    tilts = np.random.default_rng(0).uniform(-0.2, 0.2, (2000, 2))
    nodes = node_lattice(np.eye(2), tilts, (40, 40), ORDER, None)

    def wave(at: np.ndarray) -> np.ndarray:
        x, y = 40.0 * at.T
        line = 0.3 * np.exp(1j * math.pi * 0.7 * x - (x / 3.0) ** 2)
        return np.asarray(np.exp(0.4j * (x + y)) + line)[None, None]

    stencil = nodes.stencil(tilts, ORDER)
    found = stencil.matrix(stencil.weights, len(nodes.tilts)) @ wave(nodes.tilts)[0, 0]
    wrong = np.abs(np.abs(found) ** 2 - np.abs(wave(tilts)[0, 0]) ** 2)
    told, worst = doubt(nodes, wave(nodes.tilts), tilts), np.argsort(wrong)[-300:]
    assert (told[worst] / wrong[worst]).min() > 0.4
    assert wrong[np.argsort(told)[:1000]].max() < 0.7 * wrong.max()


def test_what_is_off_most_is_put_right() -> None:
    truth = np.random.default_rng(0).uniform(0.0, 1.0, (2, 3, 500))
    wrong = np.where(np.arange(500) % 50 == 7, 0.2, 1e-3)
    values, solved = truth + wrong, []

    def solve(some: np.ndarray) -> np.ndarray:
        solved.extend(some)
        return np.asarray(truth[:, :, some])

    known = np.array([0.3, 2e-3])
    left = mend(values, np.concatenate([wrong, [0.15, 1e-3]]), known, solve, 4, 200, 0.01)
    assert differences(values, truth).max() < 0.01
    assert left < 0.01, "the check that is off by 0.3 is more doubtful than all that is left"
    assert len(solved) < 60
    assert mend(values, np.full(502, 1e-3), 0.01 * known, solve, 4, 200, 0.01) == pytest.approx(3e-3)
    assert len(solved) < 60, "nothing is doubtful any more"


def _only_beams(waves: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    def checked(coefficients: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        assert coefficients.shape[1:] != (waves, waves), "a matrix is made, to be diagonalised"
        return polynomial(coefficients, q)

    return checked


def test_flux_is_conserved_without_absorption() -> None:
    zone = Zone(Crystal.named("Cu"), (1, 1, 1), 100e3, tolerance=1e-3)
    pattern = zone.pattern((350.0,), TiltGrid(5, semi_angle=12.0), ("all", 3.2))
    assert np.abs(pattern.values.sum(axis=1) - 1.0).max() < 3e-3


def test_a_zone_refuses_reflections_of_other_laue_zones() -> None:
    zone = Zone(Crystal.named("Si"), (0, 0, 1), laue_zones=1, tolerance=1e-2)
    with pytest.raises(SettingError, match=r"own Laue zone, which \(1, 1, 1\) is not"):
        zone.pattern((300.0,), TiltGrid(4, semi_angle=4.0), ((0, 0, 0), (1, 1, 1)))


def test_a_zone_reaches_further_when_asked() -> None:
    zone = Zone(Crystal.named("Al"), tolerance=1e-2)
    near = zone.pattern((300.0,), TiltGrid(4, semi_angle=4.0))
    far = zone.pattern((300.0,), TiltGrid(4, semi_angle=20.0), ((2, 2, 0),))
    again = zone.pattern((300.0,), TiltGrid(4, semi_angle=4.0))
    assert far.attrs["error_estimate"] <= 1e-2
    assert np.abs(near.values - again.values).max() < 1e-2


def test_progress_grows_to_the_end() -> None:
    seen: list[float] = []
    Zone(Crystal.named("Si"), (1, 1, 0), tolerance=1e-2).pattern(
        (300.0,), TiltGrid(32, semi_angle=8.0), progress=seen.append
    )
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_the_potential_acts_like_its_matrix() -> None:
    crystal = Crystal.named("GaAs")
    potential = zone_potential(
        crystal, make_frame(crystal, (1, 1, 0)), 200e3, "kirkland", "thomas", 1.6, np.zeros(2)
    )
    count = len(potential.places)
    matrix = potential.matrix(count) + torch.diag(potential.size).to(potential.elastic.dtype)
    waves = torch.randn(count, 5, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(potential.apply(potential.elastic, waves), matrix @ waves, atol=1e-12)
    assert torch.allclose(
        potential.apply(potential.elastic, waves[3:7], 3), matrix[:, 3:7] @ waves[3:7], atol=1e-12
    )
    real = waves.real.contiguous()
    centred = Crystal.named("Si")
    even = zone_potential(centred, make_frame(centred, (1, 1, 0)), 200e3, "kirkland", None, 1.6, np.zeros(2))
    assert not even.elastic.is_complex()
    count = len(even.places)
    full = even.matrix(count) + torch.diag(even.size)
    assert torch.allclose(even.apply(even.elastic, real[:count]), full @ real[:count], atol=1e-12)


@pytest.mark.parametrize(("name", "zone"), [("GaAs", (1, 1, 1)), ("SiO2", (0, 0, 1)), ("Si", (1, 1, 0))])
def test_orbits_take_every_tilt_to_its_matrix(name: str, zone: tuple[int, int, int]) -> None:
    crystal = Crystal.named(name)
    frame = make_frame(crystal, zone)
    potential = zone_potential(crystal, frame, 200e3, "kirkland", None, 1.0, np.zeros(2))
    operations = plane_operations(crystal, frame, potential.basis)
    tilts = np.random.default_rng(0).uniform(-0.5, 0.5, (40, 2))
    tilts = np.concatenate([tilts, tilts + potential.lattice[0] - 2 * potential.lattice[1]])
    wedge = smallest_wedge(potential.lattice, operations)
    orbits = find_orbits(tilts, potential.lattice, operations, wedge.ahead)
    assert len(orbits.points) == 40
    # A sample of the zone sets the radius; its points lie a twentieth of the zone apart.
    apart = 0.05 * float(np.linalg.norm(potential.lattice, axis=1).max())
    assert np.linalg.norm(orbits.points - wedge.centre, axis=1).max() <= wedge.radius + apart
    inverse = np.linalg.inv(potential.lattice)
    for tilt in range(len(tilts)):
        operation = operations[orbits.operation[tilt]]
        rest = tilts[tilt] @ inverse - orbits.anchor[tilt]
        image = (-rest if operation.swaps else rest) @ operation.turn - orbits.move[tilt]
        assert np.allclose(image @ potential.lattice, orbits.points[orbits.matrix[tilt]], atol=1e-7)


def test_polynomials_are_interpolated_exactly() -> None:
    tilts = np.random.default_rng(1).uniform(-1.0, 1.0, (30, 2))
    nodes = node_lattice(np.array([[0.5, -0.1], [0.1, 0.7]]), tilts, (6, 9), ORDER, None)
    stencil = nodes.stencil(tilts, ORDER)
    assert len(np.unique(stencil.index)) == len(nodes.tilts)  # none in vain

    def function(k: np.ndarray) -> np.ndarray:
        return np.asarray(1.0 + k[:, 0] ** 3 * k[:, 1] - 2.0 * k[:, 1] ** 4)

    found = stencil.matrix(stencil.weights, len(nodes.tilts)) @ function(nodes.tilts)
    np.testing.assert_allclose(found, function(tilts), atol=1e-9)


@pytest.mark.parametrize("tolerance", [float("nan"), -1e-3, 0.6, float("inf"), "1e-3", True])
def test_impossible_tolerances_are_refused(tolerance: object) -> None:
    with pytest.raises(SettingError, match=r"tolerance must be a number from 0 to 0\.5"):
        simulate(Crystal.named("Si"), tolerance=tolerance)  # type: ignore[arg-type]


def test_what_a_zone_does_not_cover_is_refused_or_solved_exactly() -> None:
    silicon, grid = Crystal.named("Si"), TiltGrid(3, semi_angle=5.0)
    with pytest.raises(SettingError, match="a tolerance above 0"):
        Zone(silicon, tolerance=0.0)
    with pytest.raises(SettingError, match="tolerance chooses the beams"):
        simulate(silicon, tolerance=1e-3, beams=40)
    with pytest.raises(LacbedError, match="multislice"):
        simulate(silicon, tolerance=1e-3, solver="multislice")
    found = simulate(silicon, (1, 1, 0), thicknesses=(200.0,), grid=grid, weak_beams=10, tolerance=2e-2)
    assert found.attrs["error_estimate"] <= 2e-2
    assert found.attrs["solver"] != "fast"
    assert "exact solver" in found.attrs["notes"][-1]


def test_tolerance_zero_is_the_exact_way() -> None:
    asked = {"thicknesses": (200.0,), "grid": TiltGrid(3, semi_angle=5.0)}
    silicon = Crystal.named("Si")
    exact = simulate(silicon, tolerance=0, **asked)  # type: ignore[arg-type]
    same = simulate(silicon, beams=exact.attrs["beams"], **asked)  # type: ignore[arg-type]
    np.testing.assert_array_equal(exact.values, same.values)


@pytest.mark.parametrize("pixels", [1, 40])
def test_thin_foils_wide_angles_and_far_reflections(pixels: int) -> None:
    crystal = Crystal.named("MgO")
    asked = {"thicknesses": (15.0,), "grid": TiltGrid(pixels, semi_angle=50.0), "hkl": ((0, 0, 0), (6, 0, 0))}
    found = simulate(crystal, tolerance=1e-3, **asked)  # type: ignore[arg-type]
    few = {**asked, "grid": TiltGrid(1, k_max=1e-6, center=(float(found.kx[0]), float(found.ky[0])))}
    exact = _exact(crystal, (0, 0, 1), 7.0, **few)
    assert np.abs(found.values[:, :, 0, 0] - np.abs(exact[:, :, 0, 0]) ** 2).max() < 1e-3


@pytest.mark.parametrize("is_disc", [False, True])
def test_checks_of_many_zones_share_few_matrices_and_hold_the_highest_tilt(is_disc: bool) -> None:
    lattice = np.array([[0.25, 0.0], [0.05, 0.3]])
    x, y = (0.1 * a for a in np.mgrid[-9:10, -9:10].reshape(2, -1))
    tilts = np.stack([x, y], axis=1)
    tilts = tilts[np.hypot(x, y) <= 0.9 + 1e-9] if is_disc else tilts
    request = Request(tilts, ((0, 0, 0),), np.array([500.0]), is_disc, (0.0, 1.62))
    checks = request.checks(lattice, 160)
    places = checks @ np.linalg.inv(lattice)
    assert len(np.unique(np.round(places - np.floor(places + 1e-7), 6), axis=0)) <= 4
    assert len(checks) > 90
    furthest = np.linalg.norm(tilts, axis=1).max()
    assert np.linalg.norm(checks, axis=1).max() == pytest.approx(furthest, abs=1e-9)


def test_single_precision_is_kept() -> None:
    asked = {"thicknesses": (200.0,), "grid": TiltGrid(4, semi_angle=6.0), "tolerance": 1e-2, "dtype": "float32"}
    silicon = Crystal.named("Si")
    assert simulate(silicon, **asked).dtype == np.float32  # type: ignore[arg-type]
    assert simulate(silicon, output="amplitude", **asked).dtype == np.complex64  # type: ignore[arg-type]


def test_the_command_line_takes_a_tolerance(lacbed) -> None:  # type: ignore[no-untyped-def]
    words = ("simulate", "Si", "-t", "200", "-n", "6", "--semi-angle", "5", "-o", "si.npz")
    code, out, _ = lacbed(*words, "--tolerance", "1e-2")
    assert code == 0
    assert "estimated error" in out
    code, _, errors = lacbed(*words, "--tolerance", "nan")
    assert code == 2
    assert "tolerance must be a number from 0 to 0.5" in errors


@pytest.mark.parametrize("absorption", [None, "thomas"])
def test_a_saved_zone_goes_on_where_it_was(absorption: Any, tmp_path: Path) -> None:
    crystal, grid, path = Crystal.named("GaAs"), TiltGrid(12, semi_angle=8.0), tmp_path / "gaas.zone"
    zone = Zone(crystal, (1, 1, 0), tolerance=1e-2, absorption=absorption)
    first = zone.pattern((300.0,), grid)
    zone.save(path)
    zone.save(path)  # its own file is replaced
    again = Zone.load(path)
    assert again.waves == zone.waves > 0
    assert again.pattern((300.0,), grid).equals(first)
    assert again.pattern((250.0,), grid, ((0, 0, 0), (0, 0, 2))).equals(
        zone.pattern((250.0,), grid, ((0, 0, 0), (0, 0, 2)))
    )
    assert again.pattern((300.0,), grid).attrs["notes"] == first.attrs["notes"]


def test_a_zone_is_read_from_its_own_files_alone(tmp_path: Path) -> None:
    path = tmp_path / "si.zone"
    Zone(Crystal.named("Si"), tolerance=1e-2).save(path)
    assert Zone.load(path).waves == 0  # nothing was solved yet
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + bytes(3 * [7]))
    with pytest.raises(FileFormatError, match="damaged"):
        Zone.load(path)
    write_tensors(path, "lacbed-zone", {}, {"crystal": {}})
    with pytest.raises(FileFormatError, match="no zone that lacbed wrote"):
        Zone.load(path)
    with pytest.raises(FileFormatError, match=r"none\.zone"):
        Zone.load(tmp_path / "none.zone")
    path.write_text("mine")
    with pytest.raises(FileFormatError, match="a zone"):
        Zone(Crystal.named("Si"), tolerance=1e-2).save(path)
    assert path.read_text() == "mine"
