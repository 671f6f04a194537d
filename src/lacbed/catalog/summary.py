"""What a catalogue contains: counts, licences, space groups, elements, lattice parameters, prototypes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lacbed.catalog.files import read_catalog
from lacbed.catalog.schema import metadata_of
from lacbed.crystals.cell import FloatArray
from lacbed.errors import FileFormatError

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
