"""Named tensors and a record of what they are in one file: safetensors with JSON, never pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lacbed.errors import FileFormatError
from lacbed.io.atomic import reason, replacing
from lacbed.io.checks import read_json_text, regular_file

FORMAT_VERSION = 1
_LARGEST = 2**36  # bytes
_SPLIT = "/"  # between the group of a tensor and its name
_COMPLEX = "+i"  # behind the name of what is complex

Groups = Mapping[str, Mapping[str, Tensor]]


def write_tensors(path: Path, kind: str, groups: Groups, record: Mapping[str, Any]) -> None:
    """One safetensors file with groups of tensors, and the record as JSON in its header.

    Raises:
        FileFormatError: if the operating system refuses.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for group, members in groups.items():
        for name, value in members.items():
            plain = value.detach().cpu().resolve_conj()
            suffix = _COMPLEX if plain.is_complex() else ""  # which safetensors has no type for
            plain = torch.view_as_real(plain) if plain.is_complex() else plain
            tensors[f"{group}{_SPLIT}{name}{suffix}"] = plain.contiguous().clone()
    text = json.dumps(record, ensure_ascii=False, sort_keys=True)
    header = {
        "format": kind,
        "format_version": str(FORMAT_VERSION),
        "sha256": digest_of(tensors, text),
        "record": text,
    }
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=header)
        except SafetensorError as error:  # what it makes of a full disk and the like
            raise OSError(reason(error)) from None


def read_tensors(path: Path, kind: str) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Groups of tensors and the record of a file that `write_tensors` made.

    Raises:
        FileFormatError: if it is missing, damaged, of another kind or another version.
    """
    regular_file(path, f"the {kind}", _LARGEST, FileFormatError)
    header, tensors = _content(path)
    if header.get("format") != kind:
        raise FileFormatError(
            f"{path} is a {header.get('format', 'foreign safetensors file'):.60}, expected a {kind}"
        )
    if header.get("format_version") != str(FORMAT_VERSION):
        raise FileFormatError(
            f"{path} has format version {header.get('format_version')!s:.60}, expected {FORMAT_VERSION}; "
            "use the lacbed that wrote it, or make it again"
        )
    if header.get("sha256") != digest_of(tensors, header.get("record", "")):
        raise FileFormatError(
            f"{path} is damaged: its content does not have the checksum that was written with it"
        )
    groups: dict[str, dict[str, Tensor]] = {}
    for full, stored in tensors.items():
        value = stored
        group, _, name = full.partition(_SPLIT)
        if name.endswith(_COMPLEX):
            if value.shape[-1:] != (2,) or value.dtype not in (torch.float32, torch.float64):
                raise FileFormatError(f"{path} is damaged: {name:.60} is not a complex tensor")
            name, value = name.removesuffix(_COMPLEX), torch.view_as_complex(value)
        groups.setdefault(group, {})[name] = value
    return groups, read_json_text(
        header.get("record", ""), f"the record in {str(path)!r}", FileFormatError, non_finite=True
    )


def _content(path: Path, tries: int = 5) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors; once more if the file was replaced meanwhile, as checkpoints are during training."""
    from safetensors import SafetensorError, safe_open

    before = _identity(path)
    try:
        with safe_open(path, framework="pt") as stream:
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118  no mapping
            header = dict(stream.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError) as error:
        if tries == 1 or _identity(path) == before:
            raise FileFormatError(f"{path} is damaged or not a safetensors file: {reason(error)}") from None
    else:
        if tries == 1 or _identity(path) == before:
            return header, tensors
    return _content(path, tries - 1)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def digest_of(tensors: Mapping[str, Tensor], record: str) -> str:
    """The checksum (SHA-256, hexadecimal) that is written beside tensors and their record."""
    total = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
