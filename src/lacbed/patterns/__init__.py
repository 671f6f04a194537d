"""Patterns: how to compare them, keep them in files, draw them and assemble them into CBED patterns.

A pattern is an `xarray.DataArray` (thickness, hkl, ky, kx), the same from the simulator, a model and an
experiment.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lacbed.patterns.cbed import assemble_cbed
    from lacbed.patterns.figures import (
        cbed_figure,
        difference_figure,
        montage,
        potential_figure,
        save_figure,
    )
    from lacbed.patterns.files import check_writable, load_array, load_pattern, save_array, save_pattern
    from lacbed.patterns.metrics import (
        align_patterns,
        compare_patterns,
        max_difference,
        r_factor,
        relative_l2,
        zncc_loss,
    )
    from lacbed.patterns.schema import check_pattern

__all__ = [
    "align_patterns",
    "assemble_cbed",
    "cbed_figure",
    "check_pattern",
    "check_writable",
    "compare_patterns",
    "difference_figure",
    "load_array",
    "load_pattern",
    "max_difference",
    "montage",
    "potential_figure",
    "r_factor",
    "relative_l2",
    "save_array",
    "save_figure",
    "save_pattern",
    "zncc_loss",
]

_HOMES = {
    "cbed": ("assemble_cbed",),
    "figures": ("cbed_figure", "difference_figure", "montage", "potential_figure", "save_figure"),
    "files": ("check_writable", "load_array", "load_pattern", "save_array", "save_pattern"),
    "metrics": (
        "align_patterns",
        "compare_patterns",
        "max_difference",
        "r_factor",
        "relative_l2",
        "zncc_loss",
    ),
    "schema": ("check_pattern",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for only when it is asked for: matplotlib and torch take their time."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'lacbed.patterns' has no attribute {name!r}")
    return getattr(importlib.import_module(f"lacbed.patterns.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
