"""Files of names and values that people write: TOML and JSON."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from lacbed.errors import FileFormatError
from lacbed.patterns.atomic import reason

CONFIG_ENDINGS = (".toml", ".json")


def read_config(path: Path) -> dict[str, Any]:
    """The names and values in a .toml or .json file, by its ending; nothing of their meaning is checked.

    Raises:
        FileFormatError: if there is no such file, or it is not what its ending says.
    """
    kind = path.suffix.lower().removeprefix(".")
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if kind == "toml" else json.loads(text)
    except OSError as error:
        raise FileFormatError(f"cannot read the config {str(path)!r}: {reason(error)}") from None
    except RecursionError:
        raise FileFormatError(f"{str(path)!r} is not valid {kind.upper()}: it is nested too deeply") from None
    except ValueError as error:
        raise FileFormatError(f"{str(path)!r} is not valid {kind.upper()}: {reason(error)}") from None
    if not isinstance(values, dict):
        raise FileFormatError(f"{str(path)!r} must hold names and values, got a {type(values).__name__}")
    return values
