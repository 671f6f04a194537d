"""Croissant metadata of an exported data set, version 1.0 of MLCommons: written, and compared with the files.

References:
    https://docs.mlcommons.org/croissant/docs/croissant-spec.html
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from lacbed.errors import FileFormatError
from lacbed.io.checks import read_json, regular_file

CROISSANT = "croissant.json"
CONFORMS = "http://mlcommons.org/croissant/1.0"
PARQUET = "application/x-parquet"
SPDX = "https://spdx.org/licenses/"

_LARGEST_JSON, _LARGEST = 10**7, 2**40
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_MEANING = {
    "row": "number of the crystal in the data set",
    "pattern": "65535 times the intensity as a fraction of the incident one, flattened (thickness, hkl, ky, kx)",
    "potential": "(V - potential_offset) / potential_scale, flattened (v, u)",
}


def croissant(folder: Path, manifest: Mapping[str, Any], about: Mapping[str, str]) -> dict[str, Any]:
    """The description of the Parquet files that lie in a folder.

    Args:
        folder: of the export.
        manifest: of the data set.
        about: "name", "split", and perhaps "url".
    """
    files = sorted((folder / "data").glob("*.parquet"))
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": about["name"],
        "description": describe(manifest, about),
        "conformsTo": CONFORMS,
        "license": licences(manifest),
        "version": "1.0.0",
        "datePublished": datetime.now(UTC).date().isoformat(),
        "url": about.get("url") or f"urn:lacbed:{quote(about['name'])}",
        "creator": {"@type": "sc:Organization", "name": "The lacbed founders"},
        "citeAs": "; ".join(manifest.get("attribution") or ["made with lacbed"]),
        "keywords": ["electron diffraction", "LACBED", "crystal structures"],
        "distribution": [_file_object(path) for path in files],
        "recordSet": [_record_set(path) for path in files],
    }


def describe(manifest: Mapping[str, Any], about: Mapping[str, str]) -> str:
    """The data set in a sentence or two."""
    config = manifest["config"]
    return (
        f"Large-angle convergent-beam electron diffraction patterns of {manifest['crystals']} crystals along "
        f"{config['zone_axis']} with their projected potentials; {len(config['hkl'])} reflections, "
        f"{config['pixels']} x {config['pixels']} tilts. Computed by {manifest['software']}; {about['split']}."
    )


def licences(manifest: Mapping[str, Any]) -> list[str]:
    """The licences of the rows, as addresses where there is one."""
    names = dict.fromkeys(str(one["licence"]) for one in manifest["licences"])
    return [SPDX + name if " " not in name else name for name in names]


def _file_object(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": f"data/{path.name}",
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": PARQUET,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def _record_set(path: Path) -> dict[str, Any]:
    schema = pq.read_schema(path)
    count = pq.read_metadata(path).num_rows
    return {
        "@type": "cr:RecordSet",
        "@id": path.stem,
        "name": path.stem,
        "description": f"{count} crystals",
        "key": {"@id": f"{path.stem}/row"},
        "field": [_field(path, field) for field in schema if data_type(field.type) is not None],
    }


def _field(path: Path, field: pa.Field) -> dict[str, Any]:
    name = f"{path.stem}/{field.name}"
    found: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": name,
        "name": name,
        "dataType": data_type(field.type),
        "source": {"fileObject": {"@id": path.name}, "extract": {"column": field.name}},
    }
    if field.name in _MEANING:
        found["description"] = _MEANING[field.name]
    if pa.types.is_list(field.type):
        found["repeated"] = True
    return found


def data_type(kind: pa.DataType) -> str | None:
    """The Croissant type of a column; None for what it has none for."""
    if pa.types.is_list(kind):
        return data_type(kind.value_type)
    for test, name in (
        (pa.types.is_boolean, "sc:Boolean"),
        (pa.types.is_integer, "sc:Integer"),
        (pa.types.is_floating, "sc:Float"),
        (pa.types.is_string, "sc:Text"),
    ):
        if test(kind):
            return name
    return None


def read_croissant(folder: Path) -> dict[str, Any]:
    """The Croissant file of a folder.

    Raises:
        FileFormatError: if there is none, or it is not JSON.
    """
    found = read_json(folder / CROISSANT, "the Croissant metadata", _LARGEST_JSON, FileFormatError)
    if found.get("conformsTo") != CONFORMS:
        raise FileFormatError(f"{str(folder / CROISSANT)!r} is not Croissant 1.0: conformsTo is not {CONFORMS}")
    return found


def check_croissant(folder: Path, found: Mapping[str, Any]) -> dict[str, int]:
    """Compare Croissant metadata with the files of a folder; rows by file.

    Raises:
        FileFormatError: at the first thing that disagrees.
    """
    path = folder / CROISSANT
    try:
        files = {str(entry["@id"]): entry for entry in found["distribution"]}
        sets = {str(entry["@id"]): entry for entry in found["recordSet"]}
        for problem in _problems(folder, files, sets):
            raise FileFormatError(f"{str(path)!r} disagrees with the data: {problem}")
    except (KeyError, TypeError, AttributeError):
        raise FileFormatError(f"{str(path)!r} does not describe files and records as Croissant 1.0 does") from None
    return {name: pq.read_metadata(folder / "data" / name).num_rows for name in files}


def _problems(folder: Path, files: Mapping[str, Any], sets: Mapping[str, Any]) -> Iterator[str]:
    there = {path.name for path in (folder / "data").glob("*.parquet")}
    for name in sorted(there ^ set(files)):
        yield f"{name} is described but not there" if name in files else f"{name} is there but not described"
    for name, entry in sorted(files.items()):
        path = folder / "data" / name
        if entry["contentUrl"] != f"data/{name}":
            yield f"{name} is said to lie at {entry['contentUrl']!r:.60}"
        size = regular_file(path, "a part of an exported data set", _LARGEST, FileFormatError)
        if entry["contentSize"] != f"{size} B":
            yield f"{name} has {size} bytes, not {entry['contentSize']!r:.60}"
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            yield f"{name} differs from its checksum"
        yield from _columns(path, sets.get(path.stem))


def _columns(path: Path, described: Mapping[str, Any] | None) -> Iterator[str]:
    if described is None:
        yield f"no record set describes {path.name}"
        return
    schema = pq.read_schema(path)
    known = {str(field["source"]["extract"]["column"]): field for field in described["field"]}
    for name, field in known.items():
        if field["source"]["fileObject"]["@id"] != path.name:
            yield f"{name} of {described['@id']} is not read from {path.name}"
        if name not in schema.names:
            yield f"{path.name} has no column {name!r:.60}"
        elif field["dataType"] != data_type(schema.field(name).type):
            yield f"column {name} of {path.name} is {schema.field(name).type}, not {field['dataType']!r:.60}"
    for name in schema.names:
        if name not in known and data_type(schema.field(name).type) is not None:
            yield f"column {name} of {path.name} is not described"
    count = pq.read_metadata(path).num_rows
    if described["description"] != f"{count} crystals":
        yield f"{path.name} has {count} rows, not {described['description']!r:.60}"
