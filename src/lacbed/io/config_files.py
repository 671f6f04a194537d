"""Files of names and values that people write, TOML and JSON, and tables in them as checked dataclasses."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

from lacbed.errors import FileFormatError, SettingError
from lacbed.io.atomic import reason
from lacbed.io.checks import read_bytes, read_json_text
from lacbed.io.numbers import is_number

CONFIG_ENDINGS = (".toml", ".json")
_LARGEST = 10**7  # bytes

Section = TypeVar("Section")


def read_config(path: Path) -> dict[str, Any]:
    """The names and values in a .toml or .json file, by its ending; nothing of their meaning is checked.

    Raises:
        FileFormatError: if there is no such file, or it is not what its ending says.
    """
    kind = path.suffix.lower().removeprefix(".")
    if not path.exists():
        raise FileFormatError(f"cannot read the config {str(path)!r}: there is no such file")
    content = read_bytes(path, "the config", _LARGEST, FileFormatError)
    try:
        text = content.decode("utf-8-sig")
        if kind != "toml":
            return read_json_text(text, f"the config {str(path)!r}", FileFormatError)
        values = tomllib.loads(text)
    except FileFormatError:
        raise
    except RecursionError:
        raise FileFormatError(f"{str(path)!r} is not valid {kind.upper()}: it is nested too deeply") from None
    except ValueError as error:
        raise FileFormatError(f"{str(path)!r} is not valid {kind.upper()}: {reason(error)}") from None
    return values


def build_section(cls: type[Section], values: Mapping[str, Any], title: str) -> Section:
    """A frozen dataclass of plain numbers, texts and switches from a table of keys.

    Raises:
        SettingError: on an unknown or missing key or a value of another type.
    """
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    refuse_unknown(values, list(known), f"[{title}]")
    for name, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and name not in values:
            raise SettingError(f"[{title}] needs {name}")
    read = {name: _typed(f"{title}.{name}", value, known[name].type) for name, value in values.items()}
    return cls(**read)


def refuse_unknown(values: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    """Refuse keys that are not known, naming those that are.

    Raises:
        SettingError: if there is one.
    """
    unknown = [str(name) for name in values if name not in known]
    if unknown:
        shown = ", ".join(f"{name!r:.60}" for name in unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise SettingError(f"{what} has no key {shown}; its keys are {', '.join(known)}")


def _typed(name: str, value: Any, kind: Any) -> Any:
    """The value as the annotated type; whole numbers may stand for decimal ones, and lists for tuples."""
    wanted = str(kind if isinstance(kind, str) else getattr(kind, "__name__", kind))
    if wanted == "float" and is_number(value):
        return float(value)
    if wanted == "int" and is_number(value) and value == int(value):
        return int(value)
    if (wanted == "bool" and isinstance(value, bool)) or (wanted == "str" and isinstance(value, str)):
        return value
    if wanted.startswith("tuple") and isinstance(value, list | tuple):
        return tuple(value)
    what = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "a text"}
    raise SettingError(f"{name} must be {what.get(wanted, wanted)}, got {value!r:.60}")
