"""From frames to stacks: indices and handedness, intensities, geometry, a blind refinement, speed and memory.

The series come from the generator of the tests (`tests/experiment/frame_series.py`), which shares no code with the
extraction. Camera and scan are turned and mirrored at random. Indices are right if all images carry the truth or
what the symmetry of the simulated images makes equal to it.
"""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import lacbed
from common import parser, publish, table
from lacbed.experiment.extract.pipeline import Extraction, kept_images

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "experiment"))
from frame_series import Microscope, Series, make_series

CASES = (
    ("GaAs", (1, 1, 0)),
    ("GaAs", (0, 0, 1)),
    ("InP", (1, 1, 0)),
    ("ZnS", (1, 1, 2)),
    ("SiC", (1, 1, 0)),
    ("GaN", (1, 0, 0)),
    ("GaN", (0, 0, 1)),
    ("SiO2", (0, 0, 1)),
    ("SiO2", (1, 0, 0)),
    ("Mn", (0, 0, 1)),
    ("TiO2", (0, 0, 1)),
    ("TiO2", (1, 0, 0)),
    ("Al2O3", (1, 0, 0)),
    ("SrTiO3", (0, 0, 1)),
    ("SrTiO3", (1, 1, 0)),
    ("Si", (1, 1, 0)),
    ("NaCl", (0, 0, 1)),
    ("CaTiO3", (0, 0, 1)),
    ("FeS2", (0, 0, 1)),
    ("CuO", (0, 0, 1)),
)
"""Polar (GaAs, InP, ZnS, SiC, GaN) and chiral (SiO2, Mn) crystals among them."""


def microscope(number: int, shortest: float, tilts: int) -> Microscope:
    """A microscope of which nothing is known: turned and mirrored at random."""
    rng = np.random.default_rng(100 + number)
    half = max(0.35, 1.6 * shortest)
    center = rng.uniform(-0.08, 0.08, 2) * half
    return Microscope(
        tilts=tilts,
        half_width=half,
        tilt_turn=float(rng.uniform(0, 360)),
        tilt_flip=bool(rng.integers(2)),
        tilt_center=(float(center[0]), float(center[1])),
        camera=128,
        spacing=15.0,
        turn=float(rng.uniform(0, 360)),
        flip=bool(rng.integers(2)),
        stretch=float(1 + rng.uniform(-0.01, 0.01)),
        serpentine=bool(rng.integers(2)),
        dose=3e4,
        fine=1 if tilts > 40 else 2,
        seed=number,
    )


def shortest_of(crystal: lacbed.Crystal, zone: tuple[int, int, int]) -> float:
    """Length of the shortest allowed reflection in 1/Å."""
    one = lacbed.simulate(crystal, zone, 200e3, (10.0,), lacbed.TiltGrid(2, k_max=0.01), ("all", 2.0), beams=9)
    lengths = np.hypot(one["gx"].values, one["gy"].values)
    return float(lengths[lengths > 1e-6].min())


def judge(series: Series, found: Extraction) -> dict[str, float]:
    """What was found against the truth."""
    o, lattice, stack = found.orientation, found.look.lattice, found.stack
    exact = series.vectors @ series.matrix.T @ np.linalg.inv(lattice.basis)
    known = {
        tuple(np.round(e).astype(int)): i for i, e in enumerate(exact) if np.abs(e - np.round(e)).max() < 0.15
    }
    rows = kept_images(stack, lattice.sites, o.origin)
    ways = [o.indexing] if o.choice is None else list(o.choice.equivalent)
    sites = {r: tuple((lattice.sites[r] - o.origin).tolist()) for r in rows}
    right = max(
        sum(s in known and tuple(w.of(np.array([s]))[0]) == tuple(series.hkl[known[s]]) for s in sites.values())
        for w in ways
    )
    chi, count = 0.0, 0
    for r, s in sites.items():
        if s in known:
            good = np.isfinite(stack.images[r])
            square = (stack.images[r] - series.truth[known[s]])[good] ** 2 / stack.variance[r][good]
            chi, count = chi + float(square.sum()), count + int(good.sum())
    n = series.k.shape[0]
    rows_, columns = np.mgrid[:n, :n]
    design = np.column_stack([np.ones(n * n), rows_.ravel(), columns.ravel()])
    truth = np.linalg.lstsq(design, series.k.reshape(-1, 2), rcond=None)[0]
    zero = np.linalg.solve(truth[1:].T, -truth[0])
    own = np.linalg.inv(o.tilts.steps) @ o.indexing.vectors
    change = np.linalg.solve(truth[1:], own)
    # the lattice in units of tilts does not depend on which of equal indexings was taken
    basis = np.linalg.solve(series.matrix, lattice.basis.T).T
    steps = basis @ np.linalg.inv(truth[1:])
    inner = np.linalg.solve(steps, o.tilts.steps)
    return {
        "images": sum(s in known for s in sites.values()),
        "right": right,
        "ways": o.ways,
        "ratio": math.inf if o.choice is None else o.choice.ratio,
        "chi2": chi / max(1, count),
        "half_width": 100 * (math.sqrt(abs(float(np.linalg.det(change)))) - 1),
        "rotation": math.degrees(math.atan2(float(inner[1, 0] - inner[0, 1]), float(inner[0, 0] + inner[1, 1]))),
        "center": float(np.linalg.norm(o.tilts.zero - zero)),
        "su": 100 * found.orientation.grid.uncertainty[0] / found.orientation.grid.half_width,
    }


def spots_of(series: Series, found: lacbed.experiment.extract.look.Look) -> tuple:  # type: ignore[name-defined,type-arg]
    """Two named spots in the mean frame, from the truth: the nearest that can be seen."""
    offset = np.median((series.beam - found.track.places).reshape(-1, 2), axis=0)
    beam = found.middle + offset
    mean = series.truth.mean(axis=(1, 2))
    order = [i for i in np.argsort(np.linalg.norm(series.vectors, axis=1)) if mean[i] > 0.02 * mean.max()]
    first = next(i for i in order if np.linalg.norm(series.vectors[i]) > 1e-6)
    second = next(i for i in order if abs(np.linalg.det(series.vectors[[first, i]])) > 1e-6)
    out = []
    for i in (first, second):
        row, column = beam + series.matrix @ series.vectors[i]
        out.append(((float(column), float(row)), tuple(int(v) for v in series.hkl[i])))
    return tuple(out)


def indices(tilts: int, only: list[int] | None) -> str:
    """The table of crystals and zones."""
    rows, alone, helped, count = [], 0, 0, 0
    for number, (name, zone) in enumerate(CASES):
        if only is not None and number not in only:
            continue
        crystal = lacbed.Crystal.named(name)
        m = microscope(number, shortest_of(crystal, zone), tilts)
        scale = m.spacing / shortest_of(crystal, zone)
        series = make_series(crystal, zone, m, reach=min(0.75 * m.camera / scale, 1.6))
        start, count = time.process_time(), count + 1
        frames = lacbed.open_frames(series.frames, series.scan)
        label = f"{name} [{' '.join(map(str, zone))}]"
        try:
            found = lacbed.extract(frames, crystal, zone, 200e3, lacbed.ExtractSettings(gain=m.gain))
            cpu = time.process_time() - start
            got = judge(series, found)
            good = got["right"] == got["images"]
            alone, helped = alone + good, helped + good
            said = "right" if good else f"{got['right']} of {got['images']}"
        except lacbed.LacbedError as error:
            cpu, said, got = time.process_time() - start, f"asks: {str(error)[:60]}", None
        if got is None or got["right"] != got["images"]:
            from lacbed.experiment.extract.look import look_at

            spots = spots_of(series, look_at(frames, lacbed.ExtractSettings()))
            try:
                settings = lacbed.ExtractSettings(gain=m.gain, spots=spots)
                got = judge(series, lacbed.extract(frames, crystal, zone, 200e3, settings))
                good = got["right"] == got["images"]
                helped += good
                said += "; right with two spots" if good else "; wrong with two spots"
            except lacbed.LacbedError as error:
                said += f"; with two spots: {str(error)[:60]}"
        numbers = ["–"] * 7 if got is None else [
            str(got["images"]), f"{got['ratio']:.3g}", f"{got['chi2']:.3f}", f"{got['half_width']:+.3f}",
            f"{got['su']:.3f}", f"{got['rotation']:+.3f}", f"{got['center']:.3f}",
        ]  # fmt: skip
        rows.append([label, said, *numbers, f"{cpu:.1f}"])
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    head = (
        "crystal",
        "indices",
        "images",
        "ratio",
        "χ²",
        "half-width / %",
        "s.u. / %",
        "turn / °",
        "centre / px",
        "CPU / s",
    )
    text = f"Right without help: {alone} of {count}; with two named spots where needed: {helped} of {count}."
    return f"{text}\n\n{table(head, rows)}"


def fast_frames(path: Path, tilts: int, camera: int) -> None:
    """A series of the stated size, quickly: discs of a simulated crystal, noise from a pool; 16 bit."""
    crystal = lacbed.Crystal.named("GaAs")
    shortest = shortest_of(crystal, (1, 1, 0))
    spacing = camera / 9
    pattern = lacbed.simulate(
        crystal, (1, 1, 0), 200e3, (600.0,), lacbed.TiltGrid(tilts, k_max=0.5), ("all", 4.2 * shortest),
        solver="fast", beams=60, dtype="float32",
    )  # fmt: skip
    c, s = math.cos(0.4), math.sin(0.4)
    places = np.stack([pattern["gy"].values, pattern["gx"].values], axis=1) @ np.array([[c, s], [-s, c]])
    places = places * spacing / shortest + camera / 2
    rng = np.random.default_rng(0)
    noise = rng.poisson(2.0, (48, camera, camera)).astype(np.float32)
    reach = 9
    window = np.arange(-reach, reach + 1)
    header = np.lib.format.open_memmap(path, "w+", np.uint16, (tilts * tilts, camera, camera))
    del header
    with path.open("r+b") as stream:
        stream.seek(-tilts * tilts * camera * camera * 2, 2)
        for row in range(tilts):
            block = np.empty((tilts, camera, camera), dtype=np.uint16)
            for column in range(tilts):
                frame = noise[rng.integers(48)].copy()
                move = np.array([4.0 * (row / tilts - 0.5), -6.0 * (column / tilts - 0.5)])
                for place, image in zip(places + move, pattern.values[0], strict=True):
                    low = np.round(place).astype(int)
                    if np.any(low < reach) or np.any(low >= camera - reach):
                        continue
                    d = np.hypot(
                        *np.meshgrid(low[0] + window - place[0], low[1] + window - place[1], indexing="ij")
                    )
                    disc = np.clip(5.0 - d, 0, 1) * float(image[row, column]) * 300
                    spot = (slice(low[0] - reach, low[0] + reach + 1), slice(low[1] - reach, low[1] + reach + 1))
                    frame[spot] += rng.poisson(disc)
                block[column] = 10 * frame
            stream.write(block.tobytes())


_MEASURED = """
import resource, sys, time
import lacbed
start, cpu = time.perf_counter(), time.process_time()
frames = lacbed.open_frames(sys.argv[1])
found = lacbed.extract(frames, lacbed.Crystal.named("GaAs"), (1, 1, 0), 200e3, lacbed.ExtractSettings(gain=10.0))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(time.perf_counter() - start, time.process_time() - cpu, peak, len(found.experiment.hkl),
found.experiment.half_width)
"""


def speed(sizes: list[tuple[int, int]]) -> str:
    """Time and memory for large series, each in a process of its own."""
    rows = []
    for tilts, camera in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "series.npy"
            fast_frames(path, tilts, camera)
            done = subprocess.run(
                [sys.executable, "-c", _MEASURED, str(path)], capture_output=True, text=True, check=False
            )
            size = path.stat().st_size / 1e9
        if done.returncode:
            rows.append([f"{tilts}² x {camera}²", f"{size:.2f}", done.stderr.strip()[-80:], "", "", ""])
            continue
        wall, cpu, peak, count, half = done.stdout.split()
        rows.append(
            [f"{tilts}² x {camera}²", f"{size:.2f}", f"{float(wall):.0f}",
             f"{float(cpu):.0f}", f"{float(peak):.2f}",
             f"{count}; {100 * (float(half) / 0.5 - 1):+.2f} %"]
        )  # fmt: skip
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    return table(("tilts x pixels", "GB", "wall / s", "CPU / s", "peak / GiB", "images; half-width"), rows)


def blind(tilts: int, seeds: int) -> str:
    """A refinement of extracted stacks, started far from the truth."""
    rows, inside, total = [], 0, 0
    for name, zone, thickness in (
        ("GaAs", (1, 1, 0), 600.0),
        ("SrTiO3", (0, 0, 1), 500.0),
        ("Si", (1, 1, 0), 800.0),
    ):
        crystal = lacbed.Crystal.named(name)
        for seed in range(seeds):
            m = replace(microscope(seed, shortest_of(crystal, zone), tilts), stretch=1.0, fine=2)
            converged = {"solver": "auto", "beams": "auto", "tolerance": 1e-4}
            series = make_series(crystal, zone, m, thickness, reach=1.2, **converged)
            frames = lacbed.open_frames(series.frames, series.scan)
            found = lacbed.extract(frames, crystal, zone, 200e3, lacbed.ExtractSettings(gain=m.gain, images=14))
            options = lacbed.RefinementOptions(
                ("thickness", "B", "half_width", "tilt", "rotation", "blur"),
                tuple(np.arange(300.0, 1001.0, 25.0)),
                starts=2,
            )
            result = lacbed.refine(found.experiment, crystal, options)
            su = np.sqrt(np.diag(result.covariance))
            for p, value, error in zip(result.parameters, result.values, su, strict=True):
                if p.kind == "thickness":
                    truth = thickness
                elif p.kind == "B":
                    label = p.name.partition(":")[2]
                    truth = next((s.b_iso for s in crystal.sites if s.label == label), crystal.sites[0].b_iso)
                else:
                    continue
                total, inside = total + 1, inside + (abs(value - truth) < error)
                rows.append([f"{name} {seed}", p.name, f"{truth:.4g}", f"{value:.5g}", f"{error:.2g}",
                             f"{(value - truth) / error:+.2f}"])  # fmt: skip
                print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    head = ("stack", "parameter", "truth", "refined", "s.u.", "off / s.u.")
    return f"Within one standard uncertainty: {inside} of {total}.\n\n{table(head, rows)}"


def main() -> None:
    """Run the parts that are asked for."""
    arguments = parser(__doc__)
    arguments.add_argument("--only", default="indices,blind,speed", help="parts: indices, blind, speed")
    arguments.add_argument("--tilts", type=int, default=64)
    arguments.add_argument("--cases", default="", help="numbers of crystals, such as 0,3,5")
    arguments.add_argument("--sizes", default="128x256", help="tilts x pixels of the series for speed")
    arguments.add_argument("--seeds", type=int, default=2)
    asked = arguments.parse_args()
    chosen = [int(c) for c in asked.cases.split(",")] if asked.cases else None
    parts = []
    if "indices" in asked.only:
        parts.append(
            f"## Indices, intensities, geometry: {asked.tilts} x {asked.tilts} "
            f"tilts\n\n{indices(asked.tilts, chosen)}"
        )
    if "blind" in asked.only:
        parts.append(f"## Blind refinement\n\n{blind(asked.tilts, asked.seeds)}")
    if "speed" in asked.only:
        sizes = [(int(a), int(b)) for a, b in (s.split("x") for s in asked.sizes.split(","))]
        parts.append(f"## Time and memory\n\n{speed(sizes)}")
    publish("From frames to stacks", ["\n\n".join((__doc__ or "").split("\n\n")[1:]), *parts], asked)


if __name__ == "__main__":
    main()
