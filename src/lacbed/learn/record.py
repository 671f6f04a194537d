"""What comes with the weights of a model, checked: the JSON in its config and in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lacbed.errors import FileFormatError, LacbedError
from lacbed.io.config_files import build_section
from lacbed.io.numbers import is_list, is_number, is_whole
from lacbed.learn.config import DataSettings
from lacbed.potential import check_absorption
from lacbed.scattering import FACTOR_TABLES

REMEDY = "fetch or train it again"
_RANGES = {"thickness": "Å", "energy": "eV", "lattice_parameter": "Å"}
_WHOLE = {"pixels": (4, 100_000), "potential_pixels": (4, 100_000)}


def check_record(record: Mapping[str, Any], descriptors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a record of which a part that is there is not what it must be.

    Args:
        record: what came with the weights.
        descriptors: of training rows; empty if there are none.
        path: of the file, for the message.

    Raises:
        FileFormatError: naming the part, what was expected and what came.
    """
    trained = record["config"].get("data")
    if trained is not None:
        try:
            build_section(DataSettings, _table(trained, "config.data", path), "config.data")
        except LacbedError as error:
            raise _wrong(path, str(error)) from None
    if record.get("domain") is not None:
        _check_domain(_table(record["domain"], "domain", path), path)
        _check_pixels(record["domain"], record["config"]["model"], path)
    if record.get("warning"):
        _check_warning(_table(record["warning"], "warning", path), path)
        if descriptors:
            _check_descriptors(descriptors, path)


def _check_domain(domain: Mapping[str, Any], path: Path) -> None:
    """What `lacbed.learn.domain.domain_of` makes."""
    axis = domain.get("zone_axis")
    if not is_list(axis, is_number, 3) or not any(axis):
        raise _wrong(path, f"domain.zone_axis must be three numbers that are not all 0, got {axis!r:.60}")
    for name, unit in _RANGES.items():
        value = domain.get(name)
        if not is_list(value, is_number, 2):
            raise _wrong(path, f"domain.{name} must be two numbers in {unit}, got {value!r:.60}")
        if not 0 < value[0] <= value[1]:
            raise _wrong(path, f"domain.{name} must be two positive, rising numbers in {unit}, got {value!r:.60}")
    for name, (least, most) in _WHOLE.items():
        value = domain.get(name)
        if not is_whole(value, least, most):
            raise _wrong(path, f"domain.{name} must be a whole number from {least} to {most}, got {value!r:.60}")
    for name in ("extent", "potential_g_max"):
        value = domain.get(name)
        if not is_number(value) or not 0 < domain[name] <= 1000:
            raise _wrong(path, f"domain.{name} must be a number above 0 and at most 1000, got {value!r:.60}")
    if domain.get("factors") not in list(FACTOR_TABLES):  # no hash of what came
        known = ", ".join(FACTOR_TABLES)
        raise _wrong(path, f"domain.factors must be one of {known}, got {domain.get('factors')!r:.60}")
    if "absorption" not in domain:
        raise _wrong(path, "domain.absorption is missing")
    absorption = domain["absorption"]
    try:
        check_absorption(tuple(absorption) if isinstance(absorption, list) else absorption)
    except (LacbedError, TypeError, ValueError, OverflowError) as error:
        said = str(error) if isinstance(error, LacbedError) else f"got {absorption!r:.60}"
        raise _wrong(path, f"domain.absorption is none: {said}") from None


def _check_pixels(domain: Mapping[str, Any], model: Mapping[str, Any], path: Path) -> None:
    made = model.get("pixels", domain["pixels"])
    if made != domain["pixels"]:
        raise _wrong(path, f"domain.pixels is {domain['pixels']}, and the patterns of the model have {made!r:.60}")


def _check_warning(fitted: Mapping[str, Any], path: Path) -> None:
    """What `lacbed.learn.trust.fit_warning` makes; the names of the signs came later than the rest."""
    from lacbed.learn.trust import (
        SIGNS,  # imports the data side, which imports models
        signs_needed,
    )

    signs = fitted.get("signs", list(signs_needed({})))
    if not isinstance(signs, list) or not all(isinstance(name, str) and name in SIGNS for name in signs):
        raise _wrong(path, f"warning.signs must be a list of {', '.join(SIGNS)}, got {signs!r:.60}")
    numbers = fitted.get("coefficients")
    if not is_list(numbers, is_number, len(signs) + 1):
        raise _wrong(path, f"warning.coefficients must be {len(signs) + 1} numbers, got {numbers!r:.60}")
    if not is_number(fitted.get("threshold")):
        raise _wrong(path, f"warning.threshold must be a number, got {fitted.get('threshold')!r:.60}")


def _check_descriptors(descriptors: Mapping[str, Tensor], path: Path) -> None:
    """What `lacbed.learn.trust.descriptor_table` makes."""
    shapes = {name: tuple(descriptors[name].shape) if name in descriptors else None for name in _TABLE}
    rows, mean, scale = (shapes[name] for name in _TABLE)
    if rows is None or len(rows) != 2 or not rows[0] or mean != rows[1:] or scale != rows[1:]:
        raise _wrong(path, f"descriptors must be rows (n, d), mean (d,) and scale (d,), got {shapes}")
    good = all(bool(torch.isfinite(descriptors[name].float()).all()) for name in _TABLE)
    if not good or not bool((descriptors["scale"] > 0).all()):
        raise _wrong(path, "descriptors must be finite numbers with a positive scale")


_TABLE = ("rows", "mean", "scale")


def _table(value: Any, name: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(path, f"{name} must be an object of names and values, got {value!r:.60}")
    return value


def _wrong(path: Path, what: str) -> FileFormatError:
    return FileFormatError(f"cannot use the model {str(path)!r}: {what}; {REMEDY}")
