"""Metrics for TensorBoard, an optional extra."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from lacbed.errors import MissingExtraError


def check_tensorboard() -> None:
    """Refuse early if TensorBoard is not installed.

    Raises:
        MissingExtraError: naming the extra.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            'training.tensorboard needs TensorBoard; install it with pip install "lacbed[tensorboard]"'
        ) from None


@cache
def _writer(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"))


def write_scalars(folder: Path, step: int, values: Mapping[str, Any]) -> None:
    """Add the numbers among the values at a step."""
    check_tensorboard()
    kind = values.get("kind", "step")
    for name, value in values.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            _writer(folder).add_scalar(f"{kind}/{name}", value, step)
    if kind == "epoch":
        _writer(folder).flush()
