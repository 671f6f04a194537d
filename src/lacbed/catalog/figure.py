"""A picture of what a catalogue holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lacbed.catalog.summary import Summary

_COLOUR = "#33608c"


def summary_figure(summary: Summary, title: str) -> Figure:
    """Four panels: lattice parameters, atoms per cell, space groups and prototypes, elements."""
    figure = Figure(figsize=(11.0, 7.5), layout="constrained")
    axes = figure.subplots(2, 2)
    figure.suptitle(f"{title}: {summary.rows} structures, {summary.compounds} compounds")
    _histogram(axes[0, 0], summary.a, "lattice parameter a (Å)")
    _histogram(axes[0, 1], summary.atoms, "atoms per conventional cell")
    _bars(axes[1, 0], {str(k): n for k, n in summary.prototypes.items()}, "prototype", across=True)
    _bars(axes[1, 1], {str(k): n for k, n in summary.elements.items()}, "element", across=False)
    return figure


def _histogram(axis: Any, values: Any, label: str) -> None:
    """Bins of equal width on a logarithmic axis: cells range from 1 to 1000 atoms."""
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = float(positive.min()), float(positive.max())
    edges = np.geomspace(low * 0.98, high * 1.02, 40)
    axis.hist(positive, bins=edges, color=_COLOUR)
    axis.set_xscale("log")
    axis.set_xlabel(label)
    axis.set_ylabel("structures")


def _bars(axis: Any, counts: dict[str, int], label: str, across: bool) -> None:
    shown = list(counts.items())[: 20 if across else 40]
    names, numbers = [name for name, _ in shown], [n for _, n in shown]
    if across:
        axis.barh(range(len(shown)), numbers, color=_COLOUR)
        axis.set_yticks(range(len(shown)), names, fontsize=7)
        axis.invert_yaxis()
        axis.set_xlabel("structures")
    else:
        axis.bar(range(len(shown)), numbers, color=_COLOUR)
        axis.set_xticks(range(len(shown)), names, fontsize=7, rotation=90)
        axis.set_ylabel("structures")
    more = len(counts) - len(shown)
    axis.set_title(
        f"{len(counts)} {label}s" + (f", the {len(shown)} most frequent" if more > 0 else ""), fontsize=10
    )
