"""How near do the learned inverse and the refinement of Fourier coefficients come to the true potential?

Test crystals are retrieved from the learned answer (`--model`) and, with `--neighbour`, from the potential of the
training crystal with the most similar pattern. They are compared modulo what 000 cannot tell
(docs/physics.md#same-000).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import parser, publish, table
from lacbed.identification.predictors import Target
from lacbed.learn import data, inverse_baselines
from lacbed.learn.symmetry import aligned
from lacbed.patterns.metrics import relative_l2, zncc_loss
from lacbed.retrieval.forward import Foil
from lacbed.retrieval.retrieve import retrieve
from lacbed.retrieval.start import learned_potential, load_inverse

FINE = 256  # shifts tried along a side when potentials are compared


def target_of(item: dict[str, Any], extent: float) -> Target:
    """The 000 pattern of a crystal of a data set."""
    image = np.asarray(item["pattern"])[0, 0].astype(float)
    m, a = image.shape[0], float(item["lattice_parameter"])
    axis = (np.arange(m) - m / 2 + 0.5) * (2.0 * extent / m) / a
    return Target(image, axis, axis, float(item["energy"]), (0, 0, 1))


def errors(potential: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """Z and relative L2 of a potential, against the nearest of those that give the same pattern."""
    nearest = aligned(truth, potential, FINE)
    return float(zncc_loss(potential, nearest)), float(relative_l2(potential, nearest))


def retrieved(target: Target, foil: Foil, start: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """Errors of potential and pattern before and after refinement, and its CPU seconds."""
    clock = time.process_time()
    found = retrieve(target, foil, start)
    seconds = time.process_time() - clock
    before, after = errors(found.start, truth), errors(found.potential, truth)
    return {
        "z_start": before[0],
        "l2_start": before[1],
        "z": after[0],
        "l2": after[1],
        "pattern_start": found.z[0],
        "pattern": found.z[-1],
        "seconds": seconds,
        "free": found.free,
    }


def percent(values: Any, what: str = "median") -> str:
    return f"{100 * float(getattr(np, what)(values)):.3g} %"


def line(title: str, rows: list[dict[str, float]]) -> tuple[str, ...]:
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    closer = f"{np.mean(column['z'] < column['z_start']):.0%}".replace("%", " %")
    pairs = [("pattern_start", "pattern"), ("z_start", "z"), ("l2_start", "l2")]
    cells = [
        f"{percent(column[a], what)} → {percent(column[b], what)}" for a, b in pairs for what in ("median", "mean")
    ]
    return (title, *cells, closer, f"{np.mean(column['seconds']):.1f}")


def evaluation(path: Path) -> list[tuple[str, ...]]:
    """The rows of a summary.json of `lacbed evaluate`."""
    found = json.loads((path / "summary.json").read_text("utf-8"))["summaries"]
    keys = ("z_median", "z_mean", "z_p90", "relative_l2_median", "relative_l2_mean")
    return [(name, *(f"{100 * s[key]:.3g} %" for key in keys)) for name, s in found.items()]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("data", type=Path, help="data set")
    arguments.add_argument("--model", help="folder of a learned inverse, to start from as well")
    arguments.add_argument("--crystals", type=int, default=24, help="test crystals to retrieve")
    arguments.add_argument("--neighbour", action="store_true", help="start from the nearest neighbour as well")
    arguments.add_argument("--kind", default="compound", help="kind of split")
    arguments.add_argument("--seed", type=int, default=0, help="which crystals")
    arguments.add_argument(
        "--report",
        action="append",
        default=[],
        metavar="TITLE=FOLDER",
        help="a folder that lacbed evaluate wrote, for the first tables",
    )
    options = arguments.parse_args()
    torch.set_num_threads(1)
    model = None if options.model is None else load_inverse(options.model)
    training, test = (data.open_data(options.data, side, options.kind, 0, "inverse") for side in ("train", "test"))
    reference = (
        inverse_baselines.make_reference(training, np.arange(len(training)), 128) if options.neighbour else None
    )
    chosen = np.sort(np.random.default_rng(options.seed).permutation(len(test))[: options.crystals])
    labels = data.labels_of(test)
    rows: dict[str, list[dict[str, float]]] = {}
    each = []
    for number in chosen.tolist():
        item = test[number]
        foil = Foil(float(item["lattice_parameter"]), float(item["thickness"][0]), float(item["energy"]))
        target, truth = target_of(item, test.config.extent), torch.as_tensor(item["potential"])[0].double()
        starts = {} if model is None else {"learned answer": learned_potential(target, foil, model)}
        if reference is not None:
            answers, _ = inverse_baselines.predict_baselines(reference, data.collate([item]))
            starts["nearest neighbour"] = answers["nearest neighbour with a"][0, 0].double()
        for name, start in starts.items():
            rows.setdefault(name, []).append(retrieved(target, foil, start, truth))
        found = [r[-1] for r in rows.values()]
        each.append(
            (
                f"{labels['formula'][number]} ({labels['space_group'][number]})",
                f"{foil.lattice_parameter:.3f}",
                *(
                    f"{100 * r[a]:.3g} → {100 * r[b]:.3g}"
                    for r in found
                    for a, b in (("pattern_start", "pattern"), ("z_start", "z"))
                ),
                f"{found[0]['free']:.0f}",
            )
        )
        print(*each[-1], f"{found[0]['seconds']:.1f} s", flush=True)
    parts = []
    for report in options.report:
        title, _, folder = report.partition("=")
        head = ("", "Z median", "Z mean", "Z p90", "rel. L2 median", "rel. L2 mean")
        parts += [f"## Learned inverse: {title}", table(head, evaluation(Path(folder)))]
    parts += [
        "## Refinement of Fourier coefficients",
        f"{len(chosen)} random crystals of the test split by {options.kind}, 600 Å, 200 kV, absorption of Thomas "
        "et al. in the patterns, which the refinement has to find as two numbers; 32 x 32 pixels, |g| ≤ 6 a*, "
        "symmetry of the pattern kept. Before → after.",
        table(
            (
                "start",
                "Z of the pattern, median",
                "mean",
                "Z of the potential, median",
                "mean",
                "rel. L2, median",
                "mean",
                "potential closer",
                "CPU s",
            ),
            [line(n, r) for n, r in rows.items()],
        ),
        "Crystal by crystal, Z in per cent:",
        table(
            (
                "crystal (space group)",
                "a (Å)",
                *(f"{name}: {what}" for name in rows for what in ("pattern", "potential")),
                "free",
            ),
            each,
        ),
    ]
    publish("Retrieval", parts, options)


if __name__ == "__main__":
    main()
