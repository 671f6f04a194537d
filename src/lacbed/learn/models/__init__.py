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
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from torch import nn

from lacbed.errors import SettingError

MODELS = {
    "vae": "lacbed.learn.models.vae",
    "unet": "lacbed.learn.models.unet",
    "fno": "lacbed.learn.models.fno",
    "downfold": "lacbed.learn.models.downfold",
    "inverse": "lacbed.learn.models.inverse",
}
"""Name of a model and the module that holds its `Settings` and `Model`."""


def complete_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a model with every default written out.

    Raises:
        SettingError: if the model, or one of its settings, is unknown or of the wrong type.
    """
    name, settings = _settings_of(config)
    return {"name": name, **asdict(settings)}


def build_model(config: Mapping[str, Any]) -> nn.Module:
    """The model of a configuration such as {"name": "vae", "latent": 12}, with fresh weights.

    Raises:
        SettingError: if the model, or one of its settings, is unknown or of the wrong type.
    """
    name, settings = _settings_of(config)
    model: nn.Module = importlib.import_module(MODELS[name]).Model(settings)
    return model


def _settings_of(config: Mapping[str, Any]) -> tuple[str, Any]:
    from lacbed.learn.config import build_section  # noqa: PLC0415  it checks the rest of a configuration too

    name = config.get("name")
    if name not in MODELS:
        raise SettingError(f"model name must be one of {', '.join(MODELS)}, got {name!r}")
    module = importlib.import_module(MODELS[name])
    rest = {key: value for key, value in config.items() if key != "name"}
    return name, build_section(module.Settings, rest, f"model {name}")


def needs_of(name: str) -> tuple[str, ...]:
    """Images that a model takes beside the potential."""
    found: tuple[str, ...] = getattr(importlib.import_module(MODELS[name]).Model, "NEEDS", ())
    return found


def predicts(name: str) -> str:
    """What a model predicts: "pattern" or "potential"."""
    found: str = getattr(importlib.import_module(MODELS[name]).Model, "PREDICTS", "pattern")
    return found


def settings_names(name: str) -> list[str]:
    """Names of the settings of a model."""
    return [field.name for field in fields(importlib.import_module(MODELS[name]).Settings)]
