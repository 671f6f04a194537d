"""A search for an unknown crystal on the page: the best so far as it goes on, and what it comes to."""

from __future__ import annotations

import io
import shlex
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.app.bench import read_experiment
from lacbed.app.limits import Header, Send, check_stop
from lacbed.errors import SettingError
from lacbed.io.checks import check_number, is_list, is_number

if TYPE_CHECKING:
    import xarray as xr

    from lacbed.experiment.experiment import Experiment
    from lacbed.retrieval.projection_cell import ProjectedCell
    from lacbed.retrieval.search import SearchState
    from lacbed.retrieval.solution import Solution, SolveOptions

MAP_PIXELS = 96
SIDE = 72
"""Pixels of an image that is compared; each has the value of the nearest tilt that was computed."""

MATRICES = 64
"""Tilts that are computed in every Brillouin zone of such an image."""

MOST_IMAGES = 12
SECONDS_APART = 1.0
"""Between two pictures of the best so far."""

STOPPED = "the search was stopped before the best stood out"


@dataclass(frozen=True)
class Asked:
    """A search that the page wants.

    Attributes:
        cell: six numbers in Å and degrees, or one of a cubic cell.
        options: of the search.
        state: where an earlier one stood, or None.
        ending: whether only the best of that state is wanted.
    """

    cell: tuple[float, ...]
    options: SolveOptions
    state: Mapping[str, Any] | None
    ending: bool


def parse_search(data: Any, longest: float) -> Asked:
    """A search from what the page sent; the values themselves are checked by `SolveOptions` and the search.

    Args:
        data: {"cell", "columns", "thickness", "elements", "space_group", "seconds", "seed", "refined", "state",
            "ending"}; what is missing is as in `SolveOptions`.
        longest: seconds that a search may take here.

    Raises:
        SettingError: in plain words, naming what was expected.
    """
    from lacbed.retrieval.solution import SolveOptions

    if not isinstance(data, Mapping):
        raise SettingError("the search must be a JSON object")
    cell = data.get("cell")
    if not is_list(cell, is_number) or len(cell) not in (1, 6):
        raise SettingError(
            f"a cell is six numbers a,b,c,alpha,beta,gamma (or one, of a cubic cell), got {cell!r:.80}"
        )
    given = {key: data[key] for key in ("seed", "refined") if key in data}
    for key, word in (("columns", "the number of columns"), ("thickness", "the thickness")):
        if key in data:
            if not isinstance(data[key], list) or len(data[key]) != 2:
                raise SettingError(f"{word} must be a range of two numbers, got {data[key]!r:.40}")
            given[key] = tuple(data[key])
    elements = data.get("elements", [])
    if not is_list(elements, lambda v: isinstance(v, str)):
        raise SettingError(f"the elements must be symbols such as Ga, As, got {elements!r:.40}")
    state, ending = data.get("state"), data.get("ending") is True
    if state is not None and not isinstance(state, Mapping):
        raise SettingError("where a search stood must be a JSON object")
    seconds = check_number("the time of a search on this page", data.get("seconds", 120), 1, longest, unit="s")
    if ending:  # nothing more is drawn, and nothing refined
        seconds, given["refined"] = 1e-3, 0
    options = SolveOptions(elements=tuple(elements), space_group=data.get("space_group"), seconds=seconds, **given)
    return Asked(tuple(float(v) for v in cell), options, state, ending)


def solve(asked: Asked, files: Mapping[str, bytes], send: Send, budget: int) -> None:
    """Search an experiment for its crystal.

    Sends kind "searching" with the best so far, its map as payload, and the state from which a search can go on;
    then "solved" with the numbers of the solution and its candidates, and as payload the map (v, u) and pairs of
    measured and simulated images (reflection, 2, ky, kx), float32; then the report of `lacbed solve` as one HTML
    page (kind "report") and its folder as a zip file (kind "folder").

    Raises:
        FileFormatError: if the files are no experiment, or the state is not of this search.
        SettingError: as `lacbed.solve_structure` does.
        MemoryLimitError: if the images are more than one computation may hold.
    """
    from lacbed.retrieval.projection_cell import projected_cell
    from lacbed.retrieval.solve import solve_structure
    from lacbed.retrieval.solve_files import fingerprint, state_from_json

    send({"kind": "progress", "phase": "reading the measured patterns", "fraction": None}, b"")
    experiment = read_experiment(files, budget)
    mark = fingerprint(experiment, asked.cell, asked.options)
    start = None if asked.state is None else state_from_json(asked.state, mark, "the search that the page kept")
    if asked.ending and (start is None or not start.trials):
        raise SettingError("the search has no structure yet; let it go on for a while")
    projected = projected_cell(experiment, asked.cell, asked.options.space_group)
    teller = _Teller(send, experiment, projected, mark)
    clock = time.perf_counter()
    solution = solve_structure(
        experiment, asked.cell, asked.options, resume=start, on_progress=teller.tell, on_step=teller.step
    )
    if asked.ending:
        notes = tuple(STOPPED if note.startswith("the time was over") else note for note in solution.notes)
        solution = replace(solution, notes=notes)
    teller.show(solution.search)
    _send_solution(solution, asked, experiment.name, time.perf_counter() - clock, send)
    _send_files(solution, experiment.name, send)


class _Teller:
    """Tells the page how a search goes on, and ends it if the page has gone."""

    def __init__(self, send: Send, experiment: Experiment, cell: ProjectedCell, mark: str) -> None:
        self._send, self._experiment, self._cell, self._mark = send, experiment, cell, mark
        self._phase, self._told, self._shown, self._seen = "searching", 0.0, 0.0, (-1, -1)

    def tell(self, what: str, fraction: float, state: SearchState) -> None:
        """The end of a round, or another part of the work."""
        is_round = what.startswith("round ")
        self._phase = "searching" if is_round else what
        self._progress(fraction if is_round else None)
        self.show(state)

    def step(self, fraction: float, state: SearchState) -> None:
        """Somewhere in a round, or in a refinement."""
        check_stop()
        now = time.monotonic()
        searching = self._phase == "searching"
        if now - self._told > 0.5:
            self._told = now
            self._progress(fraction if searching else None)
        if searching and now - self._shown > SECONDS_APART:
            self.show(state)

    def _progress(self, fraction: float | None) -> None:
        check_stop()
        self._send({"kind": "progress", "phase": self._phase, "fraction": fraction}, b"")

    def show(self, state: SearchState) -> None:
        """The best so far, if anything was found since it was shown last."""
        from lacbed.retrieval.solution import columns_map
        from lacbed.retrieval.solve_files import state_to_json

        seen = (state.round, len(state.trials))
        if not state.trials or seen == self._seen:
            return
        self._seen, self._shown = seen, time.monotonic()
        best = state.trials[0]
        image = columns_map(best.columns, self._cell, self._experiment.energy, MAP_PIXELS)
        header: Header = {
            "kind": "searching",
            "name": self._experiment.name,
            "zone_axis": list(self._experiment.zone_axis),
            "round": state.round,
            "R": best.residual,
            "met": len(best.roots),
            "thickness": best.columns.thickness,
            "columns": _places(best.columns.places),
            "map": _about_map(image),
            "state": state_to_json(state, self._mark),
        }
        self._send(header, image.values.astype("<f4").tobytes())


def _places(places: np.ndarray) -> list[Header]:
    return [{"u": float(u % 1.0), "v": float(v % 1.0)} for u, v in places]


def _about_map(image: xr.DataArray) -> Header:
    low, high = float(image.min()), float(image.max())
    return {"pixels": int(image.shape[0]), "cell": image.attrs["cell"], "low": low, "high": high, "unit": "V"}


def _send_solution(solution: Solution, asked: Asked, name: str, seconds: float, send: Send) -> None:
    from lacbed.report import finite
    from lacbed.retrieval.solve_files import in_words, odds, summary

    image = solution.potential(MAP_PIXELS)
    hkl, z, pairs = compared_images(solution)
    numbers = finite(summary(solution))
    for row, column, guesses in zip(
        numbers["columns"], _places(solution.best.columns.places), solution.elements, strict=True
    ):
        row |= {**column, "odds": odds(guesses)}
    for row, candidate in zip(numbers["candidates"], solution.candidates, strict=True):
        row["cif"] = candidate.crystal.to_cif()
    header: Header = {
        "kind": "solved",
        "name": name,
        **numbers,
        "words": in_words(solution),
        "cell": list(asked.cell),
        "zone_axis": list(solution.experiment.zone_axis),
        "voltage": solution.experiment.energy / 1e3,
        "map": _about_map(image),
        "pixels": SIDE,
        "hkl": hkl,
        "z": z,
        "command": command(asked),
        "seconds": seconds,
        "ended": asked.ending,
    }
    content = image.values.astype("<f4").tobytes() + pairs.astype("<f4").tobytes()
    send(header, content)


def command(asked: Asked) -> str:
    """The shell command of a search in the folder or file called `experiment`."""
    options = asked.options
    words = ["lacbed", "solve", "experiment", "--cell", _comma(asked.cell)]
    if options.space_group is not None:
        words += ["--space-group", str(options.space_group)]
    if options.elements:
        words += ["--elements", ",".join(options.elements)]
    words += ["--columns", "{}:{}".format(*options.columns), "--thickness", "{:g}:{:g}".format(*options.thickness)]
    words += [] if asked.ending else ["--time", f"{options.seconds:g}s"]
    return " ".join(shlex.quote(word) for word in [*words, "--seed", str(options.seed), "-o", "solved"])


def _comma(values: Sequence[float]) -> str:
    return ",".join(f"{v:.10g}" for v in values)


def compared_images(solution: Solution) -> tuple[list[list[int]], list[float | None], np.ndarray]:
    """Measured and simulated intensities of the columns at the same tilts.

    Returns:
        The reflections, those with the most tilts first; Z of each over its tilts; and images
        (reflection, 2, ky, kx) in which every pixel has the value of the nearest tilt, NaN where none is near.
    """
    from scipy.spatial import cKDTree

    from lacbed import zncc_loss
    from lacbed.retrieval.columns import ColumnModel
    from lacbed.retrieval.comparison import Comparison
    from lacbed.retrieval.points import make_points
    from lacbed.retrieval.sharpen import REACH

    cell = solution.cell
    stack = solution.experiment.scaled(solution.best.half_width / solution.experiment.half_width)
    points = make_points(stack, cell.basis, cell.indices, reach=REACH, matrices=MATRICES)
    measured, simulated, weight = Comparison(ColumnModel(points)).fitted(solution.best.columns)
    matrix, incoming, leaving, image = points.pairs
    tilts = points.reduced[matrix] + points.beams[incoming] @ cell.basis.T
    axis = ((np.arange(SIDE) + 0.5) / SIDE - 0.5) * 2.0 * stack.half_width
    grid = np.stack(np.meshgrid(axis, axis), axis=-1) + np.array(stack.center)
    near = np.sqrt(abs(float(np.linalg.det(cell.basis))) / MATRICES)
    count = np.bincount(image, minlength=points.images)
    hkl: list[list[int]] = []
    z: list[float | None] = []
    images: list[np.ndarray] = []
    for number in np.argsort(-count, kind="stable")[:MOST_IMAGES].tolist():
        mine = np.flatnonzero(image == number)
        step = points.beams[leaving[mine[0]]] - points.beams[incoming[mine[0]]]
        which = int(np.flatnonzero((cell.indices == step).all(axis=1))[0])
        distance, nearest = cKDTree(tilts[mine]).query(grid)
        target = points.target[mine]
        values = np.stack([target, target - (measured - simulated)[mine] / weight[mine]])
        z.append(float(zncc_loss(values[:1], values[1:])) if len(mine) > 2 else None)
        images.append(np.where(distance < 1.2 * near, values[:, nearest], np.nan))
        hkl.append([int(v) for v in solution.experiment.hkl[which]])
    return hkl, z, np.stack(images)


def _send_files(solution: Solution, name: str, send: Send) -> None:
    """The report, and the whole folder."""
    from lacbed.retrieval.solve_files import write_solution

    check_stop()
    send({"kind": "progress", "phase": "writing the report", "fraction": None}, b"")
    with tempfile.TemporaryDirectory(prefix="lacbed-") as place:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in write_solution(solution, Path(place) / "solved", name):
                archive.write(path, f"solved/{path.name}")
        send({"kind": "report", "of": "solve"}, (Path(place) / "solved" / "report.html").read_bytes())
    send({"kind": "folder"}, content.getvalue())
