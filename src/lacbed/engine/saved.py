"""A solved zone as a file: its crystal and settings as JSON, its matrices and eigenvectors as tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacbed.crystals import Crystal, Site
from lacbed.engine.basis import Basis, Reach
from lacbed.engine.model import POWERS, Model
from lacbed.engine.potential import Oblique, ZonePotential
from lacbed.engine.propagate import Store
from lacbed.errors import FileFormatError
from lacbed.io.atomic import check_replaceable, reason
from lacbed.io.tensors import read_tensors, write_tensors
from lacbed.settings import Settings

KIND = "lacbed-zone"

_SETTINGS = (
    "zone_axis",
    "energy",
    "foil_normal",
    "x_direction",
    "laue_zones",
    "refraction",
    "paraxial",
    "absorption",
    "factors",
    "tolerance",
)


@dataclass(frozen=True, eq=False)
class SavedZone:
    """What a file holds of a zone.

    Attributes:
        crystal: the crystal.
        settings: of the zone.
        basis: what was solved once, or None if nothing was.
        solved: eigenvectors that were kept.
        closer: distance of nodes in units of the first guess.
        thickest: thickness in Å up to which waves are chosen, or 0.
    """

    crystal: Crystal
    settings: Settings
    basis: Basis | None
    solved: Store
    closer: float
    thickest: float


def write_zone(path: Path, zone: SavedZone) -> None:
    """Write a zone whole or not at all.

    Raises:
        FileFormatError: if something else stands there, or the operating system refuses.
    """
    check_replaceable(path, _is_ours, "a zone")
    record: dict[str, Any] = {
        "crystal": asdict(zone.crystal),
        "settings": {name: getattr(zone.settings, name) for name in _SETTINGS},
        "nodes": {"closer": zone.closer, "thickest": zone.thickest},
    }
    groups: dict[str, dict[str, Tensor]] = {}
    if zone.basis is not None:
        basis = zone.basis
        record["basis"] = {name: getattr(basis, name) for name in ("deepest", "margin", "g_max", "tail")}
        record["basis"] |= {"reach": asdict(basis.reach), "mean": basis.potential.mean}
        record["basis"]["aside"] = basis.potential.aside
        parts: dict[str, Any] = {"potential": basis.potential, "model": basis.model, "judge": basis.judge}
        if basis.potential.oblique is not None:
            parts["oblique"] = basis.potential.oblique
        groups = {name: _tensors(vars(part)) for name, part in parts.items()}
        for name, (values, vectors, inverse) in zone.solved.items():
            groups[f"solved {name}"] = {"values": values, "vectors": vectors}
            if values.is_complex():  # otherwise the vectors are orthonormal
                groups[f"solved {name}"]["inverse"] = inverse
    write_tensors(path, KIND, groups, record)


def read_zone(path: Path) -> SavedZone:
    """Read what `write_zone` wrote; nothing in the file is executed.

    Raises:
        FileFormatError: if it is missing, damaged or something else.
    """
    groups, record = read_tensors(path, KIND)
    try:
        crystal = Crystal(**record["crystal"] | {"sites": [Site(**s) for s in record["crystal"]["sites"]]})
        settings = Settings(**{n: record["settings"][n] for n in _SETTINGS if n in record["settings"]})
        nodes = record["nodes"]
        if isinstance(nodes, list):  # of an earlier version, which kept how many there were
            nodes = {"closer": nodes[2], "thickest": 0.0}
        rest = float(nodes["closer"]), float(nodes["thickest"])
        if "basis" not in record:
            return SavedZone(crystal, settings, None, {}, *rest)
        solved = {
            int(name.removeprefix("solved ")): (
                group["values"],
                group["vectors"],
                group.get("inverse", group["vectors"].conj()),
            )
            for name, group in groups.items()
            if name.startswith("solved ")
        }
        basis = _basis(groups, record["basis"])
        bent = basis.potential.oblique is not None and bool(basis.potential.oblique.rate.any())
        if bent and len(basis.model.matrix) == len(POWERS):  # of an earlier version, less exact: solved anew
            return SavedZone(crystal, settings, None, {}, *rest)
        return SavedZone(crystal, settings, basis, solved, *rest)
    except FileFormatError:
        raise
    except Exception as error:  # a file that was made by hand may raise anything at all
        raise FileFormatError(f"{path} is no zone that lacbed wrote: {reason(error)}") from None


def _is_ours(path: Path) -> bool:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as stream:
        return dict(stream.metadata() or {}).get("format") == KIND


def _tensors(fields: Mapping[str, Any]) -> dict[str, Tensor]:
    """The arrays among the fields of a dataclass; None and numbers are left out."""
    arrays = {name: v for name, v in fields.items() if isinstance(v, np.ndarray | Tensor)}
    return {name: torch.as_tensor(value) for name, value in arrays.items()}


def _basis(groups: Mapping[str, Mapping[str, Tensor]], record: Mapping[str, Any]) -> Basis:
    held = dict(groups["potential"])
    arrays = {name: held[name].numpy() for name in ("basis", "lattice", "centre", "places")}
    shift = held["shift"].numpy() if "shift" in held else None
    kept = {name: held.get(name) for name in ("vectors", "size", "elastic", "absorptive")}
    oblique = Oblique(**groups["oblique"]) if "oblique" in groups else None
    fields: dict[str, Any] = {**arrays, **kept, "shift": shift, "oblique": oblique}
    potential = ZonePotential(**fields, mean=float(record["mean"]), aside=int(record.get("aside", 0)))
    model, judge = (_model(groups[name]) for name in ("model", "judge"))
    numbers = {name: float(record[name]) for name in ("deepest", "margin", "g_max", "tail")}
    return Basis(potential=potential, model=model, judge=judge, reach=Reach(**record["reach"]), **numbers)


def _model(group: Mapping[str, Tensor]) -> Model:
    outgoing, incoming = group["outgoing"], group["incoming"]
    same = torch.equal(outgoing, incoming)  # of a crystal with a centre of symmetry they are one
    return Model(
        group["centre"].numpy(),
        group["matrix"],
        group.get("damping"),
        outgoing,
        outgoing if same else incoming,
    )
