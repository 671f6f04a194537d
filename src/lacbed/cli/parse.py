"""Text of the command line to values, with errors that name the option."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

from lacbed.errors import SettingError

MAX_THICKNESSES = 10_000


def numbers(text: str, option: str, count: int) -> tuple[float, ...]:
    """Finite numbers separated by commas or blanks, in brackets or not: "0,0,1", "[0 0 1]".

    Raises:
        SettingError: if it is something else.
    """
    words = text.strip().strip("[]()").replace(",", " ").split()
    values = [_number(word) for word in words]
    if len(values) != count or not all(math.isfinite(v) for v in values):
        example = ",".join("0" * (count - 1) + "1")
        wanted = "a number" if count == 1 else f"{count} numbers"
        raise SettingError(f"{option} must be {wanted} such as {example}, got {text!r}")
    return tuple(values)


def integers(text: str, option: str, count: int = 3) -> tuple[int, ...]:
    """Whole numbers separated by commas or blanks.

    Raises:
        SettingError: if it is something else.
    """
    values = numbers(text, option, count)
    if any(v != round(v) or abs(v) > 1e6 for v in values):
        raise SettingError(f"{option} must be {count} whole numbers, got {text!r}")
    return tuple(round(v) for v in values)


def number_range(text: str, option: str) -> tuple[float, float]:
    """Two numbers "low:high".

    Raises:
        SettingError: if it is something else.
    """
    words = text.split(":")
    if len(words) != 2:
        raise SettingError(f"{option} must be a range low:high, got {text!r}")
    low, high = (numbers(word, option, 1)[0] for word in words)
    return low, high


def whole_range(text: str, option: str) -> tuple[int, int]:
    """Two whole numbers "low:high", or one for both.

    Raises:
        SettingError: if it is something else.
    """
    low, high = number_range(text if ":" in text else f"{text}:{text}", option)
    if low != round(low) or high != round(high) or max(abs(low), abs(high)) > 1e6:
        raise SettingError(f"{option} must be whole numbers low:high, got {text!r}")
    return round(low), round(high)


def seconds(text: str) -> float:
    """A time such as 90s, 5m or 1h; a number alone is in seconds.

    Raises:
        SettingError: if it is something else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(s|m|min|h)?\s*", text)
    if not found:
        raise SettingError(f"--time must be a time such as 90s, 5m or 1h, got {text!r}")
    return float(found[1]) * {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}[found[2] or "s"]


def thicknesses(text: str) -> tuple[float, ...]:
    """Thicknesses in Å: "300,600,900", "100:1500:50" (last included), or a mixture.

    Raises:
        SettingError: if it is something else, or one is not positive.
    """
    values: list[float] = []
    for part in text.replace(",", " ").split():
        values += _series(part) if ":" in part else [_number(part)]
    if not values or not all(math.isfinite(v) and v > 0 for v in values):
        raise SettingError(
            f"--thickness must be positive numbers in Å, such as 300,600,900 or 100:1500:50, got {text!r}"
        )
    if len(values) > MAX_THICKNESSES:
        raise SettingError(f"--thickness names {len(values)} thicknesses, the limit is {MAX_THICKNESSES}")
    return tuple(dict.fromkeys(values))


def _series(text: str) -> list[float]:
    words = [_number(word) for word in text.split(":")]
    if len(words) != 3 or not all(math.isfinite(w) for w in words) or words[2] <= 0 or words[1] < words[0]:
        raise SettingError(
            f"a series of thicknesses is first:last:step with a positive step, such as 100:1500:50, got {text!r}"
        )
    first, last, step = words
    count = (last - first) / step + 1e-9
    if count > MAX_THICKNESSES:
        raise SettingError(f"--thickness {text} names {count:.0f} thicknesses, the limit is {MAX_THICKNESSES}")
    return [first + i * step for i in range(int(count) + 1)]


def reflections(
    text: str, once: bool = True
) -> tuple[tuple[int, ...], ...] | Literal["all"] | tuple[Literal["all"], float]:
    """Reflections: "0,0,0 2,0,0", "all", or "all:1.5"; each once, or as they are given.

    Raises:
        SettingError: if it is something else, or an index is not whole.
    """
    lowered = text.strip().lower()
    if lowered == "all":
        return "all"
    if lowered.startswith("all:"):
        limit = _number(lowered[4:])
        if not (math.isfinite(limit) and limit > 0):
            raise SettingError(f"--hkl all:G needs a positive G in 1/Å, such as all:1.5, got {text!r}")
        return "all", limit
    words = text.replace(";", " ").split()
    if not words:
        raise SettingError('--hkl names no reflection; expected such as "0,0,0 2,0,0" or all')
    if len(words) == 3 and not any("," in word for word in words):
        words = [",".join(words)]  # "2 0 0" is one reflection
    found = [_reflection(word) for word in words]
    return tuple(dict.fromkeys(found) if once else found)


def _reflection(text: str) -> tuple[int, ...]:
    values = [_number(word) for word in text.strip("()[]").split(",")]
    if len(values) != 3 or any(not math.isfinite(v) or v != round(v) or abs(v) > 1e4 for v in values):
        raise SettingError(
            f'--hkl needs whole numbers h,k,l, separated by blanks, such as "0,0,0 2,0,0", got {text!r}'
        )
    return tuple(round(v) for v in values)


def absorption(text: str) -> Any:
    """Absorption: "none", "proportional:10" or "thomas", as `lacbed.simulate` takes it.

    Raises:
        SettingError: if it is something else.
    """
    name, _, percent = text.strip().lower().partition(":")
    if name == "none" and not percent:
        return None
    if name == "thomas" and not percent:
        return "thomas"
    if name == "proportional" and math.isfinite(_number(percent)):
        return ("proportional", _number(percent))
    raise SettingError(
        f"--absorption must be none, proportional:PERCENT (such as proportional:10) or thomas, got {text!r}"
    )


def charges(text: str) -> dict[str, int]:
    """Formal charges by element: "Sr=2,Ti=+4,O=-2".

    Raises:
        SettingError: if it is something else.
    """
    found: dict[str, int] = {}
    for word in text.replace(",", " ").split():
        match = re.fullmatch(r"([A-Z][a-z]?)=([+-]?\d)", word)
        if match is None or match[1] in found:
            raise SettingError(f"--charges must be elements with charges, such as Sr=2,Ti=4,O=-2, got {text!r}")
        found[match[1]] = int(match[2])
    return found


def beams(text: str) -> int | Literal["auto"]:
    """Number of beams: "auto" or a whole number.

    Raises:
        SettingError: if it is something else.
    """
    if text.strip().lower() == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise SettingError(f"--beams must be auto or a whole number, got {text!r}") from None


def align(text: str, none: bool) -> Any:
    """How each image may move: "none", "shift" or "affine"; `none` if the old spelling --no-align came.

    Raises:
        SettingError: if it is something else.
    """
    if none:
        raise SettingError("--no-align is now --align none")
    if text not in ("none", "shift", "affine"):
        alone = " (--align alone is now --align shift)" if text.startswith("-") else ""
        raise SettingError(f"--align must be none, shift or affine, got {text!r}{alone}")
    return text


def widths(text: str) -> tuple[tuple[str, float], ...]:
    """Widths of priors, such as "Ug=0.02,affine=0.01".

    Raises:
        SettingError: if it is something else.
    """
    found = []
    for word in text.replace(",", " ").split():
        name, _, width = word.partition("=")
        if not name or not math.isfinite(_number(width)):
            raise SettingError(f"--prior takes NAME=WIDTH, such as Ug=0.02,affine=0.01; got {word!r}")
        found.append((name, _number(width)))
    return tuple(found)


def energy(kilovolts: float) -> float:
    """Kinetic energy in eV from a voltage in kV.

    Raises:
        SettingError: outside 1 to 10000 kV.
    """
    if not (math.isfinite(kilovolts) and 1 <= kilovolts <= 10_000):
        hint = "; it is in kV, so write 200 for 200 000 V" if kilovolts > 10_000 else ""
        raise SettingError(f"--voltage must be between 1 and 10000 kV, got {kilovolts:g}{hint}")
    return kilovolts * 1e3


def _number(text: str) -> float:
    """The number, or NaN for anything else, which every caller refuses."""
    try:
        return float(text)
    except ValueError:
        return math.nan
