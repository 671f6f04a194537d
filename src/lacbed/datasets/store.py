"""Reading values out of a data set: opened in each process on first use, with a bounded cache."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zarr

from lacbed.catalog.files import read_catalog
from lacbed.datasets.codec import decode_intensity, decode_potential
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.manifest import read_journal, read_manifest
from lacbed.datasets.storage import CATALOG, read_record
from lacbed.errors import FileFormatError
from lacbed.patterns.atomic import reason

Image = npt.NDArray[np.float32]
CACHE_BYTES = 256 * 2**20


class Store:
    """The values of a data set by row.

    It can be handed to another process: only the path travels, and files are opened there on first use.

    Args:
        path: of the data set.
        cache_bytes: most bytes of compact values that are kept in memory.

    Raises:
        FileFormatError: if it is no data set, or a damaged one.
    """

    def __init__(self, path: str | Path, cache_bytes: int = CACHE_BYTES) -> None:
        self.path = Path(path)
        self.record = read_record(self.path)
        self.config = DatasetConfig.from_dict(self.record["config"])
        self.quantities: tuple[str, ...] = tuple(self.record["quantities"])
        self.places: npt.NDArray[np.int32] = self._read_places()
        self._column = {name: i for i, name in enumerate(self.quantities)}
        self._cache_bytes = cache_bytes
        self._process = -1
        self._forget()

    def _forget(self) -> None:
        self._arrays: dict[str, Any] = {}
        self._maps: dict[str, npt.NDArray[np.int32]] = {}
        self._chunks: OrderedDict[tuple[str, int], npt.NDArray[Any]] = OrderedDict()
        self._held = 0

    def __getstate__(self) -> dict[str, Any]:
        """Without anything that is open or cached."""
        state = dict(self.__dict__)
        state.update(_arrays={}, _maps={}, _chunks=OrderedDict(), _held=0, _process=-1)
        return state

    def _read_places(self) -> npt.NDArray[np.int32]:
        places = np.asarray(self._guard(lambda: zarr.open_array(self.path / "place", mode="r")[...]))
        if places.shape != (self.record["rows"], 2):
            raise FileFormatError(f"{str(self.path)!r} is damaged: place has the shape {places.shape}")
        return places

    def _guard(self, read: Any) -> Any:
        try:
            return read()
        except FileFormatError:
            raise
        except Exception as error:  # the readers of damaged stores raise anything at all
            raise FileFormatError(f"cannot read {str(self.path)!r}: {reason(error)}") from None

    def check_finished(self, partial: bool) -> None:
        """Refuse a data set that is not finished, unless `partial`.

        Raises:
            FileFormatError: saying how far it is.
        """
        if not partial and read_manifest(self.path) is None:
            raise FileFormatError(
                f"{str(self.path)!r} is not finished ({len(self.done_rows())} of {self.record['rows']} crystals); "
                "build it to the end, or read it with partial=True"
            )

    # -- rows -----------------------------------------------------------------------------------------
    def done_rows(self) -> npt.NDArray[np.int64]:
        """Numbers of the rows that have a pattern, ascending."""
        entries = read_journal(self.path).values()
        done = {row for entry in entries for row in entry.rows}
        failed = {failure.row for entry in entries for failure in entry.failures}
        return np.array(sorted(done - failed), dtype=np.int64)

    def by_place(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """The same rows in the order in which they are stored."""
        places = self.places[rows]
        return [int(row) for row in rows[np.lexsort((places[:, 1], places[:, 0]))]]

    def catalog(self) -> pa.Table:
        """The rows as they stood in the catalogue."""
        return read_catalog(self.path / CATALOG)

    # -- values ---------------------------------------------------------------------------------------
    def pattern(self, row: int) -> Image:
        """Intensities of a row: (thickness, hkl, ky, kx)."""
        name, stored = self._stored(row, "pattern")
        return decode_intensity(stored)[:, self._map(f"{name}/pattern_source")]

    def potential(self, row: int) -> Image:
        """Mean potential along the beam in V: (v, u)."""
        name, stored = self._stored(row, "potential")
        scalars = self.scalars(row)
        offset, scale = (scalars[self._column[n]] for n in ("potential_offset", "potential_scale"))
        return decode_potential(stored, offset, scale)[self._map(f"{name}/potential_source")]

    def scalars(self, row: int) -> npt.NDArray[np.float64]:
        """Numbers of a row, in the order of `quantities`."""
        values: npt.NDArray[np.float64] = self._stored(row, "scalars")[1]
        return values

    def potential_codes(self, row: int) -> npt.NDArray[np.uint16]:
        """The potential as it is stored: (stored,)."""
        values: npt.NDArray[np.uint16] = self._stored(row, "potential")[1]
        return values

    def codes(self, row: int) -> npt.NDArray[np.uint16]:
        """The pattern as it is stored: (thickness, stored)."""
        values: npt.NDArray[np.uint16] = self._stored(row, "pattern")[1]
        return values

    def _stored(self, row: int, kind: str) -> tuple[str, npt.NDArray[Any]]:
        group, place = (int(n) for n in self.places[row])
        if group < 0:
            raise FileFormatError(f"row {row} of {str(self.path)!r} has no values: it is no crystal")
        name = self.record["groups"][group]
        batch, within = divmod(place, self.record["batch"])
        return name, self._chunk(f"{name}/{kind}", batch)[within]

    def _chunk(self, array: str, number: int) -> npt.NDArray[Any]:
        """One chunk, from the cache if it is there."""
        if self._process != os.getpid():  # a fork shares what was open, which must not be used
            self._forget()
            self._process = os.getpid()
        key = array, number
        if key in self._chunks:
            self._chunks.move_to_end(key)
            return self._chunks[key]
        size = self.record["batch"]
        source = self._open(array)
        values = np.asarray(self._guard(lambda: source[number * size : (number + 1) * size]))
        self._chunks[key] = values
        self._held += values.nbytes
        while self._held > self._cache_bytes and len(self._chunks) > 1:
            self._held -= self._chunks.popitem(last=False)[1].nbytes
        return values

    def _open(self, array: str) -> Any:
        if array not in self._arrays:
            self._arrays[array] = self._guard(lambda: zarr.open_array(self.path / array, mode="r"))
        return self._arrays[array]

    def _map(self, array: str) -> npt.NDArray[np.int32]:
        if array not in self._maps:
            self._maps[array] = np.asarray(self._guard(lambda: self._open(array)[...]))
        return self._maps[array]
