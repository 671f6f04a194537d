"""The memory that is reckoned is the memory that is taken, in forks of a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lacbed.solvers.blocks import stack_rows

CASES = [
    ("zone", None, "float64", 700, 2, 1),
    ("chebyshev", "thomas", "float64", 1100, 2, 1),
    ("zone", None, "float64", 30, 128, 250),
    ("chebyshev", None, "float64", 300, 112, 1),
]
SCRIPT = f"""
import os, torch
torch.set_num_threads(1)
from lacbed import Crystal, TiltGrid, simulate
from lacbed.solvers import choose, memory
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

def run(solver, absorption, dtype, beams, pixels, thicknesses):
    simulate(
        Crystal.named("GaAs"), (1, 1, 0), grid=TiltGrid(pixels=pixels), beams=beams, solver=solver, dtype=dtype,
        absorption=absorption, thicknesses=[100.0 + i for i in range(thicknesses)],
    )

for case in {CASES}:
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        continue
    run(*case[:3], 50, 4, 1)
    said.clear()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    run(*case)
    print(max(said) / 2**20, status("VmHWM") - before, flush=True)
    os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read as Linux has them"
)
def test_the_estimate_is_within_a_factor_of_the_truth() -> None:
    """Within 1.5, with room for the 15 MiB or so that libraries take at first use."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300, check=True)
    found = [tuple(map(float, line.split())) for line in done.stdout.splitlines()]
    for case, (said, truth) in zip(CASES, found, strict=True):
        assert truth > 30.0, case
        assert (truth - 15.0) / 1.5 <= said <= 1.5 * (truth + 15.0), case


def test_rows_that_are_stacked_as_they_come() -> None:
    rows = [torch.rand(4, 3, dtype=torch.float64) for _ in range(5)]
    assert torch.equal(stack_rows(iter(rows), 5), torch.stack(rows))
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    mixed = stack_rows((row if i < 2 else scale * row for i, row in enumerate(rows)), 5)
    assert torch.equal(mixed.detach(), torch.stack([*rows[:2], *(2.0 * row for row in rows[2:])]))
    mixed.sum().backward()
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx(float(sum(row.sum() for row in rows[2:])))
