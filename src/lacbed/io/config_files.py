"""Files of names and values that people write: TOML and JSON."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from lacbed.errors import FileFormatError
from lacbed.io.atomic import reason
from lacbed.io.checks import read_bytes, read_json_text

CONFIG_ENDINGS = (".toml", ".json")
_LARGEST = 10**7  # bytes


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
