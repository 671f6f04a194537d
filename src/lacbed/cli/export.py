"""lacbed export: a model as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lacbed.cli import options as o
from lacbed.cli.console import Reporter, size_text

NAME = "export"


def command(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.onnx", help="Output file.", show_default=False)
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="FOLDER", help="A model or run; by default the packaged model."),
    ] = None,
    quiet: o.QuietOption = False,
    as_json: o.JsonOption = False,
) -> None:
    """Export a learned simulator as ONNX, and check the file with onnxruntime.

    Example: lacbed export --model run -o simulator.onnx
    """
    from lacbed.io.lock import claimed
    from lacbed.learn.checkpoint import load_model
    from lacbed.learn.onnx import check_file, export_onnx
    from lacbed.learn.surrogate import find_model

    check_file(out)
    with claimed(out, "export", inside=False):
        difference = export_onnx(load_model(find_model(model)), out)
    reporter = Reporter(quiet, as_json)
    reporter.say(f"wrote {out} ({size_text(out)}); it differs from the model by at most {difference:.1e}")
    reporter.finish({"file": str(out), "max_difference": difference})
