"""Learned simulators: from the potential of a crystal to its LACBED patterns without solving for waves."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacbed.learn.evaluate import evaluate
    from lacbed.learn.models import build_model
    from lacbed.learn.surrogate import Surrogate
    from lacbed.learn.train import train

__all__ = ["Surrogate", "build_model", "evaluate", "train"]

_HOME = {
    "Surrogate": "lacbed.learn.surrogate",
    "build_model": "lacbed.learn.models",
    "evaluate": "lacbed.learn.evaluate",
    "train": "lacbed.learn.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'lacbed.learn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
