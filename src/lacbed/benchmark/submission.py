"""What somebody hands in: a folder with predictions and a card. Arrays and text only; nothing in it is ever run.

| in the folder                       | what                                                          |
|-------------------------------------|---------------------------------------------------------------|
| card.toml                           | which task and split, what the model is, what it learned from |
| predictions.npz or predictions.zarr | arrays by name                                                |

| array     | shape                                                                                      |
|-----------|--------------------------------------------------------------------------------------------|
| ids       | (crystal,), texts; in a Zarr folder they may also be the attribute "ids" of the group      |
| pattern   | (crystal, thickness, hkl, ky, kx), or for the inverse potential (crystal, v, u)            |
| sigma     | expected standard deviation of the values, of their shape, its first axes, or 1 in any; optional |
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lacbed.benchmark.definition import PREDICTED, SPLITS, Definition
from lacbed.benchmark.task_data import TaskData, some
from lacbed.errors import FileFormatError, LacbedError, SettingError
from lacbed.io.atomic import check_replaceable, holds_only, reason, replacing
from lacbed.io.checks import check_number, check_one_of, regular_file
from lacbed.io.config_files import build_section, read_config
from lacbed.patterns.formats.npz import check_archive, read_member
from lacbed.patterns.formats.zarr_folder import check_files, read_array

CARD, NPZ, ZARR = "card.toml", "predictions.npz", "predictions.zarr"
_LARGEST_FILE = 2**36
_LONGEST = 4000
_BRIGHTEST = 2.0
"""No intensity is above 1; a prediction far above it is in another unit."""

_DEEPEST = 1e5  # V


@dataclass(frozen=True)
class Card:
    """What a submission says about itself.

    Attributes:
        benchmark: "LACBED-1".
        task: of the benchmark.
        split: "row", "compound", "prototype" or "drawn".
        name: of the model, for the table.
        description: what it is, in a sentence or two.
        training: what it learned from, other data than the benchmark's too.
        training_crystals: how many crystals that were; 0 if it has learned nothing.
        training_hours: on one processor or accelerator.
        hardware: what it was trained and timed on.
        parameters: numbers that it has learned.
        milliseconds: for one pattern.
        authors, url, licence: of the model.
        model_sha256: of its weights, which shows that they were settled before a seed was named.
        units: "fraction of the incident intensity" or "V".
    """

    benchmark: str
    task: str
    split: str
    name: str
    description: str
    training: str = ""
    training_crystals: int = 0
    training_hours: float = 0.0
    hardware: str = ""
    parameters: int = 0
    milliseconds: float = 0.0
    authors: str = ""
    url: str = ""
    licence: str = ""
    model_sha256: str = ""
    units: str = ""

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: naming the key.
        """
        for key, value in vars(self).items():
            if isinstance(value, str):
                if len(value) > _LONGEST:
                    raise SettingError(f"{key} has {len(value)} characters; at most {_LONGEST} are allowed")
            else:
                check_number(key, value, 0)
        for key in ("name", "description"):
            if not getattr(self, key).strip():
                raise SettingError(f"{key} must not be empty")
        check_one_of("split", self.split, SPLITS)


@dataclass(frozen=True, eq=False)
class Submission:
    """Predictions in the order of the crystals of a task.

    Attributes:
        card: what it says about itself.
        values: (crystal, *shape of the task).
        sigma: expected standard deviation of each value, which broadcasts with them; None if not given.
    """

    card: Card
    values: npt.NDArray[np.float32]
    sigma: npt.NDArray[np.float32] | None


def read_card(folder: Path, definition: Definition) -> Card:
    """The card of a submission, which names the task.

    Raises:
        FileFormatError: if the folder or the card is missing, or the card is no TOML.
        SettingError: if a key is unknown, missing or wrong, or names another benchmark.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise FileFormatError(f"a submission is a folder with {CARD} and {NPZ} or {ZARR}; {str(folder)!r} {what}")
    path = folder / CARD
    if not path.exists():
        raise FileFormatError(
            f"the submission {str(folder)!r} has no {CARD}; see the documentation of the benchmark"
        )
    values = read_config(path)
    try:
        card = build_section(Card, values, "card")
        if card.benchmark != definition.name:
            raise SettingError(f"benchmark is {card.benchmark!r:.60}, expected {definition.name!r}")
        unit = PREDICTED[definition.task(card.task).predicts]
        if card.units not in ("", unit):
            raise SettingError(
                f"units of {card.task} must be {unit!r}, got {card.units!r:.60}; convert the predictions"
            )
    except SettingError as error:
        raise SettingError(f"{path}: {error}") from None
    return card


def read_submission(folder: Path, card: Card, data: TaskData) -> Submission:
    """The predictions of a submission, checked and in the order of the data.

    Raises:
        FileFormatError: if the file is missing or damaged, ids are missing, foreign or given twice, a shape or
            unit is not that of the task, or a value is not a number.
    """
    path, read = _open(folder)
    name = data.task.predicts
    ids = [_text(one) for one in read("ids").reshape(-1).tolist()]
    order = _order(path, ids, data)
    values = _values(path, name, read(name), (len(ids), *data.shape))
    sigma = None
    if read("sigma", False) is not None:
        sigma = _sigma(path, read("sigma"), values.shape)
        sigma = sigma[order] if len(sigma) == len(ids) else sigma
    values = values[order]
    limit = _BRIGHTEST if name == "pattern" else _DEEPEST
    largest = float(np.abs(values).max(initial=0.0))
    if largest > limit:
        hint = "; per cent or counts?" if name == "pattern" else ""
        raise FileFormatError(
            f"{path}: {name} is given in units of {PREDICTED[name]}, but reaches {largest:.3g}{hint}; convert it"
        )
    return Submission(card, values, sigma)


Read = Callable[..., Any]


def _open(folder: Path) -> tuple[Path, Read]:
    """The file of predictions, and what reads an array of it by name."""
    there = [folder / name for name in (NPZ, ZARR) if (folder / name).exists()]
    if len(there) != 1:
        what = f"both {NPZ} and {ZARR}; leave one" if there else f"neither {NPZ} nor {ZARR}"
        raise FileFormatError(f"the submission {str(folder)!r} has {what}")
    path = there[0]
    opened = _npz(path) if path.name == NPZ else _zarr(path)

    def read(name: str, needed: bool = True) -> Any:
        try:
            values = opened(name)
        except LacbedError as error:
            raise FileFormatError(f"cannot read {str(path)!r}: {error}") from None
        except Exception as error:  # the readers of damaged files raise anything at all
            raise FileFormatError(f"cannot read {str(path)!r}: {reason(error)}") from None
        if values is None and needed:
            raise FileFormatError(
                f"{path} has no array {name!r}; it needs ids and pattern or potential, by the task"
            )
        return values

    return path, read


def _npz(path: Path) -> Callable[[str], Any]:
    size = regular_file(path, "the predictions", _LARGEST_FILE, FileFormatError)

    def read(name: str) -> Any:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, size)
            return read_member(archive, name) if f"{name}.npy" in archive.NameToInfo else None

    return read


def _zarr(path: Path) -> Callable[[str], Any]:
    def read(name: str) -> Any:
        import zarr  # takes its time

        if not path.is_dir():
            raise FileFormatError("a .zarr is a folder, but this is a file")
        size = check_files(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about parts that it cannot read; the error says it
            group = zarr.open_group(path, mode="r", use_consolidated=False)
            if name == "ids" and isinstance(group.attrs.get("ids"), list):
                return np.array(group.attrs["ids"], dtype=object)
            return read_array(group[name], name, size) if name in group else None

    return read


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _order(path: Path, ids: list[str], data: TaskData) -> list[int]:
    """Where the crystals of the data stand among the ids."""
    place = {name: i for i, name in enumerate(ids)}
    if len(place) < len(ids):
        twice = [name for name in dict.fromkeys(ids) if ids.count(name) > 1]
        raise FileFormatError(f"{path} has a prediction for {some(twice)} twice")
    asked = f"the {data.side} side of the split by {data.split}"
    foreign = [name for name in ids if name not in {*data.ids, *data.lost}]
    missing = [name for name in data.ids if name not in place]
    if foreign:
        raise FileFormatError(
            f"{path}: {len(foreign)} of {len(ids)} ids are not on {asked}, such as {some(foreign)}; "
            f"{data.task.name} asks for {len(data)} crystals, such as {some(data.ids[:1])}"
        )
    if missing:
        raise FileFormatError(
            f"{path} lacks {len(missing)} of the {len(data)} crystals of {asked}: {some(missing)}"
        )
    return [place[name] for name in data.ids]


def _numbers(path: Path, name: str, values: Any) -> npt.NDArray[np.float32]:
    if values.dtype.kind not in "fiu":
        raise FileFormatError(f"{path}: {name} must be real numbers, got {values.dtype}")
    found = np.asarray(values, dtype=np.float32)
    bad = int(np.count_nonzero(~np.isfinite(found)))
    if bad:
        raise FileFormatError(f"{path}: {name} has {bad} values that are NaN or infinite; every pixel is needed")
    return found


def _values(path: Path, name: str, values: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    if values.shape != shape:
        axes = "(crystal, thickness, hkl, ky, kx)" if name == "pattern" else "(crystal, v, u)"
        raise FileFormatError(f"{path}: {name} {axes} must have the shape {shape}, got {values.shape}")
    return _numbers(path, name, values)


def _sigma(path: Path, values: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Expected errors with as many axes as the values."""
    wide = (
        values.reshape(*values.shape, *[1] * (len(shape) - values.ndim)) if values.ndim <= len(shape) else values
    )
    if wide.ndim != len(shape) or any(have not in (1, want) for have, want in zip(wide.shape, shape, strict=True)):
        raise FileFormatError(
            f"{path}: sigma must have the shape {shape}, its first axes, or 1 in place of any; got {values.shape}"
        )
    found = _numbers(path, "sigma", wide)
    if not found.min(initial=1.0) > 0:
        raise FileFormatError(f"{path}: sigma must be positive, got {float(found.min()):g}")
    return found


# -- writing ------------------------------------------------------------------------------------------------------


def check_place(folder: Path) -> None:
    """Refuse, before any work, a place where something else than a submission stands.

    Raises:
        FileFormatError: saying so.
    """
    if not folder.parent.is_dir():
        raise FileFormatError(f"cannot write {str(folder)!r}: there is no folder {str(folder.parent)!r}; make it")
    check_replaceable(folder, lambda there: holds_only(there, (CARD,), (NPZ,)), "submission")


def write_submission(
    folder: Path,
    card: Card,
    data: TaskData,
    values: npt.NDArray[np.float32],
    sigma: npt.NDArray[np.float32] | None = None,
) -> None:
    """Write a submission whole or not at all.

    Raises:
        FileFormatError: if something else is there, or the operating system refuses.
    """
    check_place(folder)
    arrays = {"ids": np.array(data.ids), data.task.predicts: values}
    if sigma is not None:
        arrays["sigma"] = sigma
    with replacing(folder) as temporary:
        temporary.mkdir()
        np.savez(temporary / NPZ, allow_pickle=False, **arrays)
        (temporary / CARD).write_text(card_text(card), encoding="utf-8")


def card_text(card: Card) -> str:
    """A card as TOML, without what is empty."""
    lines = []
    for key, value in vars(card).items():
        if value or key in ("training_crystals", "parameters"):
            shown = _quoted(value) if isinstance(value, str) else f"{value!r}"
            lines.append(f"{key} = {shown}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a basic string of TOML has the same escapes
