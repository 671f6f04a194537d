"""The figure of a catalogue: histograms and counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from lacbed.catalog.summary import Summary

_COLOUR = "#33608c"


def summary_figure(summary: Summary, title: str) -> Figure:
    """Six panels: lattice parameters, atoms per cell, sources and licences, prototypes, space groups, elements."""
    figure = Figure(figsize=(11.0, 11.0), layout="constrained")
    axes = figure.subplots(3, 2)
    figure.suptitle(f"{title}: {summary.rows} structures, {summary.compounds} compounds")
    _histogram(axes[0, 0], summary.a, "lattice parameter a (Å)")
    _histogram(axes[0, 1], summary.atoms, "atoms per conventional cell")
    licences = {f"{source}\n{licence}": n for (source, licence), n in summary.sources.items()}
    _bars(axes[1, 0], licences, "source and licence", "sources and licences", across=True)
    _bars(axes[1, 1], {str(k): n for k, n in summary.prototypes.items()}, "prototype", "prototypes", across=True)
    _bars(axes[2, 0], {str(k): n for k, n in summary.space_groups.items()}, "space group", "space groups")
    _bars(axes[2, 1], {str(k): n for k, n in summary.elements.items()}, "element", "elements")
    return figure


def _histogram(axis: Any, values: Any, label: str) -> None:
    """Bins of equal width on a logarithmic axis: cells range from 1 to 1000 atoms."""
    positive = values[np.isfinite(values) & (values > 0)]
    if len(positive):
        low, high = float(positive.min()) * 0.98, float(positive.max()) * 1.02
        axis.hist(positive, bins=np.geomspace(low, high, 40), color=_COLOUR)
        axis.set_xscale("log")
        axis.set_xlim(low, high)
        axis.set_xticks(_round_values(low, high))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(label)
    axis.set_ylabel("structures")


def _round_values(low: float, high: float) -> list[float]:
    """At most nine tick values between `low` and `high`: of 1, 2, 5, 10, ..., or finer if few of those fit."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for digits in ((1, 2, 5), range(1, 10), np.arange(10, 100) / 10, np.arange(100, 1000) / 100):
        found = [float(digit * 10.0**power) for power in decades for digit in digits]
        found = [value for value in found if low <= value <= high]
        if len(found) >= 3:
            break
    return found[:: max(1, -(-len(found) // 9))]


def _bars(axis: Any, counts: dict[str, int], label: str, plural: str, across: bool = False) -> None:
    """Bars for the most frequent names, horizontal if the names are long."""
    shown = list(counts.items())[: 20 if across else 40]
    names, numbers = [name for name, _ in shown], [n for _, n in shown]
    if across:
        axis.bar_label(axis.barh(range(len(shown)), numbers, color=_COLOUR), padding=3, fontsize=7)
        axis.set_yticks(range(len(shown)), names, fontsize=7)
        axis.set_ylim(max(len(shown), 5) - 0.4, -0.6)
        axis.set_xlim(0, 1.12 * max(numbers))
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.set_xlabel("structures")
    else:
        axis.bar(range(len(shown)), numbers, color=_COLOUR)
        axis.set_xticks(range(len(shown)), names, fontsize=7, rotation=90)
        axis.set_xlabel(label)
        axis.set_ylabel("structures")
    axis.set_title(
        f"{len(counts)} {label if len(counts) == 1 else plural}"
        + (f", the {len(shown)} most frequent" if len(counts) > len(shown) else ""),
        fontsize=10,
    )
