"""lacbed dataset: build, check and show data sets of patterns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lacbed.cli import options as o
from lacbed.cli.building import report_built, workers_for
from lacbed.cli.console import Reporter, columns, size_text
from lacbed.errors import FileFormatError, SettingError
from lacbed.io.checks import check_number

if TYPE_CHECKING:
    from lacbed.datasets.config import DatasetConfig

NAME = "dataset"
app = typer.Typer(name=NAME, help="Build, verify and inspect data sets of patterns.", no_args_is_help=True)

DataArgument = Annotated[
    Path, typer.Argument(metavar="DATA.zarr", help="A data set (.zarr folder).", show_default=False)
]
SeedOption = Annotated[int, typer.Option("--seed", "-s", metavar="S", help="Seed of the random choice.")]


@app.command("build")
def build_command(
    catalog: Annotated[
        Path, typer.Argument(metavar="CATALOG", help="A catalogue (.parquet).", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DATA.zarr", help="Folder to write.", show_default=False)
    ],
    preset: Annotated[str | None, typer.Option("--preset", help="seed (default) or wide.")] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="A config (.toml or .json) in place of a preset."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", metavar="N", help="A random sample of N rows.")
    ] = None,
    seed: SeedOption = 0,
    max_atoms: Annotated[
        float | None, typer.Option("--max-atoms", metavar="N", help="At most N atoms per conventional cell.")
    ] = None,
    known: Annotated[bool, typer.Option("--known", help="Only structures known from experiment.")] = False,
    per_prototype: Annotated[
        int | None, typer.Option("--per-prototype", metavar="N", help="At most N rows per prototype.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-j", metavar="N", help="Number of processes; by default one per core."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="Use the workers of a Dask scheduler."),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device", help="cpu, cuda or auto (cpu for solver fast); a GPU computes similar crystals together."
        ),
    ] = "auto",
    batch: Annotated[int, typer.Option("--batch", metavar="N", help="Number of crystals written together.")] = 16,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Skip invalid rows and record them.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Recompute batches in which a crystal failed.")
    ] = False,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Compute the pattern of every crystal of a catalogue; run the same command again to resume.

    Crystals that fail are listed and do not stop the build; the exit code is 2 if none could be computed.

    Example: lacbed dataset build cubic.parquet -o data.zarr --preset seed --count 1000 --max-atoms 64
    """
    from lacbed.catalog.files import read_catalog
    from lacbed.cli.console import build_progress
    from lacbed.datasets.build import build, check_place
    from lacbed.datasets.plan import Selection, make_plan, select_rows
    from lacbed.datasets.workers import build_device

    check_number("--batch", batch, 1, 4096)
    chosen = _config(preset, config)
    selection = Selection(count, seed, max_atoms, known, per_prototype)
    check_place(out)
    workers_of, together = workers_for(workers, scheduler, build_device(device, chosen.solver))
    reporter = Reporter(quiet, as_json)
    table = select_rows(read_catalog(catalog), selection)
    with reporter.progress("Checking the crystals") as tick:
        plan = make_plan(table, chosen, selection, batch=batch, skip_invalid=skip_invalid, progress=tick)
    with build_progress(quiet) as tell:
        built = build(plan, out, workers_of, retry_failed=retry_failed, together=together, progress=tell)
    report_built(built, out, reporter)


def _config(preset: str | None, path: Path | None) -> DatasetConfig:
    from lacbed.datasets.config import load_config
    from lacbed.datasets.config import preset as named

    if preset is not None and path is not None:
        raise SettingError("give --preset or --config, not both")
    return load_config(path) if path is not None else named(preset or "seed")


@app.command("verify")
def verify_command(
    data: DataArgument,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", help="Number of crystals to recompute.")
    ] = 10,
    seed: SeedOption = 0,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Check all checksums and recompute a random sample; exit code 2 if anything differs.

    Of an exported data set, the Croissant metadata are compared with the files.
    """
    from lacbed.datasets.verify import verify

    if count < 0:
        raise SettingError(f"--count must not be negative, got {count}")
    reporter = Reporter(quiet, as_json)
    if (data / "croissant.json").exists():
        return _verify_exported(data, reporter)
    with reporter.progress("Verifying") as tick:
        found = verify(data, count, seed, tick)
    for check in found.checks:
        state = (
            check.problem or f"max |dI| {check.intensity_error:.2g}, potential {check.potential_error:.2g} steps"
        )
        reporter.say(f"  row {check.row} {check.formula}: {state}")
    reporter.say(f"{found.files} files and {len(found.checks)} crystals checked, {len(found.problems)} problems")
    if not found.finished:
        reporter.warn("the data set is not finished; run the same `lacbed dataset build` to resume")
    reporter.finish(
        {
            "path": data,
            "files": found.files,
            "damaged": found.damaged,
            "contradictions": found.contradictions,
            "finished": found.finished,
            "checks": [vars(check) for check in found.checks],
        }
    )
    if found.problems:
        more = f", and {len(found.problems) - 1} more problems" if len(found.problems) > 1 else ""
        raise FileFormatError(f"{data}: {found.problems[0]}{more}")


def _verify_exported(folder: Path, reporter: Reporter) -> None:
    from lacbed.datasets.exchange import check_exported

    files = check_exported(folder)
    for name, rows in files.items():
        reporter.say(f"  {name}: {rows} crystals, as croissant.json says")
    reporter.say(f"{len(files)} files checked, 0 problems")
    reporter.finish({"path": folder, "files": len(files), "rows": files})


@app.command("export")
def export_command(
    data: DataArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder to write.", show_default=False)
    ],
    kind: Annotated[
        str, typer.Option("--kind", help="Split by compound, prototype, or row (which leaks).")
    ] = "compound",
    seed: SeedOption = 0,
    benchmark: Annotated[
        str | None, typer.Option("--benchmark", metavar="NAME", help="Take the frozen split of a benchmark.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="TEXT", help="Name of the data set; by default that of the folder."),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Address at which it will be published.")] = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Write a data set as Parquet files in the layout of Hugging Face, with card, Croissant metadata and licences.

    Example: lacbed dataset export data.zarr -o exported
    """
    from lacbed.datasets.dataset import sides_of
    from lacbed.datasets.exchange import check_place, export
    from lacbed.datasets.reader import Store

    check_place(out)
    reporter = Reporter(quiet, as_json)
    store = Store(data)
    store.check_finished(partial=False)
    if benchmark is None:
        sides, split = sides_of(store, kind, seed), f"split by {kind}, seed {seed}"
    else:
        from lacbed.benchmark.task_data import frozen_sides

        sides, split = frozen_sides(data, kind, benchmark), f"split by {kind}, frozen in {benchmark}"
    with reporter.progress("Exporting") as tick:
        counts = export(data, out, sides, {"name": name or out.name, "split": split, "url": url or ""}, tick)
    for side, count in counts.items():
        reporter.say(f"{side:10} {count:7d} crystals")
    reporter.say(f"  wrote {out} ({size_text(out)})")
    reporter.finish({"folder": str(out), "counts": counts, "split": split})


@app.command("import")
def import_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="An exported data set.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DATA.zarr", help="Folder to write.", show_default=False)
    ],
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Make a data set again from Parquet files that `lacbed dataset export` wrote; nothing is computed.

    Example: lacbed dataset import exported -o data.zarr
    """
    from lacbed.cli.console import build_progress
    from lacbed.datasets.build import check_place
    from lacbed.datasets.exchange import restore

    check_place(out)
    reporter = Reporter(quiet, as_json)
    with build_progress(quiet or as_json) as tell:
        built = restore(folder, out, tell)
    report_built(built, out, reporter)


@app.command("info")
def info_command(data: DataArgument, quiet: o.QuietOption = False, as_json: o.JsonOption = False) -> None:
    """Show the contents of a data set: crystals, failures, config, convergence, sizes, licences."""
    from lacbed.datasets.summary import summarise_dataset

    found = summarise_dataset(data)
    reporter = Reporter(quiet, as_json)
    for line in _summary_lines(found):
        reporter.say(line)
    reporter.finish(found)


def _summary_lines(found: dict[str, Any]) -> list[str]:
    state = "finished" if found["finished"] else "NOT finished"
    lines = [
        f"{found['crystals']} of {found['rows']} crystals, {found['failed']} failed; {state}",
        f"{found['compounds']} compounds, {found['prototypes']} prototypes; {found['bytes'] / 1e6:.1f} MB in "
        f"{found['files']} files; {found['cpu_seconds']:.0f} CPU seconds",
        f"preset {found['preset'] or '(own config)'}, by {found['software']}",
        "  " + ", ".join(f"{name} {value}" for name, value in found["config"].items()),
        "symmetries: " + ", ".join(f"{name} {n}" for name, n in found["symmetries"].items()),
        f"intensities are stored to ±{found['intensity_bound']:.2g}",
    ]
    if found["spread"]:
        names = ("min", "p05", "median", "p95", "max")
        rows = [("", *names)]
        rows += [(name, *(f"{s[n]:.4g}" for n in names)) for name, s in found["spread"].items()]
        lines += ["", *columns(rows), ""]
    if found["near_duplicates"] is not None:
        near = found["near_duplicates"]
        lines.append(
            f"{near['rows']} crystals in {near['groups']} groups of near duplicates "
            f"(Z < {100 * near['bound']:g} %), the largest of {near['largest']}"
        )
    lines += [f"failed {n} times: {why}" for why, n in found["failures"].items()]
    lines += [f"from {s['source']} ({s['licence']}): {s['rows']}" for s in found["sources"]]
    return lines + [f"attribution required: {line}" for line in found["attribution"]]


@app.command("montage")
def montage_command(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE.png", help="Output file.", show_default=False)],
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="Number of crystals.")] = 20,
    seed: SeedOption = 0,
    width: Annotated[int, typer.Option("--columns", metavar="N", help="Images per row.")] = 5,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Plot patterns of different crystals side by side, with formula and lattice parameter."""
    from lacbed.datasets.summary import dataset_montage
    from lacbed.patterns.figures import replace_figure
    from lacbed.patterns.files import check_writable

    if out.suffix.lower() != ".png":
        raise FileFormatError(f"a montage is a .png, got {str(out)!r}")
    check_writable(out)
    figure = dataset_montage(data, count, seed, width)
    replace_figure(figure, out)
    reporter = Reporter(quiet, as_json)
    reporter.say(f"wrote {out}")
    reporter.finish({"file": out, "crystals": len(figure.axes)})


def _is_split(path: Path) -> bool:
    from lacbed.datasets.splits import SIDES
    from lacbed.io.checks import read_json

    return {"kind", "seed", *SIDES} <= set(read_json(path, "the split", 2**30, FileFormatError))


@app.command("split")
def split_command(
    data: DataArgument,
    kind: Annotated[str, typer.Option("--kind", help="compound, prototype, or row (which leaks).")] = "compound",
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.json", help="Write the row numbers of each side.")
    ] = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Split a data set 85 : 10 : 5 into training, validation and test sets."""
    import json

    from lacbed.datasets.dataset import sides_of
    from lacbed.datasets.manifest import read_manifest
    from lacbed.datasets.reader import Store
    from lacbed.datasets.splits import LEAKING
    from lacbed.io.atomic import check_replaceable, replacing

    if out is not None:
        if out.suffix.lower() != ".json":
            raise FileFormatError(f"a split is written as .json, got {str(out)!r}")
        if not out.parent.is_dir():
            raise FileFormatError(f"cannot write {str(out)!r}: there is no folder {str(out.parent)!r}; make it")
        check_replaceable(out, _is_split, "split")
    store = Store(data)
    sides, finished = sides_of(store, kind, seed), read_manifest(store.path) is not None
    result = {"path": str(data), "kind": kind, "seed": seed, "leaks": kind in LEAKING, "finished": finished}
    if out is not None:
        with replacing(out) as temporary:
            temporary.write_text(json.dumps({**result, **{k: v.tolist() for k, v in sides.items()}}) + "\n")
    reporter = Reporter(quiet, as_json)
    total = sum(len(rows) for rows in sides.values())
    for name, rows in sides.items():
        reporter.say(f"{name:10} {len(rows):7d} crystals  {100 * len(rows) / total:5.1f} %")
    if not finished:
        reporter.warn("the data set is not finished; its split changes with every further crystal")
    if kind in LEAKING:
        reporter.warn("with a split by row the same compound is on several sides: the test set leaks")
    reporter.finish({**result, "counts": {name: len(rows) for name, rows in sides.items()}, "file": out})
