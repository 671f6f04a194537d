"""SrTiO3 [001], 200 kV, 1000 Å, ±2 a*, 128 x 128: lacbed beside other programs that compute the same.

Every program runs in its own process, with the Python given for it, and the processes take turns: in every round
each one is measured once, and what is reported is the median over the rounds of the ratio within a round. lacbed
computes the whole pattern, set-up included. The others loop over tilts, set-up not included; they are given every
n-th tilt and their time is scaled linearly to 16,384 (marked "scaled"). They run twice: on one thread
(OMP_NUM_THREADS=1), where small matrices take the least CPU time, and as installed, where the threads of the
linear algebra spend much of it waiting for each other. lacbed keeps its own defaults.

The intensities of 000 are compared too, at the tilts of the subset: in the first Brillouin zone, where all
programs use the same beams, and everywhere, where the truncations differ (lacbed keeps the waves q + h in one
circle around the zone axis, abTEM and py4DSTEM keep a circle of g around the incident beam).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import lacbed
from common import FELIX_CPU_SECONDS, measure, number, parser, publish, simulate, table, verdict
from lacbed.settings import Settings
from lacbed.setup import prepare

WORKERS = Path(__file__).parent / "workers"
CRYSTAL, ENERGY, THICKNESS, PIXELS, EXTENT = "SrTiO3", 200e3, 1000.0, 128, 2.0
ATOMIC_NUMBER = {"O": 8, "Ti": 22, "Sr": 38}
PEERS = {"abtem": "abtem_loop.py", "py4dstem": "py4dstem_loop.py", "numpy": "numpy_eigh.py"}
TITLES = {"abtem": "abTEM loop, float64", "py4dstem": "py4DSTEM loop", "numpy": "NumPy real eigh per pixel"}
INSTALLED = "as installed"
TARGETS = {"abtem": 400.0, "py4dstem": 400.0, "numpy": 100.0}


@dataclass
class Worker:
    """A running worker process."""

    process: subprocess.Popen[str]
    complaints: Path
    greeting: dict[str, Any]

    def measure(self) -> dict[str, Any]:
        """One measurement."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return read_answer(self.process, self.complaints)


def read_answer(process: subprocess.Popen[str], complaints: Path) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("@"):
            answer: dict[str, Any] = json.loads(line[1:])
            return answer
    raise SystemExit(f"a worker ended without an answer:\n{complaints.read_text()[-2000:]}")


@contextlib.contextmanager
def worker(python: str, script: str, job: Path, threads: int | None) -> Iterator[Worker]:
    """Start a worker and stop it at the end."""
    environment = dict(os.environ)
    if threads is not None:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment[name] = str(threads)
    command = [python, str(WORKERS / script), str(job)]
    complaints = job.with_suffix(f".{script}.log")
    with complaints.open("w") as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    try:
        yield Worker(process, complaints, read_answer(process, complaints))
    finally:
        process.terminate()
        process.wait()


def write_job(path: Path, beams: int, tilts: int, dtype: str) -> np.ndarray:
    """The problem in numbers that every program understands; returns the tilts in the first zone."""
    crystal = lacbed.Crystal.named(CRYSTAL)
    settings = Settings(
        energy=ENERGY,
        thicknesses=(THICKNESS,),
        grid=lacbed.TiltGrid(PIXELS, extent=EXTENT),
        beams=beams,
        refraction=False,
        solver="reference",
    )
    setup = prepare(crystal, settings)
    problem = setup.problem
    # A stride coprime to the rows, so that the subset is spread over the grid.
    pixel = (np.arange(tilts) * (PIXELS * PIXELS // tilts) + 37 * np.arange(tilts)) % (PIXELS * PIXELS)
    source = setup.reduction.pair_tilt[setup.reduction.source[0]]
    chosen = source[pixel]
    anchor = problem.anchor.numpy()[chosen]
    potential = problem.potential.numpy()
    hkl = setup.beams.hkl
    difference = (hkl[:, None] - hkl[None]).reshape(-1, 3)
    u_hkl, first = np.unique(difference, axis=0, return_index=True)
    atoms = crystal.atoms
    elements = list(atoms.elements)
    symbols = sorted(set(elements))
    sigmas = [np.sqrt(float(atoms.b_iso[elements.index(s)]) / (8.0 * np.pi**2)) for s in symbols]
    np.savez(
        path,
        crystal=CRYSTAL,
        a=crystal.cell[0],
        positions=atoms.xyz,
        numbers=[ATOMIC_NUMBER[e] for e in elements],
        symbols=symbols,
        sigmas=sigmas,
        energy=ENERGY,
        thicknesses=np.array([THICKNESS]),
        pixels=PIXELS,
        extent=EXTENT,
        beams_asked=beams,
        dtype=dtype,
        g_max=setup.describe()["beam_g_max"],
        wave_number=setup.wave.wave_number,
        beam_hkl=hkl,
        vectors=problem.vectors.numpy(),
        potential=potential,
        u_hkl=u_hkl,
        u_values=potential.ravel()[first],
        tilts=setup.reduction.tilts[chosen],
        anchor=anchor,
        pixel=pixel,
    )
    return np.asarray(np.all(hkl[anchor] == 0, axis=1))


def compare(beams: int, pythons: dict[str, str], tilts: int, rounds: int, folder: Path) -> list[list[str]]:
    """One row for every program at one number of beams."""
    jobs = {t: folder / f"{beams}_{t}.npz" for t in ("float64", "float32")}
    first_zone = np.zeros(0)
    for dtype, path in jobs.items():
        first_zone = write_job(path, beams, tilts, dtype)
    with contextlib.ExitStack() as stack:
        running = {
            f"lacbed {dtype}": stack.enter_context(worker(sys.executable, "lacbed_pattern.py", path, None))
            for dtype, path in jobs.items()
        }
        for name, python in pythons.items():
            for threads in (1, None):
                label = f"{name}/{'1 thread' if threads else INSTALLED}"
                running[label] = stack.enter_context(worker(python, PEERS[name], jobs["float64"], threads))
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
        for turn in range(rounds):
            for name, process in running.items():
                if turn == 0 or not name.endswith(INSTALLED):
                    answers[name].append(process.measure())
    rows = []
    ours = answers["lacbed float64"]
    reference = np.array(ours[0]["intensity"])
    for name, process in running.items():
        peer, _, threads = name.partition("/")
        scale = PIXELS * PIXELS / tilts if peer in TITLES else 1.0
        cpu = [scale * a["cpu"] for a in answers[name]]
        factor = median(c / o["cpu"] for c, o in zip(cpu, ours, strict=False))
        factor32 = median(c / o["cpu"] for c, o in zip(cpu, answers["lacbed float32"], strict=False))
        difference = np.abs(np.array(answers[name][0]["intensity"]) - reference)
        label = f"{TITLES[peer]} {process.greeting['version']}, {threads}, scaled" if peer in TITLES else name
        target = verdict(factor, TARGETS[peer], most=False) if peer in TARGETS else ""
        same_beams = f"{difference[first_zone].max():.1e}" if np.any(first_zone) else "no tilt there"
        rows.append(
            [
                str(process.greeting["beams"]),
                label,
                number(median(cpu)),
                f"{number(min(cpu))} to {number(max(cpu))}",
                number(scale * median(a["wall"] for a in answers[name])),
                number(factor),
                number(factor32),
                target,
                same_beams,
                f"{difference.max():.1e}",
            ]
        )
    return rows


def felix_rows(repeats: int) -> list[list[str]]:
    """Factors over Felix, whose times are given and not measured."""
    rows = []
    for beams, seconds in FELIX_CPU_SECONDS.items():
        settings = dict(energy=ENERGY, thicknesses=(THICKNESS,), beams=beams)
        grid = lacbed.TiltGrid(PIXELS, extent=EXTENT)
        timing, pattern = measure(simulate(lacbed.Crystal.named(CRYSTAL), grid=grid, **settings), repeats)
        rows.append(
            [
                str(beams),
                str(pattern.attrs["beams"]),
                f"{seconds / 60:g} min",
                number(timing.cpu),
                number(seconds / timing.cpu),
            ]
        )
    return rows


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--abtem", metavar="PYTHON", help="Python that has abtem 1.0.11 (left out if not given)")
    options.add_argument("--py4dstem", metavar="PYTHON", help="Python that has py4DSTEM 0.14.18 and numpy < 2")
    options.add_argument("--beams", type=int, nargs="+", default=[100, 200])
    options.add_argument("--tilts", type=int, default=32, help="tilts that the loops are measured on")
    chosen = options.parse_args()
    pythons = {"numpy": sys.executable}
    notes = []
    for name in ("abtem", "py4dstem"):
        python = getattr(chosen, name)
        if python is None:
            notes.append(f"{TITLES[name]}: left out, give --{name} PYTHON to compare with it.")
        else:
            pythons[name] = python
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        for beams in chosen.beams:
            rows += compare(beams, pythons, chosen.tilts, chosen.repeats, Path(folder))
    main_table = table(
        [
            "beams",
            "program",
            "CPU s",
            "range",
            "wall s",
            "CPU / lacbed float64",
            "CPU / lacbed float32",
            "goal",
            "max abs dI, first zone",
            "max abs dI, all",
        ],
        rows,
    )
    felix = table(
        ["beams asked", "beams used", "Felix CPU (given)", "lacbed float64 CPU s", "factor"],
        felix_rows(chosen.repeats),
    )
    explained = (
        f"{CRYSTAL} [001], {ENERGY / 1e3:g} kV, {THICKNESS:g} Å, ±{EXTENT:g} a*, {PIXELS} x {PIXELS}, intensity "
        f"of 000. Medians of {chosen.repeats} rounds in which the programs took turns; factors are medians of "
        "ratios within a round. lacbed: the whole call of `simulate`, set-up included, default threads. Others: "
        f"loop over {chosen.tilts} tilts spread over the grid, set-up not counted, on one thread and as installed "
        "(BLAS threads by default, which cost CPU time on matrices of this size; one round), scaled linearly to "
        f"{PIXELS * PIXELS} tilts. Differences of intensity are against lacbed in float64 at those tilts: in the "
        "first Brillouin zone, where all use the same beams, and over the whole grid, where abTEM and py4DSTEM "
        "truncate around the incident beam and lacbed around the zone axis. abTEM takes the surface normal along "
        "the beam, lacbed and py4DSTEM along the zone axis."
    )
    publish("lacbed beside other programs", [explained, main_table, *notes, "## Felix", felix], chosen)


if __name__ == "__main__":
    main()
