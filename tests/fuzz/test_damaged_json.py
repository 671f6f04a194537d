"""Damaged JSON of every kind is refused in one line, or does no harm: state, model, training, config, page.

`python tests/fuzz/test_damaged_json.py --count 500 --seed 1` does as much of it as one likes.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damaged_json import damaged
from safetensors.torch import save_file
from synthetic import EXTENT, PIXELS, SMALL, SyntheticData, small_config

from lacbed import Crystal
from lacbed.app.files import parse_export
from lacbed.app.request import View, parse_view
from lacbed.errors import LacbedError
from lacbed.geometry.frame import make_frame
from lacbed.io.tensors import digest_of, read_tensors
from lacbed.learn import checkpoint
from lacbed.learn.config import config_from_dict, load_config
from lacbed.learn.models import build_model
from lacbed.learn.surrogate import Surrogate
from lacbed.learn.train import train
from lacbed.refinement import files
from lacbed.refinement.joint import Joint
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.problem import Measured
from lacbed.refinement.refine import check_state

Use = Callable[[bytes, Path], None]


# -- refinement -------------------------------------------------------------------------------------
@cache
def _joint() -> Joint:
    crystal = Crystal.named("GaAs")
    rng = np.random.default_rng(0)
    frame = make_frame(crystal, (0, 0, 1))
    measured = Measured(rng.random((2, 16, 16)), ((0, 0, 0), (2, 2, 0)), frame, 200e3, 0.3, (0.0, 0.0))
    return Joint(
        crystal, [measured], RefinementOptions(("thickness", "B", "blur"), (400.0, 500.0), 20, align="shift")
    )


def _state() -> dict[str, Any]:
    values = [p.value for p in _joint().parameters]
    return {
        "fingerprint": "mark",
        "stage": 1,
        "values": values,
        "thickness": 400.0,
        "blur": 0.8,
        "beams": 20,
        "shifts": [[0.1, 0.2], [0.0, -0.5]],
        "scan": [[400.0, 0.2], [500.0, 0.3]],
        "history": [["thickness", 0.2], ["B", 0.1]],
        "notes": ["a note"],
    }


def _resume(content: bytes, folder: Path) -> None:
    (folder / files.STATE).write_bytes(content)
    progress = files.load_progress(folder, "mark")
    check_state(progress, _joint())
    _possible(progress)


def _possible(progress: Any) -> None:
    """What was accepted can be gone on with."""
    assert all(0 < start.thickness < 1e6 and 0 < start.blur < 100 for start in progress.starts)
    assert np.isfinite(progress.values).all()
    for p, value in zip(_joint().parameters, progress.values, strict=True):
        if p.kind != "thickness":
            assert p.low - 1e-3 <= value <= p.high + 1e-3


# -- models -----------------------------------------------------------------------------------------
def _record() -> dict[str, Any]:
    config = {"model": SMALL["unet"], "data": {"kind": "compound", "seed": 0, "fraction": 1.0}}
    domain = {
        "crystal": "cubic",
        "zone_axis": [0, 0, 1],
        "hkl": [0, 0, 0],
        "thickness": [100.0, 2000.0],
        "energy": [60e3, 300e3],
        "lattice_parameter": [3.0, 9.0],
        "pixels": PIXELS,
        "extent": EXTENT,
        "factors": "kirkland",
        "absorption": ["proportional", 5.0],
        "potential_pixels": 32,
        "potential_g_max": 3.0,
    }
    warning = {"signs": ["distance", "nearby"], "coefficients": [0.1, 0.2, 0.3], "threshold": -2.0, "rows": 5}
    return {
        "format": checkpoint.MODEL,
        "format_version": 1,
        "config": config,
        "code": "lacbed",
        "data": {"crystals": 3},
        "domain": domain,
        "warning": warning,
    }


def _model(folder: Path) -> Path:
    torch.manual_seed(0)
    weights = build_model(SMALL["unet"]).state_dict()
    table = {"rows": torch.ones(3, 16).half(), "mean": torch.zeros(16), "scale": torch.ones(16)}
    checkpoint.save_model(folder, weights, table, _record(), "# card\n")
    return folder


def _predict(content: bytes, folder: Path) -> None:
    model = folder / "model"
    if not model.exists():
        _model(model)
    (model / "config.json").write_bytes(content)
    pattern = Surrogate.load(model).predict(Crystal.named("SrTiO3"), (300.0,))
    assert pattern.sizes["kx"] == PIXELS


# -- training ---------------------------------------------------------------------------------------
def _sign(tensors: dict[str, torch.Tensor], text: str, path: Path) -> None:
    """A checkpoint with whatever record, and the checksum that it would have."""
    header = {"format": checkpoint.CHECKPOINT, "format_version": "1", "record": text}
    save_file(tensors, path, metadata=header | {"sha256": digest_of(tensors, text)})


@cache
def _finished() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        train(_config(), *_rows(), Path(folder) / "run")
        path = Path(folder) / "run" / "checkpoint.safetensors"
        groups, record = read_tensors(path, checkpoint.CHECKPOINT)
    flat = {f"{group}/{name}": value for group, members in groups.items() for name, value in members.items()}
    return flat, record


def _config() -> Any:
    return config_from_dict(small_config("unet", epochs=1, batch=2))


@cache
def _rows() -> tuple[SyntheticData, SyntheticData]:
    return SyntheticData(2), SyntheticData(1, 100)


def _go_on(content: bytes, folder: Path) -> None:
    run = folder / "run"
    run.mkdir(exist_ok=True)
    _sign(_finished()[0], content.decode("utf-8", "replace"), run / "checkpoint.safetensors")
    train(_config(), *_rows(), run, resume=True)


# -- configs and requests ---------------------------------------------------------------------------
def _configure(content: bytes, folder: Path) -> None:
    path = folder / "config.json"
    path.write_bytes(content)
    load_config(str(path))


def _ask(content: bytes, _: Path) -> None:
    try:
        request = json.loads(content)
    except (ValueError, RecursionError):
        return  # the server says so
    parse_view(request)
    if isinstance(request, dict):
        parse_export({"format": ".nc", "thickness": request.get("thickness")})


KINDS: dict[str, tuple[Callable[[], dict[str, Any]], Use]] = {
    "state": (_state, _resume),
    "model": (_record, _predict),
    "training": (lambda: _finished()[1], _go_on),
    "config": (lambda: _config().to_dict(), _configure),
    "request": (lambda: View(name="GaAs").to_json(), _ask),
}


def outcome(kind: str, seed: int, folder: Path) -> str:
    """What becomes of one damaged file: "accepted", "refused", or the end of a traceback."""
    make, use = KINDS[kind]
    content = damaged(make(), random.Random(f"{kind} {seed}"))
    try:
        use(content, folder)
    except LacbedError as error:
        text = " ".join(str(error).split())
        return "refused" if 10 < len(text) < 700 else f"refused in {len(text)} characters"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {error!s:.100}"
    return "accepted"


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    make, use = KINDS[kind]
    use(json.dumps(make()).encode(), tmp_path)  # undamaged it is taken
    found = Counter(outcome(kind, seed, tmp_path) for seed in range(25))
    assert set(found) <= {"refused", "accepted"}, found
    assert found["refused"] >= 10


def main() -> None:
    """As many as asked for, and what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            seeds = range(asked.seed * 1_000_000, asked.seed * 1_000_000 + asked.count)
            found = Counter(outcome(kind, seed, Path(folder)) for seed in seeds)
        print(kind, f"{asked.count - found['refused'] - found['accepted']} faults of {asked.count}")
        for what, times in found.most_common(30):
            print(f"  {times:5d} {what}")


if __name__ == "__main__":
    main()
