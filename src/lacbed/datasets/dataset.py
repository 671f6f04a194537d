"""A data set for training: items by number, as tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import xarray as xr
from torch import Tensor
from torch.utils.data import Dataset
from xarray.backends.common import BackendArray
from xarray.core import indexing

from lacbed.catalog.rows import crystal_of
from lacbed.datasets.compute import SCALARS
from lacbed.datasets.manifest import read_manifest
from lacbed.datasets.reader import CACHE_BYTES, Store
from lacbed.datasets.splits import KINDS, SIDES, near_duplicates, split_rows
from lacbed.errors import SettingError
from lacbed.patterns.result import hkl_label
from lacbed.projection import mean_absorptive_potential


class LacbedDataset(Dataset[dict[str, Tensor]]):
    """Crystals of a data set, map style; safe with any number of workers, in bounded memory.

    An item is a dictionary of tensors:

        potential           (1, v, u) float32, mean potential along the beam in V, at x = i / n
        pattern             (thickness, hkl, ky, kx) float32, fractions of the incident intensity
        thickness           (thickness,) float32, Å
        lattice_parameter   () float32, Å; 1 / the shortest reciprocal vector of the zone
        energy              () float32, eV
        index               () int64, row of the data set
        space_group         () int64
        atoms, volume, period, mean_b_iso, mean_inner_potential, mean_absorptive_potential, beams, z_reached,
        intensity_change_reached: () float32, see `lacbed.datasets.compute.SCALARS`
        absorptive          (1, v, u) float32, absorptive potential like the potential, in V; if asked for

    Args:
        path: of the data set, a .zarr folder.
        split: "train", "validation", "test", or None for everything.
        kind: how crystals are parted: by "compound", by whole "prototype", or by "row", which leaks.
        seed: of the split.
        partial: also read a data set that is not finished; what is there so far is then split.
        cache_bytes: most bytes of compact values that each process keeps in memory.
        absorptive: whether items have "absorptive", computed from the structure on the way (some 5 ms each).

    Raises:
        FileFormatError: if it is no data set, damaged, or not finished and `partial` is false.
        SettingError: on an unknown split or kind, or too few crystals for a split.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = None,
        kind: str = "compound",
        seed: int = 0,
        *,
        partial: bool = False,
        cache_bytes: int = CACHE_BYTES,
        absorptive: bool = False,
    ) -> None:
        if split is not None and split not in SIDES:
            raise SettingError(f"split must be None or one of {', '.join(SIDES)}, got {split!r}")
        self.store = Store(path, cache_bytes)
        self.config = self.store.config
        self.absorptive = absorptive
        self.rows = self.store.done_rows()
        self.store.check_finished(partial)
        self._space_group = np.array(self.store.catalog()["space_group"].to_pylist(), dtype=np.int64)
        if split is not None:
            self.rows = sides_of(self.store, kind, seed)[split]

    def __len__(self) -> int:
        """Crystals in this split."""
        return len(self.rows)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """One crystal."""
        row = int(self.rows[position])
        scalars = dict(zip(self.store.quantities, self.store.scalars(row).tolist(), strict=True))
        thickness = [scalars[f"thickness_{i}"] for i in range(self.config.thickness_count)]
        further = {"absorptive": self._absorptive(row, scalars["energy"])} if self.absorptive else {}
        return further | {
            "potential": torch.from_numpy(self.store.potential(row))[None],
            "pattern": torch.from_numpy(self.store.pattern(row)),
            "thickness": torch.tensor(thickness, dtype=torch.float32),
            "index": torch.tensor(row),
            "space_group": torch.tensor(int(self._space_group[row])),
            **{name: torch.tensor(scalars[name], dtype=torch.float32) for name in SCALARS},
        }

    def _absorptive(self, row: int, energy: float) -> Tensor:
        """The absorptive potential of a row, in V: (1, v, u)."""
        config = self.config
        entry = self.store.catalog().slice(row, 1).to_pylist()[0]
        image = mean_absorptive_potential(
            crystal_of(entry, config.default_b_iso),
            energy,
            config.absorption,
            config.zone_axis,
            config.potential_pixels,
            config.potential_g_max,
            config.factors,
        )
        return torch.from_numpy(image.astype(np.float32))[None]


def sides_of(store: Store, kind: str = "compound", seed: int = 0) -> dict[str, npt.NDArray[np.int64]]:
    """The rows of each side of a split of a data set; see `lacbed.datasets.splits`.

    By compound and by prototype, crystals whose patterns are nearly the same (`lacbed.datasets.splits`) stay
    together; of a data set that is not finished they are found now.

    Raises:
        SettingError: on an unknown kind, or too few crystals.
        FileFormatError: if the data set is damaged.
    """
    if kind not in KINDS:
        raise SettingError(f"a split is by {', '.join(KINDS)}, got {kind!r}")
    rows, column = store.done_rows(), KINDS[kind]
    groups, near = [""] * len(rows), []
    if column is not None:
        values = store.catalog()[column].to_pylist()
        groups = [str(values[row]) for row in rows]
        manifest = read_manifest(store.path)
        if manifest is not None:
            near = manifest["duplicates"]["groups"]
        else:
            near = near_duplicates(store.by_place(rows), store.pattern)
    position = {int(row): i for i, row in enumerate(rows)}
    side = split_rows(groups, [[position[row] for row in members] for members in near], kind=kind, seed=seed)
    return {name: rows[side == i] for i, name in enumerate(SIDES)}


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
