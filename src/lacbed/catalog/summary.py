"""What a catalogue holds: counts, licences, groups, elements, lattice parameters, prototypes."""

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

ATTRIBUTION = {
    "Materials Project": "Jain et al., APL Mater. 1, 011002 (2013)",
    "Materials Project (GNoME)": "Merchant et al., Nature 624, 80 (2023); Jain et al., APL Mater. 1, 011002",
    "JARVIS-DFT": "Choudhary et al., npj Comput. Mater. 6, 173 (2020)",
    "OQMD": "Saal et al., JOM 65, 1501 (2013); Kirklin et al., npj Comput. Mater. 1, 15010 (2015)",
    "COD": "Grazulis et al., J. Appl. Cryst. 42, 726 (2009); Nucleic Acids Res. 40, D420 (2012)",
    "NCrystal": "Cai & Kittelmann, Comput. Phys. Commun. 246, 106851 (2020)",
    "IZA-SC": "Baerlocher & McCusker, Database of Zeolite Structures, iza-structure.org/databases",
}
"""What each known source asks to be cited."""

_FREE = ("CC0-1.0", "public domain")


@dataclass(frozen=True)
class Summary:
    """Counts of a catalogue; every counter is sorted by falling number.

    Attributes:
        rows: structures.
        compounds: distinct compounds, that is, group, formula and Wyckoff signature.
        formulas: distinct formulas.
        sources: rows of each (source, licence).
        kinds: rows of each kind.
        space_groups: rows of each number.
        elements: rows with each element.
        prototypes: rows of each anonymous prototype.
        a: lattice parameter of every row in Å.
        atoms: atoms per conventional cell of every row.
        made: the record in the file: generator, version, settings.
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
    made: dict[str, Any]

    def attributions(self) -> list[str]:
        """A line for each source whose licence asks for attribution, or whose licence is not known."""
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
        raise FileFormatError(f"{path} is a catalogue without any rows")
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
        made=metadata_of(table),
    )


def _count(values: Iterable[Any]) -> dict[Any, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], str(item[0]))))


def spread(values: FloatArray) -> dict[str, float]:
    """Smallest, 5 %, median, 95 % and largest value."""
    finite = values[np.isfinite(values)]
    points = np.quantile(finite, [0.0, 0.05, 0.5, 0.95, 1.0]) if len(finite) else np.full(5, np.nan)
    return dict(zip(("min", "p05", "median", "p95", "max"), (float(v) for v in points), strict=True))
