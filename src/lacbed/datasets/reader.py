"""Reading values out of a data set: opened in each process on first use, with a bounded cache."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zarr

from lacbed.catalog.files import read_catalog
from lacbed.datasets.compute import decode_intensity, decode_potential
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.consistency import MOST_ROWS, config_changed, contradictions, members, record_problem
from lacbed.datasets.manifest import read_journal, read_manifest
from lacbed.datasets.worker import quantities
from lacbed.datasets.writer import CATALOG, TYPES, chunk_name, read_record
from lacbed.errors import FileFormatError
from lacbed.io.atomic import reason
from lacbed.io.checks import read_bytes, regular_file
from lacbed.patterns.formats.zarr_folder import check_chunks, check_codecs

Image = npt.NDArray[np.float32]
CACHE_BYTES = 256 * 2**20
_LARGEST_FILE = 2**36


class Store:
    """The values of a data set by row.

    It can be handed to another process: only the path travels, and files are opened there on first use. Each file
    is compared with its checksum in the manifest or the journal when it is read; one that is missing is an error,
    and not the fill values that Zarr would make of it.

    Args:
        path: of the data set.
        cache_bytes: most bytes of compact values that are kept in memory.
        compare: whether contradictions and wrong checksums are errors; else only what cannot be read is.

    Raises:
        FileFormatError: if it is no data set, or a damaged one.
    """

    def __init__(self, path: str | Path, cache_bytes: int = CACHE_BYTES, *, compare: bool = True) -> None:
        self.path = Path(path)
        self.compare = compare
        self.record = self._check_record(read_record(self.path))
        self.manifest = read_manifest(self.path)
        self._entries = read_journal(self.path)
        self._digests: dict[str, str] = {} if self.manifest is None else dict(self.manifest["files"])
        self._digests |= {name: digest for e in self._entries.values() for name, digest in e.files.items()}
        self.config = self._guard(lambda: DatasetConfig.from_dict(self.record["config"]))
        self.quantities: tuple[str, ...] = quantities(self.config)
        if tuple(self.record.get("quantities", ())) != self.quantities:
            raise FileFormatError(f"{str(self.path)!r} is damaged: its record names other quantities than it has")
        self._column = {name: i for i, name in enumerate(self.quantities)}
        self._cache_bytes = cache_bytes
        self._process = -1
        self._forget()
        self._read_bytes("zarr.json")
        self.places: npt.NDArray[np.int32] = self._read_places()
        self._members = members(self.record, self.places)
        if compare and (problems := self.contradictions()):
            raise FileFormatError(f"{str(self.path)!r} is damaged: {problems[0]}")

    def _check_record(self, record: dict[str, Any]) -> dict[str, Any]:
        problem = record_problem(record)
        if not problem and self.compare and config_changed(record):
            problem = "its config is not the one that it was built with"
        if problem:
            raise FileFormatError(f"{str(self.path)!r} is damaged: {problem}")
        return record

    def contradictions(self) -> list[str]:
        """A line for everything in which its parts contradict each other."""
        return contradictions(self.record, self.places, self._entries, self.manifest)

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
        places = self._whole("place", (self.record["rows"], 2))
        if np.abs(places.astype(np.int64)).max(initial=0) > MOST_ROWS:
            raise FileFormatError(f"{str(self.path)!r} is damaged: place holds impossible numbers")
        return places

    def _guard(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except FileFormatError:
            raise
        except Exception as error:  # the readers of damaged stores raise anything at all
            raise FileFormatError(f"cannot read {str(self.path)!r}: {reason(error)}") from None

    def _read_bytes(self, name: str) -> bytes:
        """One file, which is what its checksum says."""
        what = f"a part ({name}) of the data set"
        size = regular_file(self.path / name, what, _LARGEST_FILE, FileFormatError)
        content = read_bytes(self.path / name, what, size, FileFormatError)
        digest = self._digests.get(name)
        if self.compare and digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise FileFormatError(f"cannot read {str(self.path)!r}: {name} differs from its checksum")
        return content

    def check_finished(self, partial: bool) -> None:
        """Refuse a data set that is not finished, unless `partial`.

        Raises:
            FileFormatError: saying how far it is.
        """
        if not partial and self.manifest is None:
            raise FileFormatError(
                f"{str(self.path)!r} is not finished ({len(self.done_rows())} of {self.record['rows']} crystals); "
                "build it to the end, or read it with partial=True"
            )

    # -- rows -----------------------------------------------------------------------------------------
    def done_rows(self) -> npt.NDArray[np.int64]:
        """Numbers of the rows that have a pattern, ascending."""
        entries = self._entries.values()
        done = {row for entry in entries for row in entry.rows}
        failed = {failure.row for entry in entries for failure in entry.failures}
        return np.array(sorted(done - failed), dtype=np.int64)

    def by_place(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """The same rows in the order in which they are stored."""
        places = self.places[rows]
        return [int(row) for row in rows[np.lexsort((places[:, 1], places[:, 0]))]]

    def catalog(self) -> pa.Table:
        """The rows as they stood in the catalogue."""
        self._read_bytes(CATALOG)
        table = read_catalog(self.path / CATALOG)
        if table.num_rows != self.record["rows"]:
            raise FileFormatError(
                f"{str(self.path)!r} is damaged: its catalogue has {table.num_rows} rows, its record "
                f"{self.record['rows']}"
            )
        return table

    # -- values ---------------------------------------------------------------------------------------
    def pattern(self, row: int) -> Image:
        """Intensities of a row: (thickness, hkl, ky, kx)."""
        name, stored = self._stored(row, "pattern")
        return decode_intensity(stored)[:, self.map(name, "pattern")]

    def potential(self, row: int) -> Image:
        """Mean potential along the beam in V: (v, u)."""
        name, stored = self._stored(row, "potential")
        scalars = self.scalars(row)
        offset, scale = (scalars[self._column[n]] for n in ("potential_offset", "potential_scale"))
        if not (np.isfinite(offset) and 0 < scale < np.inf):
            raise FileFormatError(f"{str(self.path)!r} is damaged: row {row} is marked as done but has no values")
        return decode_potential(stored, offset, scale)[self.map(name, "potential")]

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
            raise FileFormatError(f"row {row} of {str(self.path)!r} has no values: it is not a crystal")
        batch, within = divmod(place, self.record["batch"])
        if (group, batch) not in self._entries:
            raise FileFormatError(f"row {row} of {str(self.path)!r} has no values yet; build it to the end")
        if kind != "scalars" and any(failure.row == row for failure in self._entries[group, batch].failures):
            raise FileFormatError(f"row {row} of {str(self.path)!r} has no values: it failed")
        return self.record["groups"][group], self._chunk(group, kind, batch)[within]

    def _chunk(self, group: int, kind: str, number: int) -> npt.NDArray[Any]:
        """One chunk, from the cache if it is there."""
        if self._process != os.getpid():  # a fork shares what was open, which must not be used
            self._forget()
            self._process = os.getpid()
        name = self.record["groups"][group]
        key = f"{name}/{kind}", number
        if key in self._chunks:
            self._chunks.move_to_end(key)
            return self._chunks[key]
        size = self.record["batch"]
        shape = (len(self._members[group]), *self._shape(name, kind))
        source = self._open(key[0], shape, (size, *shape[1:]))
        self._read_bytes(chunk_name(name, kind, number))
        values = np.asarray(self._guard(lambda: source[number * size : (number + 1) * size]))
        self._chunks[key] = values
        self._held += values.nbytes
        while self._held > self._cache_bytes and len(self._chunks) > 1:
            self._held -= self._chunks.popitem(last=False)[1].nbytes
        return values

    def _shape(self, group: str, kind: str) -> tuple[int, ...]:
        """What is stored of one row."""
        if kind == "scalars":
            return (len(self.quantities),)
        stored = int(self.map(group, kind).max()) + 1
        return (self.config.thickness_count, stored) if kind == "pattern" else (stored,)

    def map(self, group: str, kind: str) -> npt.NDArray[np.int32]:
        """Which stored value each pixel of a pattern or a potential has."""
        array, n = f"{group}/{kind}_source", self.config.potential_pixels
        if array not in self._maps:
            images = (len(self.config.hkl), self.config.pixels, self.config.pixels)
            found = self._whole(array, images if kind == "pattern" else (n, n))
            if found.min() < 0 or found.max() >= found.size:
                raise FileFormatError(f"{str(self.path)!r} is damaged: {array} holds impossible numbers")
            self._maps[array] = found
        return self._maps[array]

    def _whole(self, array: str, shape: tuple[int, ...]) -> npt.NDArray[np.int32]:
        """All of an array of whole numbers that is one chunk."""
        source = self._open(array, shape, shape)
        self._read_bytes(f"{array}/c/{'/'.join('0' for _ in shape)}")
        return np.asarray(self._guard(lambda: source[...]))

    def _open(self, array: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> Any:
        if array not in self._arrays:
            self._read_bytes(f"{array}/zarr.json")
            found = self._guard(lambda: zarr.open_array(self.path / array, mode="r", zarr_format=3))
            check_codecs(found, array)
            wanted = TYPES.get(array.rpartition("/")[2], "int32")
            if (found.shape, found.chunks, found.dtype) != (shape, chunks, np.dtype(wanted)):
                raise FileFormatError(
                    f"{str(self.path)!r} is damaged: {array} has the shape {found.shape} and the type "
                    f"{found.dtype}, expected {shape} and {wanted}"
                )
            check_chunks(found, array)
            self._arrays[array] = found
        return self._arrays[array]
