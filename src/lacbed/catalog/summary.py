"""What a catalogue contains: counts, licences, space groups, elements, lattice parameters, prototypes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.catalog.files import metadata_of, read_catalog
from lacbed.crystals.cell import FloatArray
from lacbed.errors import FileFormatError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_COLUMNS = (
    "source",
    "licence",
    "kind",
    "space_group",
    "elements",
    "a",
    "n_atoms_conv",
    "anonymous_prototype",
    "compound_id",
    "formula",
)

_MATERIALS_PROJECT = "Jain et al., APL Mater. 1, 011002 (2013)"
_JARVIS = "Choudhary et al., npj Comput. Mater. 6, 173 (2020)"
_OQMD = "Saal et al., JOM 65, 1501 (2013); Kirklin et al., npj Comput. Mater. 1, 15010 (2015)"
_COD = "Grazulis et al., J. Appl. Cryst. 42, 726 (2009); Nucleic Acids Res. 40, D420 (2012)"

ATTRIBUTION = {
    "Materials Project": _MATERIALS_PROJECT,
    "The Materials Project": _MATERIALS_PROJECT,
    "Materials Project (GNoME)": "Merchant et al., Nature 624, 80 (2023); Jain et al., APL Mater. 1, 011002",
    "JARVIS-DFT": _JARVIS,
    "Joint Automated Repository for Various Integrated Simulations (JARVIS)": _JARVIS,
    "OQMD": _OQMD,
    "The Open Quantum Materials Database (OQMD)": _OQMD,
    "COD": _COD,
    "Crystallography Open Database": _COD,
    "NCrystal": "Cai & Kittelmann, Comput. Phys. Commun. 246, 106851 (2020)",
    "IZA-SC": "Baerlocher & McCusker, Database of Zeolite Structures, iza-structure.org/databases",
}
"""What each known source asks to be cited; long names are those that providers give through OPTIMADE."""

_FREE = ("CC0-1.0", "public domain")


@dataclass(frozen=True)
class Summary:
    """Counts of a catalogue, each sorted from the most frequent.

    Attributes:
        rows: number of structures.
        compounds: number of distinct compounds, that is, space group, formula and Wyckoff signature.
        formulas: number of distinct formulas.
        sources: rows from each (source, licence).
        kinds: rows of each kind.
        space_groups: rows in each space group.
        elements: rows with each element.
        prototypes: rows of each anonymous prototype.
        a: lattice parameter of every row in Å.
        atoms: atoms per conventional cell of every row.
        record: the record in the file: generator, version, settings.
    """

    rows: int
    compounds: int
    formulas: int
    sources: dict[tuple[str, str], int]
    kinds: dict[str, int]
    space_groups: dict[int, int]
    elements: dict[str, int]
    prototypes: dict[str, int]
    a: FloatArray
    atoms: FloatArray
    record: dict[str, Any]

    def attributions(self) -> list[str]:
        """A line per source whose licence asks for attribution or is not known."""
        return [
            f"{source} ({licence}): {ATTRIBUTION.get(source, 'name the source')}"
            for source, licence in self.sources
            if not licence.startswith(_FREE)
        ]


def summarise(path: str | Path) -> Summary:
    """Count a catalogue.

    Raises:
        FileFormatError: as `read_catalog`, and if there are no rows.
    """
    table = read_catalog(path, _COLUMNS)
    if table.num_rows == 0:
        raise FileFormatError(f"{path} is a catalogue without rows")
    column = {name: table[name].to_pylist() for name in _COLUMNS}
    return Summary(
        rows=table.num_rows,
        compounds=len(set(column["compound_id"])),
        formulas=len(set(column["formula"])),
        sources=_count(zip(map(str, column["source"]), map(str, column["licence"]), strict=True)),
        kinds=_count(map(str, column["kind"])),
        space_groups=_count(column["space_group"]),
        elements=_count(element for row in column["elements"] for element in set(row or ())),
        prototypes=_count(column["anonymous_prototype"]),
        a=np.array(column["a"], dtype=float),
        atoms=np.array(column["n_atoms_conv"], dtype=float),
        record=metadata_of(table),
    )


def _count(values: Iterable[Any]) -> dict[Any, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], str(item[0]))))


def spread(values: FloatArray) -> dict[str, float]:
    """Minimum, 5 % quantile, median, 95 % quantile and maximum."""
    finite = values[np.isfinite(values)]
    points = np.quantile(finite, [0.0, 0.05, 0.5, 0.95, 1.0]) if len(finite) else np.full(5, np.nan)
    return dict(zip(("min", "p05", "median", "p95", "max"), (float(v) for v in points), strict=True))


_COLOUR = "#33608c"


def summary_figure(summary: Summary, title: str) -> Figure:
    """Six panels: lattice parameters, atoms per cell, sources and licences, prototypes, space groups, elements."""
    from matplotlib.figure import Figure  # takes its time

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
        axis.minorticks_off()
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
        axis.locator_params(axis="x", nbins=5)
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
