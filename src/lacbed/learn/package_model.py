"""What is done once a model is trained: its warning, its domain and its card, and the folder that is shipped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lacbed.learn import data, trust
from lacbed.learn.checkpoint import LoadedModel, load_model, save_model
from lacbed.learn.config import TrainConfig
from lacbed.learn.domain import domain_of, range_text
from lacbed.learn.losses import answer_of, pattern_errors, summary, truth_of
from lacbed.learn.models import predicts
from lacbed.learn.trust import SIGNS, descriptor_table, signs_of

_BATCH = 16
_TITLES = {
    "pattern": "a learned simulator of LACBED patterns",
    "potential": "the projected potential from a LACBED pattern",
}


def finish(run: str | Path, config: TrainConfig, training: Any, validation: Any) -> Path:
    """Write `run`/model: the best weights, with warning and domain.

    Args:
        run: folder of a trained run.
        config: of the run.
        training: its training crystals.
        validation: the crystals on which the warning is fitted.

    Raises:
        FileFormatError: if the run has no checkpoint or the operating system refuses.
    """
    run = Path(run)
    loaded = load_model(run / "checkpoint.safetensors")
    members = data.subset(len(training), config.data.fraction, config.data.seed)
    # A warning rests on the potential, which an inverse does not know.
    table = {} if predicts(config.model["name"]) == "potential" else descriptor_table(training, members)
    z, errors = _judge(loaded, validation, table)
    record = {
        **{name: loaded.record[name] for name in ("config", "data")},
        "code": str(loaded.record.get("code", "an unknown version of lacbed")),
        "trained": {k: v for k, v in loaded.record["progress"].items() if k in ("epoch", "step", "best_epoch")},
        "metrics": {"validation": summary(errors)},
    }
    if table:
        record["warning"] = trust.fit_warning(z, {name: errors[name] for name in SIGNS})
    dataset = record["data"].get("config")
    if dataset is not None:
        lattice = [float(training[int(i)]["lattice_parameter"]) for i in members]
        record["domain"] = domain_of(dataset, (min(lattice), max(lattice)))
    folder = run / "model"
    save_model(folder, loaded.model.state_dict(), table, record, card_text(record))
    return folder


@torch.no_grad()
def _judge(loaded: LoadedModel, validation: Any, table: Mapping[str, Any]) -> tuple[np.ndarray, dict[str, Any]]:
    """Errors over the validation rows, and the inputs of the warning if there is one."""
    parts: dict[str, list[np.ndarray]] = {}
    batches = list(data.in_order(len(validation), _BATCH))
    for batch in data.load(validation, batches):
        output = loaded.model(batch)
        found = pattern_errors(answer_of(output), truth_of(output, batch))
        trust = signs_of(batch, output, table) if table else {}
        for name, value in {**found, **trust}.items():
            parts.setdefault(name, []).append(value.flatten().double().numpy())
    errors = {name: np.concatenate(values) for name, values in parts.items()}
    return errors["z"], errors


def card_text(record: Mapping[str, Any]) -> str:
    """The model card in Markdown: what it is, what it learned from, how good it is, where it ends."""
    model, about, metrics = record["config"]["model"], record["data"], record["metrics"]["validation"]
    split = record["config"]["data"]
    what = "intensity" if predicts(model["name"]) == "pattern" else "the potential"
    lines = [
        f"# {model['name']}: {_TITLES[predicts(model['name'])]}",
        "",
        f"Made by {record['code']}. Settings: "
        + ", ".join(f"{k} {v}" for k, v in model.items() if k != "name")
        + ".",
        "",
        "## Data",
        f"{about.get('used_for_training', about['crystals'])} training crystals; split by {split['kind']}, "
        f"seed {split['seed']}" + (", which leaks" if split["kind"] == "row" else "") + ".",
    ]
    lines += [f"- {line}" for line in about.get("attribution", [])]
    lines += [
        "",
        "## On the validation crystals, which chose the epoch",
        f"Z median {100 * metrics['z_median']:.3g} %, mean {100 * metrics['z_mean']:.3g} %, p90 "
        f"{100 * metrics['z_p90']:.3g} %, max {100 * metrics['z_max']:.3g} %; relative L2 of {what}, median "
        f"{100 * metrics['relative_l2_median']:.3g} %. The report on the test crystals: lacbed evaluate.",
        "",
        "## Limits",
    ]
    domain = record.get("domain")
    if domain is not None:
        t, e, a = domain["thickness"], domain["energy"], domain["lattice_parameter"]
        lines.append(
            f"Cubic crystals along {domain['zone_axis']}, reflection 000, {range_text(t, 'Å')}, "
            f"{range_text([v / 1e3 for v in e], 'kV')}, trained for a from {a[0]:.3g} to {a[1]:.3g} Å; "
            f"{domain['factors']} factors, absorption {domain['absorption']}, zero-order Laue zone."
        )
    if what != "intensity":
        lines.append("Of all potentials that 000 cannot tell apart, the one nearest to the answer counts.")
    warned = record.get("warning", {})
    if warned.get("caught") is not None:
        lines.append(
            f"The warning catches {100 * warned['caught']:.3g} % of the validation predictions with Z above 10 % "
            f"and flags {100 * (warned['flagged_of_others'] or 0):.3g} % of the others."
        )
    return "\n".join(lines) + "\n"
