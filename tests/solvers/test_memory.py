"""The memory that is reckoned is the memory that is taken, in processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lacbed.solvers.blocks import stack_rows

SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from lacbed import Crystal, TiltGrid, simulate
from lacbed.solvers import choose, memory
solver, absorption, dtype, beams, pixels, thicknesses = sys.argv[1:]
said = []

def listen(module, name, total):
    function = getattr(module, name)
    def heard(*arguments, **named):
        found = function(*arguments, **named)
        said.append(total(arguments, named, found))
        return found
    setattr(module, name, heard)

listen(choose, "choose_block", lambda a, named, block: a[1] + named["work"] + a[2] * block)
listen(memory, "result_bytes", lambda a, named, found: found)
listen(memory, "preparation_bytes", lambda a, named, found: found)

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024

def run(beams, pixels, thicknesses):
    simulate(
        Crystal.named("GaAs"), (1, 1, 0), grid=TiltGrid(pixels=pixels), beams=beams, solver=solver, dtype=dtype,
        absorption=None if absorption == "none" else absorption,
        thicknesses=[100.0 + i for i in range(thicknesses)],
    )

run(50, 4, 1)
said.clear()
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = status("VmRSS")
run(int(beams), int(pixels), int(thicknesses))
print(max(said) / 2**20, status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read as Linux has them"
)
@pytest.mark.parametrize(
    "words",
    [
        ("zone", "none", "float64", 700, 2, 1),
        ("chebyshev", "thomas", "float64", 1100, 2, 1),
        ("zone", "none", "float64", 30, 128, 250),
        ("chebyshev", "none", "float64", 300, 112, 1),
    ],
)
def test_the_estimate_is_within_a_factor_of_the_truth(words) -> None:
    """Within 1.5, with room for the 15 MiB or so that libraries take at first use."""
    program = [sys.executable, "-c", SCRIPT, *map(str, words)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=True)
    said, truth = (float(number) for number in done.stdout.split())
    assert truth > 30.0
    assert (truth - 15.0) / 1.5 <= said <= 1.5 * (truth + 15.0)


def test_rows_that_are_stacked_as_they_come() -> None:
    rows = [torch.rand(4, 3, dtype=torch.float64) for _ in range(5)]
    assert torch.equal(stack_rows(iter(rows), 5), torch.stack(rows))
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    mixed = stack_rows((row if i < 2 else scale * row for i, row in enumerate(rows)), 5)
    assert torch.equal(mixed.detach(), torch.stack([*rows[:2], *(2.0 * row for row in rows[2:])]))
    mixed.sum().backward()
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx(float(sum(row.sum() for row in rows[2:])))
