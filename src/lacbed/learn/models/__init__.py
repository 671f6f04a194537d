"""The models. Each is one file with a frozen `Settings` and a `Model(Settings)`; `MODELS` lists them.

A model maps a batch to what it `PREDICTS`, "pattern" (if it does not say) or "potential":

    forward({"potential": (B, 1, n, n) in V,       mean along the beam, pixel i at i/n
             "lattice_parameter": (B,) in Å,
             "thickness": (B, T) in Å,
             "energy": (B,) in eV,
             "symmetry": (B, 8),                   from `lacbed.learn.symmetry.pattern_symmetry`
             "absorptive": (B, 1, n, n) in V,      like the potential; only for models that list it in `NEEDS`
             "pattern": (B, T, m, m),              what a model of the potential is given
         ...})                                 and whatever other scalars (B,) the data set has
    -> {"pattern": (B, T, m, m),                   intensity of 000, fraction of the incident one
        "potential": (B, T, n, n) in V,            or: the potential behind each pattern
        "log_sigma": broadcasts with it,           optional: ln of the expected error of intensity
        "mu", "logvar": (B, latent)}               optional: the latent distribution of an autoencoder

Two methods are optional. `begin(batch)` lets a model take scales from its first data. `prepare(batch)` gives what
need not be computed again in every epoch, small enough to be held for every crystal: "index", "symmetry",
"thickness", "pattern" (perhaps only the part that is its own) and what else `forward` takes in place of the batch.
Answers and losses are then of that part. With `training.augment` nothing is prepared.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from lacbed.errors import SettingError
from lacbed.io.config_files import build_section

MODELS = {
    "vae": "lacbed.learn.models.vae",
    "unet": "lacbed.learn.models.unet",
    "fno": "lacbed.learn.models.fno",
    "downfold": "lacbed.learn.models.downfold",
    "coefficients": "lacbed.learn.models.coefficients",
    "inverse": "lacbed.learn.models.inverse",
}
"""Name of a model and the module that holds its `Settings` and `Model`."""

LARGEST_SETTING = 1_000_000
MOST_WEIGHTS = 2**30
"""Numbers that a model may have; what is asked for beyond them is a slip of the hand or a damaged file."""


def complete_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a model with every default written out.

    Raises:
        SettingError: if the model, or one of its settings, is unknown or of the wrong type.
    """
    name, settings = _settings_of(config)
    return {"name": name, **asdict(settings)}


def build_model(config: Mapping[str, Any], most: int = MOST_WEIGHTS) -> nn.Module:
    """The model of a configuration such as {"name": "vae", "latent": 12}, with fresh weights.

    Args:
        config: its name and settings.
        most: how many numbers it may have.

    Raises:
        SettingError: if the model, or one of its settings, is unknown, of the wrong type or too large.
    """
    name, settings = _settings_of(config)
    make = importlib.import_module(MODELS[name]).Model
    try:
        with _AtMost(most, name):
            model: nn.Module = make(settings)
    except SettingError:
        raise
    except (RuntimeError, ValueError, ArithmeticError, MemoryError) as error:
        raise SettingError(f"model {name} cannot be made with these settings: {error!s:.120}") from None
    return model


class _AtMost(TorchFunctionMode):
    """While it is entered, no more than so many numbers are made, before there is memory for them."""

    _MAKERS = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)
    _LEAST = 100  # so that layers without end are too many as well

    def __init__(self, most: int, name: str) -> None:
        super().__init__()
        self.most, self.left, self.name = most, most, name

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self._MAKERS:
            first = args[0] if args else (kwargs or {}).get("size", ())
            sizes = first if isinstance(first, list | tuple) else [v for v in args if isinstance(v, int)]
            self.left -= max(self._LEAST, math.prod(int(v) for v in sizes))
            if self.left < 0:
                raise SettingError(f"model {self.name}: its settings make more than {self.most:,} numbers")
        return func(*args, **(kwargs or {}))


def _settings_of(config: Mapping[str, Any]) -> tuple[str, Any]:
    name = config.get("name")
    if not isinstance(name, str) or name not in MODELS:
        raise SettingError(f"model name must be one of {', '.join(MODELS)}, got {name!r:.60}")
    module = importlib.import_module(MODELS[name])
    rest = {key: value for key, value in config.items() if key != "name"}
    for key, value in rest.items():
        if isinstance(value, int) and abs(value) > LARGEST_SETTING:
            raise SettingError(f"model {name}: {key} must be at most {LARGEST_SETTING:,}, got {value!s:.20}")
    return name, build_section(module.Settings, rest, f"model {name}")


def needs_of(name: str) -> tuple[str, ...]:
    """Images that a model takes beside the potential."""
    found: tuple[str, ...] = getattr(importlib.import_module(MODELS[name]).Model, "NEEDS", ())
    return found


def takes_conditions(name: str) -> bool:
    """Whether thickness and energy are inputs of a model, so that crystals at many of them can be learned from."""
    return bool(getattr(importlib.import_module(MODELS[name]).Model, "CONDITIONS", True))


def predicts(name: str) -> str:
    """What a model predicts: "pattern" or "potential"."""
    found: str = getattr(importlib.import_module(MODELS[name]).Model, "PREDICTS", "pattern")
    return found
