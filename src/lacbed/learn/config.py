"""What determines a training run, from a TOML or JSON file; unknown keys are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lacbed.errors import SettingError
from lacbed.io.checks import check_number, check_one_of, check_whole
from lacbed.io.config_files import CONFIG_ENDINGS, build_section, read_config, refuse_unknown
from lacbed.learn.draws import StreamSettings
from lacbed.learn.losses import LossSettings

MOST_WORKERS = 1024
SPLIT_KINDS = ("row", "compound", "prototype")


@dataclass(frozen=True)
class DataSettings:
    """Which crystals of a data set are learned from.

    Attributes:
        kind: of the split, "row", "compound" or "prototype"; "row" leaks (the same compound on both sides).
        seed: of the split.
        fraction: share of the training crystals; smaller shares are subsets of larger ones.
    """

    kind: str = "compound"
    seed: int = 0
    fraction: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: naming the key.
        """
        check_one_of("data.kind", self.kind, SPLIT_KINDS)
        check_whole("data.seed", self.seed, 0)
        check_number("data.fraction", self.fraction, above=0, high=1)


@dataclass(frozen=True)
class TrainingSettings:
    """How the weights are found.

    Attributes:
        epochs: at most so many passes over the training crystals.
        batch: crystals in a step, over all processes.
        learning_rate: of the optimiser, after `warmup` steps and before the decay.
        schedule: "constant", or "cosine" for a decay to 1 % at the last epoch.
        warmup: steps over which the rate rises from 0.
        optimizer: "adam" or "adamw".
        weight_decay: of AdamW.
        clip: largest norm of the gradient; 0 for none.
        ema: decay a step of the averaged weights that are validated and kept; 0 for none.
        patience: epochs without a better validation loss until training stops; 0 for never.
        checkpoint_steps: steps between checkpoints; one is written after each epoch in any case.
        precision: "float32" or "bfloat16" (in the layers; losses and transforms stay in float32).
        augment: whether crystals are shifted, turned and mirrored at random, which changes no physics.
        thicknesses: how many of a crystal's thicknesses enter a step, chosen at random; 0 for all.
        seed: of the weights, the order of the crystals and every random choice.
        workers: processes that read the data.
        tensorboard: whether to write TensorBoard files too.
    """

    epochs: int = 100
    batch: int = 24
    learning_rate: float = 1e-3
    schedule: str = "constant"
    warmup: int = 0
    optimizer: str = "adam"
    weight_decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.0
    patience: int = 20
    checkpoint_steps: int = 500
    precision: str = "float32"
    augment: bool = False
    thicknesses: int = 0
    seed: int = 0
    workers: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: naming the key.
        """
        allowed = {
            "schedule": ("constant", "cosine"),
            "optimizer": ("adam", "adamw"),
            "precision": ("float32", "bfloat16"),
        }
        for name, values in allowed.items():
            check_one_of(f"training.{name}", getattr(self, name), values)
        for name in ("epochs", "batch", "checkpoint_steps"):
            check_number(f"training.{name}", getattr(self, name), 1)
        for name in ("warmup", "weight_decay", "clip", "patience", "thicknesses"):
            check_number(f"training.{name}", getattr(self, name), 0)
        check_whole("training.seed", self.seed, 0)
        check_whole("training.workers", self.workers, 0, MOST_WORKERS)
        check_number("training.learning_rate", self.learning_rate, above=0)
        if not 0 <= self.ema < 1:
            raise SettingError(f"training.ema must be from 0 to below 1, got {self.ema:g}")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a run, apart from the data set itself.

    Attributes:
        model, data, loss, training: see there.
        stream: how crystals are drawn, if training draws its own (`lacbed.learn.stream`); otherwise unused.
    """

    model: Mapping[str, Any]
    data: DataSettings = field(default_factory=DataSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    stream: StreamSettings | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        stream = {} if self.stream is None else {"stream": asdict(self.stream)}
        return stream | {
            "model": dict(self.model),
            "data": asdict(self.data),
            "loss": asdict(self.loss),
            "training": asdict(self.training),
        }


def config_from_dict(values: Mapping[str, Any]) -> TrainConfig:
    """A checked configuration with every default written out.

    Raises:
        SettingError: on an unknown key, a wrong type or an impossible value.
    """
    from lacbed.learn.models import complete_settings  # imports torch

    refuse_unknown(values, [f.name for f in fields(TrainConfig)], "a training config")
    for name, section in values.items():
        if not isinstance(section, Mapping):
            raise SettingError(f"[{name}] of a training config must be a table of keys, got {section!r:.60}")
    if "model" not in values:
        raise SettingError('a training config needs a [model] table with its name, such as name = "vae"')
    return TrainConfig(
        complete_settings(values["model"]),
        build_section(DataSettings, values.get("data", {}), "data"),
        build_section(LossSettings, values.get("loss", {}), "loss"),
        build_section(TrainingSettings, values.get("training", {}), "training"),
        build_section(StreamSettings, values["stream"], "stream") if "stream" in values else None,
    )


def load_config(name: str, changes: Sequence[str] = ()) -> TrainConfig:
    """A configuration from a .toml or .json file, or a packaged one by name (`preset_names`).

    Args:
        name: path or name.
        changes: "section.key=value", applied on top.

    Raises:
        FileFormatError: if the file cannot be read; SettingError: on what is in it.
    """
    path = Path(name)
    if path.suffix.lower() not in CONFIG_ENDINGS:
        path = _preset(name)
    values = read_config(path)
    for change in changes:
        _apply(values, change)
    return config_from_dict(values)


def preset_names() -> list[str]:
    """Names of the packaged configurations."""
    return sorted(p.stem for p in (Path(__file__).parent / "configs").glob("*.toml"))


def _preset(name: str) -> Path:
    if name not in preset_names():
        raise SettingError(
            f"a training config is a .toml or .json file or one of {', '.join(preset_names())}, got {name!r}"
        )
    return Path(__file__).parent / "configs" / f"{name}.toml"


def _apply(values: dict[str, Any], change: str) -> None:
    place, equals, text = change.partition("=")
    section, dot, key = place.strip().partition(".")
    if not (equals and dot and key):
        raise SettingError(f"a change is section.key=value, such as training.epochs=3, got {change!r}")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = text.strip()
    table = values.setdefault(section, {})
    if not isinstance(table, dict):
        raise SettingError(f"[{section}] of a training config must be a table of keys")
    table[key] = value
