"""The folder of a data set: a Zarr (version 3) store that any Zarr reader opens, written chunk by chunk.

| in the folder               | what                                                              |
|-----------------------------|-------------------------------------------------------------------|
| zarr.json                   | what it is: format, config, names                                 |
| catalog.parquet             | the rows of the catalogue, one a crystal                          |
| place                       | (row, 2): group and place within it; -1 for a row that is no crystal |
| SYMMETRY/                   | one group for each symmetry of pattern and potential              |
| SYMMETRY/pattern_source     | (hkl, ky, kx): which stored value each pixel has                  |
| SYMMETRY/potential_source   | (v, u): the same                                                  |
| SYMMETRY/pattern            | (place, thickness, stored) uint16, 65535 x intensity              |
| SYMMETRY/potential          | (place, stored) uint16, (V - potential_offset) / potential_scale  |
| SYMMETRY/scalars            | (place, quantity) float64, NaN for a crystal that failed          |
| journal.jsonl               | a line for each batch that is on the disk, with checksums         |
| manifest.json               | when all is done: what is inside, what failed, what must be attributed |
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import MemoryStore

from lacbed.catalog.files import write_catalog
from lacbed.datasets.compute import SCALARS
from lacbed.datasets.orbits import Orbits
from lacbed.datasets.plan import Batch, Group, Plan, describe_plan
from lacbed.datasets.worker import Stored, quantities
from lacbed.errors import FileFormatError
from lacbed.io.atomic import reason
from lacbed.io.checks import read_json, regular_file
from lacbed.patterns.formats.zarr_folder import bytes_of, is_store
from lacbed.patterns.result import software

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{12}(\.parquet)?")
RECORD = "lacbed_dataset"
LARGEST_JSON = 2**30
"""Bytes of JSON that are read: a data set of millions of crystals has some hundred megabytes."""

TYPES = {"pattern": "uint16", "potential": "uint16", "scalars": "float64"}
CATALOG, ARRAYS = "catalog.parquet", tuple(TYPES)


def create(folder: Path, plan: Plan) -> None:
    """Lay out an empty data set in a folder; `zarr.json` of the root comes last and makes it one.

    Raises:
        FileFormatError: if the operating system refuses.
    """
    try:
        write_catalog(plan.table, folder / CATALOG, "lacbed dataset build", plan.selection.to_dict())
        memory = MemoryStore()
        root = zarr.open_group(memory, mode="w")
        _add_whole(root, "place", places_of(plan), ("row", "place"))
        for group in plan.groups:
            _add_group(root.create_group(group.symmetry.name), group, plan)
        root.attrs[RECORD] = {
            **describe_plan(plan),
            "software": software(),
            "quantities": list(quantities(plan.config)),
            "units": SCALARS,
        }
        files = bytes_of(memory)
        for name in sorted(files, key=lambda name: (name == "zarr.json", name)):
            write_bytes(folder / name, files[name])
    except OSError as error:
        raise FileFormatError(f"cannot write {str(folder)!r}: {reason(error)}") from None


def places_of(plan: Plan) -> npt.NDArray[np.int32]:
    """Group and place within it of each row."""
    places = np.full((plan.table.num_rows, 2), -1, dtype=np.int32)
    for number, group in enumerate(plan.groups):
        places[group.rows, 0] = number
        places[group.rows, 1] = np.arange(len(group.rows))
    return places


def _add_whole(parent: zarr.Group, name: str, values: npt.NDArray[Any], dimensions: Sequence[str]) -> None:
    array = parent.create_array(
        name, shape=values.shape, chunks=values.shape, dtype=values.dtype, dimension_names=dimensions
    )
    array[...] = values


def _add_group(parent: zarr.Group, group: Group, plan: Plan) -> None:
    _add_whole(parent, "pattern_source", group.symmetry.pattern.source, ("hkl", "ky", "kx"))
    _add_whole(parent, "potential_source", group.symmetry.potential.source, ("v", "u"))
    _add_data(parent, group, plan, len(group.rows))


def _add_data(parent: zarr.Group, group: Group, plan: Plan, rows: int) -> None:
    """The three arrays of a group, without any chunks."""
    pattern, potential = _stored(group.symmetry.pattern), _stored(group.symmetry.potential)
    columns = len(quantities(plan.config))
    shapes: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
        "pattern": ((plan.config.thickness_count, pattern), ("place", "thickness", "stored_pattern")),
        "potential": ((potential,), ("place", "stored_potential")),
        "scalars": ((columns,), ("place", "quantity")),
    }
    for name, (shape, dimensions) in shapes.items():
        dtype = TYPES[name]
        parent.create_array(
            name,
            shape=(rows, *shape),
            chunks=(plan.batch, *shape),
            dtype=dtype,
            fill_value=float("nan") if dtype == "float64" else 0,
            dimension_names=dimensions,
            config={"write_empty_chunks": True},
        )


def _stored(orbits: Orbits) -> int:
    return len(orbits.first)


def write_batch(folder: Path, plan: Plan, batch: Batch, stored: Sequence[Stored | None]) -> dict[str, str]:
    """Write the chunks of one batch and return the SHA-256 of each file.

    Args:
        folder: of the data set.
        plan: its plan.
        batch: which.
        stored: what there is of each of its rows, None for a failure.

    Raises:
        FileFormatError: if the operating system refuses, a full disk for example; files written so far stay, and
            count only when all of a batch are there.
    """
    group = plan.groups[batch.group]
    digests = {}
    for name, content in _encode(plan, group, stored).items():
        file = chunk_name(group.symmetry.name, name, batch.number)
        try:
            write_bytes(folder / file, content)
        except OSError as error:
            raise FileFormatError(f"cannot write {str(folder / file)!r}: {reason(error)}") from None
        digests[file] = hashlib.sha256(content).hexdigest()
    return digests


def chunk_name(group: str, array: str, batch: int) -> str:
    """The file that has a batch of one of `ARRAYS`."""
    return f"{group}/{array}/c/{'/'.join([str(batch), *_zeros(array)])}"


def _zeros(name: str) -> list[str]:
    return ["0", "0"] if name == "pattern" else ["0"]


def _encode(plan: Plan, group: Group, stored: Sequence[Stored | None]) -> dict[str, bytes]:
    """The bytes of a chunk of each array, by the codecs that the array has."""
    memory = MemoryStore()
    root = zarr.open_group(memory, mode="w")
    _add_data(root, group, plan, plan.batch)
    with zarr.config.set({"array.write_empty_chunks": True}):  # arrays forget that they were made with it
        for name in ARRAYS:
            array: Any = root[name]
            values = np.full(array.shape, array.fill_value, dtype=array.dtype)
            for place, one in enumerate(stored):
                if one is not None:
                    values[place] = getattr(one, name)
            array[...] = values
    files = bytes_of(memory)
    return {name: files[f"{name}/c/{'/'.join(['0', *_zeros(name)])}"] for name in ARRAYS}


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and have it on the disk before it has its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def json_file(path: Path, what: str) -> dict[str, Any]:
    """The names and values of a JSON file of a data set; see `lacbed.io.checks.read_json`."""
    size = regular_file(path, what, LARGEST_JSON, FileFormatError)
    return read_json(path, what, size, FileFormatError)


def is_unfinished(path: Path) -> bool:
    """Whether a file has the name of one that was being written."""
    return _UNFINISHED.fullmatch(path.name) is not None


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed left half written."""
    for path in folder.rglob(".*"):
        if is_unfinished(path) and path.is_file():
            with suppress(OSError):
                path.unlink()


def read_record(folder: Path) -> dict[str, Any]:
    """What the root of a data set says about it.

    Raises:
        FileFormatError: if there is no such folder, or it is no data set of this format.
    """
    if not folder.exists():
        raise FileFormatError(f"no such data set: {str(folder)!r}")
    if not folder.is_dir():
        raise FileFormatError(f"a data set is a folder (.zarr), and {str(folder)!r} is a file")
    root = folder / "zarr.json"
    if not root.exists():
        if is_store(folder):  # of the earlier format of Zarr, in which there are no data sets
            raise FileFormatError(f"{str(folder)!r} is a Zarr store, but not a data set of lacbed")
        raise FileFormatError(f"{str(folder)!r} contains no Zarr store: there is no zarr.json in it")
    attributes = json_file(root, "the record of a data set").get("attributes")
    record = attributes.get(RECORD) if isinstance(attributes, dict) else None
    if not isinstance(record, dict) or record.get("format") != "lacbed-dataset":
        raise FileFormatError(f"{str(folder)!r} is a Zarr store, but not a data set of lacbed")
    version = record.get("format_version")
    if type(version) is not int or version != 1:
        raise FileFormatError(f"the data set has format version {str(version)[:20]}, expected 1; update lacbed")
    return record
