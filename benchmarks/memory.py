"""Whether the memory that is reckoned is the memory that is taken.

Each simulation runs in a process of its own. What it takes is the peak of its resident memory less what was
resident when everything had been imported, which a tiny simulation of the same kind does. What is reckoned is the
largest estimate that is checked against the free memory on the way, and what the forecast before the start says.
The first cases are those by which the constants of `lacbed.solvers.memory` were found, the others were measured
once, afterwards.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import parser, publish, table

KNOWN: list[tuple[str, dict[str, Any]]] = [
    ("Si", dict(beams=300, pixels=64, solver="chebyshev")),
    ("SrTiO3", dict(beams="auto", pixels=128, thicknesses=200, threads=2)),
    ("GaAs", dict(zone=(1, 1, 0), beams=700, pixels=2, solver="zone")),
    ("GaAs", dict(zone=(1, 1, 0), beams=1100, pixels=2, solver="chebyshev", absorption="thomas")),
    ("GaAs", dict(zone=(1, 1, 0), beams=30, pixels=128, thicknesses=250)),
    ("GaAs", dict(zone=(1, 1, 0), beams=120, pixels=48, solver="tilted", hkl="all:0.5")),
    ("Cu", dict(beams=150, pixels=32, solver="zone", absorption="thomas", k_max=0.9)),
    ("Al2O3", dict(zone=(1, 0, 0), beams=500, pixels=24, solver="fast", k_max=0.5)),
    ("Si", dict(beams=250, pixels=24, laue_zones=1, solver="auto")),
    ("Au", dict(beams=300, pixels=8, solver="reference", absorption="thomas", k_max=0.9)),
]
FRESH: list[tuple[str, dict[str, Any]]] = [
    ("MgO", dict(beams=200, pixels=64, thicknesses=40, hkl="0,0,0 2,0,0 2,2,0")),
    ("CaF2", dict(zone=(1, 1, 0), beams=350, pixels=48, solver="chebyshev", hkl="0,0,0 2,-2,0")),
    ("GaN", dict(zone=(1, 0, 0), beams=250, pixels=40, solver="chebyshev", absorption="thomas", thicknesses=5)),
    ("TiO2", dict(zone=(1, 0, 0), beams=900, pixels=3, threads=2, thicknesses=3)),
    ("Y3Al5O12", dict(beams=1500, pixels=8, solver="chebyshev")),
    ("SiO2", dict(beams=180, pixels=32, thicknesses=60, solver="zone", absorption="proportional:5", threads=2)),
    ("W", dict(zone=(1, 1, 1), beams="auto", pixels=96, thicknesses=100, hkl="all:0.8")),
    ("CuO", dict(beams=160, pixels=24, solver="tilted", dtype="float32", thicknesses=20)),
    ("Mg2SiO4", dict(zone=(0, 1, 0), beams=700, pixels=32, solver="fast", absorption="thomas", k_max=0.4)),
    ("LaAlO3", dict(zone=(1, 1, 0), beams=100, pixels=96, output="amplitude", thicknesses=30)),
]


def worker(crystal: str, case: dict[str, Any]) -> None:
    """Run one case and print bytes: of the three checks, of the forecast, and what was taken."""
    import torch

    torch.set_num_threads(case.get("threads", 1))
    from lacbed import Crystal, TiltGrid, simulate
    from lacbed.cli import parse
    from lacbed.forecast import forecast
    from lacbed.settings import Settings
    from lacbed.solvers import choose, memory

    said = {"result": 0, "preparation": 0, "solver": 0}

    def listen(module: Any, name: str, key: str, total: Any) -> None:
        function = getattr(module, name)

        def heard(*arguments: Any, **named: Any) -> Any:
            found = function(*arguments, **named)
            said[key] = max(said[key], total(arguments, named, found))
            return found

        setattr(module, name, heard)

    threads = case.get("threads", 1)
    listen(choose, "choose_block", "solver", lambda a, k, n: a[1] + (k["work"] + a[2] * n) * threads)
    listen(memory, "result_bytes", "result", lambda a, k, found: found)
    listen(memory, "preparation_bytes", "preparation", lambda a, k, found: found)
    count = case.get("thicknesses", 1)
    settings = dict(
        zone_axis=case.get("zone", (0, 0, 1)),
        grid=TiltGrid(pixels=case["pixels"], k_max=case.get("k_max")),
        thicknesses=tuple(300.0 + 10.0 * i for i in range(count)),
        hkl=parse.reflections(case.get("hkl", "0,0,0")),
        absorption=parse.absorption(case.get("absorption", "none")),
        **{k: case[k] for k in ("beams", "solver", "dtype", "laue_zones", "output") if k in case},
    )
    structure = Crystal.named(crystal)
    simulate(structure, **settings | dict(grid=TiltGrid(pixels=4, k_max=0.1), beams=30, thicknesses=(100.0,)))
    said.update(dict.fromkeys(said, 0))
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the peak counts anew
    before = _status("VmRSS")
    simulate(structure, **settings)
    said["taken"] = _status("VmHWM") - before
    said["forecast"] = forecast(structure, Settings(**settings)).memory
    print(json.dumps(said))


def _status(key: str) -> int:
    """A number of bytes from what Linux says of this process."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024


def measured(crystal: str, case: dict[str, Any]) -> list[Any]:
    """One row of the table."""
    program = [sys.executable, __file__, "--worker", crystal, json.dumps(case)]
    threads = str(case.get("threads", 1))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
    said = json.loads(done.stdout)
    checked = max(said.pop("result"), said["preparation"], said["solver"])
    words = ", ".join(f"{key} {value}" for key, value in case.items())
    numbers = [f"{said[k] / 2**20:.0f}" for k in ("preparation", "solver", "forecast", "taken")]
    row = [f"{crystal}: {words}", *numbers, *(f"{v / said['taken']:.2f}" for v in (checked, said["forecast"]))]
    print(row, file=sys.stderr)
    return row


def main() -> None:
    """Measure all cases."""
    options = parser(__doc__)
    options.add_argument("--only", choices=["known", "fresh"], help="one of the two lists")
    chosen = options.parse_args()
    header = [
        "case",
        "preparation",
        "solver and result",
        "forecast",
        "taken (MiB)",
        "checked / taken",
        "forecast / taken",
    ]
    lists = {"known": KNOWN, "fresh": FRESH}
    parts = []
    for name, cases in lists.items():
        if chosen.only in (None, name):
            parts += [f"## {name.capitalize()} cases", table(header, [measured(*case) for case in cases])]
    publish("Memory: reckoned and taken", parts, chosen)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], json.loads(sys.argv[3]))
    else:
        main()
