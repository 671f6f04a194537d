"""On a CUDA device every solver gives what it gives on the CPU; without a device there is nothing to test."""

from __future__ import annotations

import pytest
import torch
from solver_helpers import CASES, TOLERANCE, case, largest_difference, reference

from lacbed import Crystal, TiltGrid, simulate
from lacbed.setup import choose_device
from lacbed.solvers.choose import BLOCH_SOLVERS

if not torch.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

EXACT = ["auto", *BLOCH_SOLVERS]


@pytest.mark.parametrize("solver", EXACT)
@pytest.mark.parametrize("name", CASES)
def test_a_gpu_equals_the_reference_on_the_cpu(name: str, solver: str) -> None:
    if solver in CASES[name].without:
        pytest.skip("refused, as the tests on the CPU show")
    for dtype, tolerance in TOLERANCE.items():
        found = CASES[name].run(solver, device="cuda", dtype=dtype)
        assert largest_difference(found, reference(name)) <= tolerance, dtype


@pytest.mark.parametrize("name", ["GaAs [001]", "FeS2 [001], m-3", "descending equal steps, absorbing"])
def test_the_approximate_solver_agrees_on_both_devices(name: str) -> None:
    on_cpu, on_gpu = (CASES[name].run("fast", device=device) for device in ("cpu", "cuda"))
    assert largest_difference(on_cpu, on_gpu) <= TOLERANCE["float64"]


@pytest.mark.parametrize("phonons", [{}, {"frozen_phonons": 2}])
def test_multislice_agrees_on_both_devices(phonons: dict[str, int]) -> None:
    pytest.importorskip("abtem", reason="abTEM is an optional extra: pip install lacbed[multislice]")
    silicon = case("Si", grid=TiltGrid(pixels=4, extent=1.0), beams="auto", thicknesses=(50.0,), **phonons)
    on_cpu, on_gpu = (silicon.run("multislice", device=device) for device in ("cpu", "cuda"))
    assert largest_difference(on_cpu, on_gpu) <= TOLERANCE["float64"]


@pytest.mark.parametrize("solver", ["zone", "chebyshev", "fast"])
def test_a_pattern_of_many_tilts(solver: str) -> None:
    large = case("SrTiO3", grid=TiltGrid(pixels=64, extent=3.0), beams=150, absorption="thomas")
    difference = largest_difference(large.run(solver, device="cuda"), large.run("zone"))
    assert difference <= (0.02 if solver == "fast" else TOLERANCE["float64"])


def test_auto_takes_the_gpu() -> None:
    assert choose_device("auto").type == "cuda"
    pattern = simulate(Crystal.named("Si"), grid=TiltGrid(pixels=4, extent=1.0), beams=30)
    assert pattern.attrs["solver"] == "chebyshev"
