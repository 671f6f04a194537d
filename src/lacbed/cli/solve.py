"""lacbed solve: from a measured stack to columns, elements and crystals, with nothing known but the cell."""

from __future__ import annotations

import math
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli import parse
from lacbed.cli.console import Reporter, columns
from lacbed.errors import SettingError

if TYPE_CHECKING:
    from lacbed.retrieval.search import SearchState
    from lacbed.retrieval.solution import Solution, SolveOptions


def command(
    experiment: Annotated[
        Path,
        typer.Argument(
            metavar="EXPERIMENT", help="A file made by lacbed experiment import, or a folder.", show_default=False
        ),
    ],
    cell: Annotated[
        str,
        typer.Option(
            "--cell",
            metavar="A,B,C,ALPHA,BETA,GAMMA",
            help="The cell in Å and degrees; A alone for a cubic one.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the results.", show_default=False)
    ],
    space_group: Annotated[
        int | None, typer.Option("--space-group", metavar="N", help="Number of the space group, if it is known.")
    ] = None,
    elements: Annotated[
        str,
        typer.Option("--elements", metavar="LIST", help="Elements that may be present: Ga,As; by default all."),
    ] = "",
    column_range: Annotated[
        str, typer.Option("--columns", metavar="LOW:HIGH", help="Number of columns in the projected cell.")
    ] = "1:6",
    thickness: Annotated[
        str, typer.Option("--thickness", "-t", metavar="LOW:HIGH", help="Range of the thickness in Å.")
    ] = "200:2000",
    limit: Annotated[
        str, typer.Option("--time", metavar="TIME", help="Start no new round after this time: 90s, 5m, 1h.")
    ] = "5m",
    seed: Annotated[int, typer.Option("--seed", help="Seed of all random numbers.")] = 0,
    refined: Annotated[int, typer.Option("--refined", metavar="N", help="Number of candidates to refine.")] = 3,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the search in FOLDER.")] = False,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Solve a crystal from a measured LACBED stack, with nothing known but its cell.

    Example: lacbed solve measured.nc --cell 5.653 --elements Ga,As -o solved
    """
    from lacbed.retrieval.solution import SolveOptions

    low, high = parse.whole_range(column_range, "--columns")
    options = SolveOptions(
        columns=(low, high),
        thickness=parse.number_range(thickness, "--thickness"),
        elements=tuple(e for e in re.split(r"[,\s]+", elements) if e),
        space_group=space_group,
        seconds=parse.seconds(limit),
        seed=seed,
        refined=refined,
    )
    count = len(cell.replace(",", " ").split())
    if count not in (1, 6):
        raise SettingError(
            f"--cell must be six numbers a,b,c,alpha,beta,gamma (or one, of a cubic cell), got {cell!r}"
        )
    run(experiment, parse.numbers(cell, "--cell", count), options, out, resume, Reporter(quiet, as_json))


def run(
    path: Path, cell: tuple[float, ...], options: SolveOptions, out: Path, resume: bool, reporter: Reporter
) -> None:
    """Read, search, write."""
    from lacbed.experiment.folder import load_experiment
    from lacbed.io.lock import claimed
    from lacbed.report import check_resumable
    from lacbed.retrieval import solve_files as files
    from lacbed.retrieval.solve import solve_structure
    from lacbed.solvers.blocks import describe_work

    check_resumable(out, "search", files.STATE, resume)
    with claimed(out, "search", inside=True):
        measured = load_experiment(path)
        mark = files.fingerprint(measured, cell, options)
        start = files.load_state(out, mark) if resume else None
        clock, cpu = time.perf_counter(), time.process_time()
        with reporter.progress("Solving") as bar:

            def tell(what: str, fraction: float, _state: SearchState) -> None:
                if bar is None:
                    reporter.remark(f"  {what}")
                    return
                bar(fraction)
                describe_work(bar, what)

            solution = solve_structure(
                measured,
                cell,
                options,
                resume=start,
                on_progress=tell,
                on_checkpoint=lambda state: files.save_state(out, state, mark),
            )
        files.save_state(out, solution.search, mark)
        written = files.write_solution(solution, out, measured.name)
        used = {"seconds": time.perf_counter() - clock, "cpu_seconds": time.process_time() - cpu}
        _report(solution, files.summary(solution), written, used, reporter)
    if "stopped" in solution.notes:
        sys.stderr.write(f"lacbed: the best so far is in {out}; continue with --resume\n")
        raise KeyboardInterrupt


def _report(
    solution: Solution, numbers: dict[str, Any], written: list[Path], used: dict[str, float], reporter: Reporter
) -> None:
    from lacbed.retrieval.solve_files import odds

    verdict = "solved" if solution.solved else "not solved"
    reporter.say(
        f"{verdict}: score {solution.score:.2f} of 1 (no calibrated probability); "
        f"R {numbers['R']:.3f} ({numbers['R_held_out']:.3f} held out), "
        f"beyond noise {numbers['gap']:.2f} times that of the next, met {numbers['met']} times; "
        f"{used['cpu_seconds']:.0f} CPU seconds"
    )
    reporter.say(
        f"thickness {numbers['thickness']:.0f} Å, absorption {numbers['absorption']:.3f}, half-width "
        f"{numbers['half_width']:.4f} 1/Å, plane group {numbers['plane_group']}"
    )
    rows: list[tuple[str, ...]] = [("column", "x / Å", "y / Å", "strength", "elements")]
    for i, row in enumerate(numbers["columns"]):
        rows.append(
            (
                str(i + 1),
                f"{row['x']:.2f}",
                f"{row['y']:.2f}",
                f"{row['strength']:.4f} ± {row['strength_uncertainty']:.4f}",
                odds(solution.elements[i]),
            )
        )
    for line in columns(rows):
        reporter.say(f"  {line}")
    for place, c in enumerate(numbers["candidates"], 1):
        z = float(c["Z_held_out"])
        text = f", Z of held-out tilts {100 * z:.2f} %" if math.isfinite(z) else ""
        reporter.say(f"  candidate {place}: {c['formula']}, {c['space_group']}{text}")
    for note in solution.notes:
        reporter.say(f"  note: {note}")
    for path in written:
        reporter.say(f"  wrote {path}")
    reporter.finish({**numbers, **used, "files": [str(path) for path in written]})
