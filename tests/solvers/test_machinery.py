"""Blocks, memory, progress and the choice of a solver."""

from __future__ import annotations

import pytest
import torch
from solver_helpers import CASES, EVEN, case

from lacbed import Crystal
from lacbed.errors import MemoryLimitError, SettingError
from lacbed.settings import Settings
from lacbed.setup import choose_device, prepare
from lacbed.solvers.blocks import choose_block
from lacbed.solvers.choose import BLOCH_SOLVERS, check_solver, choose_solver, run_solver
from lacbed.solvers.problem import Problem

CPU = torch.device("cpu")


def problem_of(crystal: str, **settings) -> Problem:
    return prepare(Crystal.named(crystal), Settings(grid=EVEN, **{"beams": 40, **settings})).problem


@pytest.mark.parametrize("solver", ["zone", "tilted", "chebyshev"])
@pytest.mark.parametrize("absorption", [None, "thomas"])
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_the_size_of_a_block_does_not_matter(solver: str, absorption, block: int) -> None:
    problem = problem_of("GaAs", zone_axis=(1, 1, 0), hkl=((0, 0, 0), (0, 0, 2)), absorption=absorption)
    whole = BLOCH_SOLVERS[solver](problem, 2, None)
    tolerance = 1e-10 if absorption is None else 1e-6
    assert float((BLOCH_SOLVERS[solver](problem, block, None) - whole).abs().max()) < tolerance


@pytest.mark.parametrize("solver", BLOCH_SOLVERS)
def test_progress_grows_to_one(solver: str) -> None:
    seen: list[float] = []
    CASES["Mn [001], 432"].run(solver, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert min(seen) > 0


def test_threads_are_left_as_they_were() -> None:
    before = torch.get_num_threads()
    case("Si", grid=EVEN).run("auto")
    assert torch.get_num_threads() == before


def test_too_large_a_request_is_refused_with_the_estimate() -> None:
    with pytest.raises(MemoryLimitError, match=r"need about \d+\.\d GiB.*fewer"):
        choose_block(10, 2**36, 2**20, CPU, "a huge request")


def test_a_request_that_fits_is_cut_into_blocks() -> None:
    assert 1 <= choose_block(1000, 0, 2**24, CPU, "a request") < 1000
    assert choose_block(1, 0, 1, CPU, "a tiny request") == 1


def test_the_choice_comes_with_a_reason() -> None:
    name, why = choose_solver(problem_of("Si"), CPU)
    assert name == "zone"
    assert "share" in why
    name, why = choose_solver(problem_of("Si", weak_beams=20), CPU)
    assert name == "tilted"
    assert "weak" in why


def test_refusals_name_a_solver_that_works() -> None:
    with pytest.raises(SettingError, match="'tilted' or 'auto'"):
        check_solver("zone", problem_of("Si", foil_normal=(0, 0.1, 1)))
    with pytest.raises(SettingError, match="'tilted' for weak beams"):
        check_solver("chebyshev", problem_of("Si", weak_beams=20))


def test_centrosymmetric_crystals_are_solved_in_real_numbers() -> None:
    assert problem_of("Si").is_real  # at the origin of choice 1 the centre is at (1/8, 1/8, 1/8)
    assert problem_of("FeS2", absorption="thomas").is_real
    assert problem_of("GaAs").is_real  # in the projection along [001]
    assert not problem_of("GaAs", zone_axis=(1, 1, 0)).is_real
    assert not problem_of("FeSi", zone_axis=(2, 1, 0)).is_real


@pytest.mark.parametrize("solver", BLOCH_SOLVERS)
def test_a_solver_gives_one_amplitude_for_each_pair_and_thickness(solver: str) -> None:
    problem = problem_of("Si", hkl=((0, 0, 0), (2, 2, 0)), thicknesses=(100.0, 200.0, 300.0))
    found = run_solver(solver, problem, CPU, torch.float64)
    assert found.shape == (3, len(problem.pair_tilt))
    assert found.dtype == torch.complex128


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "meta", ""])
def test_devices_that_are_not_there_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match="device"):
        choose_device(name)
