"""How a trained model leaves: as a folder with its card, its domain and its warning, and as ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lacbed.errors import FileFormatError, MissingExtraError, SettingError, without_log
from lacbed.io.atomic import check_replaceable, reason, replacing
from lacbed.learn import data, trust
from lacbed.learn.checkpoint import LoadedModel, load_model, save_model
from lacbed.learn.config import TrainConfig
from lacbed.learn.domain import domain_of, range_text
from lacbed.learn.features import SCALARS
from lacbed.learn.losses import answer_of, pattern_errors, summary, truth_of
from lacbed.learn.models import predicts
from lacbed.learn.trust import SIGNS, descriptor_table, signs_of

TOLERANCE = 1e-4
"""Largest difference of intensity between the model and its ONNX form."""

INPUTS = ("potential", "lattice_parameter", "thickness", "energy", "symmetry", *SCALARS)
_EXAMPLE_BATCH, _CHECKED_BATCH = 2, 3


class _Positional(nn.Module):
    """The model with tensors in place of a dictionary."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Pattern, and log_sigma if the model has one."""
        output = self.model(dict(zip(self.names, values, strict=True)))
        return tuple(output[name] for name in ("pattern", "log_sigma") if name in output)


def export_onnx(loaded: LoadedModel, path: str | Path) -> float:
    """Write a model as ONNX and return its largest difference from the model under onnxruntime.

    Inputs are named as in `lacbed.learn.models`, outputs "pattern" and, if there is one, "log_sigma". The number
    of crystals is free; the number of thicknesses is one.

    Args:
        loaded: the model.
        path: a .onnx file.

    Raises:
        MissingExtraError: without onnx and onnxruntime.
        SettingError: if the model uses something that ONNX lacks, or the difference exceeds 1e-4.
        FileFormatError: if the file cannot be written.
    """
    path = Path(path)
    _check_installed()
    check_file(path)
    if not getattr(loaded.model, "EXPORTABLE", True):
        name = loaded.record["config"]["model"]["name"]
        raise SettingError(
            f"the model {name} cannot be exported as ONNX: its matrices depend on the crystal, or it is not a "
            "simulator; export a vae, unet or fno"
        )
    model = loaded.model.cpu().eval()
    names = (*INPUTS, *getattr(model, "NEEDS", ()))
    example = example_batch(loaded, _EXAMPLE_BATCH, seed=0)
    with torch.no_grad():
        made = model(example)
    outputs = tuple(name for name in ("pattern", "log_sigma") if name in made)
    with replacing(path) as temporary:
        _write(_Positional(model, names), tuple(example[n] for n in names), names, outputs, temporary)
        difference = _largest_difference(model, temporary, example_batch(loaded, _CHECKED_BATCH, seed=1))
        if not difference <= TOLERANCE:
            raise SettingError(
                f"the ONNX form differs from the model by {difference:.2g}; allowed is {TOLERANCE:g}"
            )
    return difference


def check_file(path: Path) -> None:
    """Refuse, before any work, a place where no exported model can be written.

    Raises:
        FileFormatError: saying why.
    """
    if path.suffix.lower() != ".onnx":
        raise FileFormatError(f"an exported model is a .onnx file, got {str(path)!r}")
    if not path.parent.is_dir():
        raise FileFormatError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}; make it")
    check_replaceable(path, _is_ours, "exported model")


def _is_ours(path: Path) -> bool:
    """Whether a file is ONNX with the inputs that every exported model has."""
    import onnx

    return {entry.name for entry in onnx.load(str(path)).graph.input} <= {*INPUTS, "absorptive"}


def example_batch(loaded: LoadedModel, crystals: int, seed: int) -> dict[str, Tensor]:
    """A batch of plausible inputs: atoms as Gaussians at random places, no symmetry but inversion."""
    from lacbed.learn.symmetry import pattern_symmetry

    generator = torch.Generator().manual_seed(seed)
    domain = loaded.record.get("domain", {})
    pixels = int(domain.get("potential_pixels", getattr(loaded.model.settings, "pixels", 128)))
    place = torch.arange(pixels) / pixels
    potential = torch.zeros(crystals, 1, pixels, pixels)
    for _ in range(3):
        centre = torch.rand(crystals, 2, generator=generator)
        offset = [(place - centre[:, i, None] + 0.5) % 1.0 - 0.5 for i in (0, 1)]
        potential[:, 0] += 150.0 * torch.exp(-200.0 * (offset[0][:, :, None] ** 2 + offset[1][:, None, :] ** 2))
    low, high = domain.get("thickness", (600.0, 600.0))
    batch = {
        "potential": potential,
        "lattice_parameter": 4.0 + torch.rand(crystals, generator=generator),
        "thickness": torch.full((crystals, 1), 0.5 * (low + high)),
        "energy": torch.full((crystals,), 200e3),
        "symmetry": pattern_symmetry(potential),
    }
    batch |= {name: torch.full((crystals,), value) for name, value in SCALARS.items()}
    return batch | {"absorptive": 0.05 * potential}


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError('ONNX needs an extra; install it with pip install "lacbed[onnx]"') from None


def _write(
    model: nn.Module, example: tuple[Tensor, ...], names: tuple[str, ...], outputs: tuple[str, ...], path: Path
) -> None:
    crystals = torch.export.Dim("crystals", min=1, max=4096)
    shapes = {"values": tuple({0: crystals} for _ in names)}
    try:
        with without_log("torch.onnx"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter about itself
            torch.onnx.export(
                model,
                example,
                str(path),
                input_names=list(names),
                output_names=list(outputs),
                dynamo=True,
                dynamic_shapes=shapes,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever the exporter cannot translate
        raise SettingError(f"this model cannot be written as ONNX: {reason(error)}") from None


def _largest_difference(model: nn.Module, path: Path, batch: dict[str, Tensor]) -> float:
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    wanted = [entry.name for entry in session.get_inputs()]
    found = session.run(["pattern"], {name: batch[name].numpy() for name in wanted})[0]
    with torch.no_grad():
        expected = model(batch)["pattern"].float().numpy()
    return float(np.abs(found - expected).max())


_JUDGED = 16
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
    if (stream := data.endless(training)) is not None:
        record["data"] |= {"used_for_training": stream.drawn(loaded.record["progress"]["epoch"])}
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
    batches = list(data.in_order(len(validation), _JUDGED))
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
        f"{about.get('used_for_training', about['crystals'])} training crystals"
        f"{', drawn while training went by' if about.get('stream') else ''}; split by {split['kind']}, "
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
