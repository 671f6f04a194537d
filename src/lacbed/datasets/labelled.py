"""A data set for people: labelled arrays that are read when they are looked at, and a table of the crystals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xarray as xr
from xarray.backends.common import BackendArray
from xarray.core import indexing

from lacbed.datasets.compute import SCALARS
from lacbed.datasets.store import CACHE_BYTES, Store
from lacbed.patterns.result import hkl_label

_LABELS = ("formula", "compound_id", "anonymous_prototype", "source", "source_id", "licence", "space_group")


class _Lazy(BackendArray):
    """An array over rows, of which only the rows that are asked for are read."""

    def __init__(self, read: Any, rows: npt.NDArray[np.int64], shape: tuple[int, ...]) -> None:
        self._read, self._rows = read, rows
        self.shape, self.dtype = (len(rows), *shape), np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> npt.NDArray[np.float32]:
        found: npt.NDArray[np.float32] = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._values
        )
        return found

    def _values(self, key: tuple[Any, ...]) -> npt.NDArray[np.float32]:
        rows = self._rows[key[0]]
        if np.ndim(rows) == 0:
            return np.asarray(self._read(int(rows))[key[1:]])
        images = [self._read(int(row))[key[1:]] for row in rows]
        return np.stack(images) if images else np.zeros((0, *self.shape[1:]), np.float32)[(slice(None), *key[1:])]


def open_dataset(path: str | Path, cache_bytes: int = CACHE_BYTES, *, partial: bool = False) -> xr.Dataset:
    """A data set as a labelled `xarray.Dataset`; images are read when they are used.

    Variables: pattern (row, thickness_number, hkl, ky, kx), fractions of the incident intensity; potential
    (row, v, u), mean potential along the beam in V; thickness (row, thickness_number) in Å; and the numbers of
    `lacbed.datasets.compute.SCALARS` (row). kx and ky are in units of the shortest reciprocal vector of the zone.
    Rows are those that have a pattern, with formula, compound_id, anonymous_prototype, source, source_id,
    licence and space_group as coordinates.

    Args:
        path: of the data set, a .zarr folder.
        cache_bytes: most bytes of compact values that are kept in memory.
        partial: also read a data set that is not finished, as far as it is.

    Raises:
        FileFormatError: if it is no data set, damaged, or not finished and `partial` is false.
    """
    store = Store(path, cache_bytes)
    store.check_finished(partial)
    config, rows = store.config, store.done_rows()
    scalars = np.array([store.scalars(row) for row in rows]).reshape(len(rows), len(store.quantities))
    column = {name: scalars[:, i] for i, name in enumerate(store.quantities)}
    table = store.catalog()
    labels = {n: ("row", np.array(table[n].to_pylist(), dtype=object)[rows].astype(_kind(n))) for n in _LABELS}
    steps = (np.arange(config.pixels) - config.pixels / 2 + 0.5) * (2 * config.extent / config.pixels)
    points = np.arange(config.potential_pixels) / config.potential_pixels
    images = (config.thickness_count, len(config.hkl), config.pixels, config.pixels)
    pattern = _Lazy(store.pattern, rows, images)
    potential = _Lazy(store.potential, rows, (config.potential_pixels, config.potential_pixels))
    thickness = np.array([column[f"thickness_{i}"] for i in range(config.thickness_count)]).T
    return xr.Dataset(
        {
            "pattern": (
                ("row", "thickness_number", "hkl", "ky", "kx"),
                indexing.LazilyIndexedArray(pattern),
                {"units": "fraction of the incident intensity"},
            ),
            "potential": (("row", "v", "u"), indexing.LazilyIndexedArray(potential), {"units": "V"}),
            "thickness": (("row", "thickness_number"), thickness, {"units": "Å"}),
            **{name: ("row", column[name], {"long_name": meaning}) for name, meaning in SCALARS.items()},
        },
        coords={
            "row": rows,
            **labels,
            "hkl": [hkl_label(g) for g in config.hkl],
            "ky": ("ky", steps, {"units": "shortest reciprocal vectors of the zone"}),
            "kx": ("kx", steps, {"units": "shortest reciprocal vectors of the zone"}),
            "v": points,
            "u": points,
        },
        attrs={key: str(store.record[key]) for key in ("software", "config", "config_digest", "selection")},
    )


def _kind(name: str) -> str:
    return "int64" if name == "space_group" else "U"


def metadata_table(path: str | Path) -> pa.Table:
    """One line for each row of a data set, those that failed too.

    Columns: row; all columns of the catalogue but the sites; and the numbers stored for each crystal (null where
    there is no pattern), thicknesses in Å as thickness_0, thickness_1, ... Call `.to_pandas()` for a data frame.

    Raises:
        FileFormatError: if it is no data set, or a damaged one.
    """
    store = Store(path)
    table = store.catalog()
    table = table.drop_columns([name for name in ("sites",) if name in table.column_names])
    done = set(store.done_rows().tolist())
    values: dict[str, list[float | None]] = {name: [] for name in store.quantities}
    for row in range(table.num_rows):
        numbers = store.scalars(row).tolist() if row in done else [None] * len(store.quantities)
        for name, value in zip(store.quantities, numbers, strict=True):
            values[name].append(value)
    columns = {"row": pa.array(range(table.num_rows), pa.int64())}
    columns |= {name: table[name] for name in table.column_names}
    columns |= {name: pa.array(numbers, pa.float64()) for name, numbers in values.items()}
    return pa.table(columns)
