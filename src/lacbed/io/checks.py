"""Checks of what comes from outside: numbers, what a file is and how large, JSON that is what it should be.

True and false are no numbers here, nor are texts, NaN, infinity, and what is too large for a floating-point
number. Those of NumPy are, without NumPy being loaded for it.

A named pipe blocks whoever opens it, a device never ends, and a text of gigabytes fills the memory before anything
is said about it. JSON has corners of its own: NaN, whole numbers of any length, nesting without end, one name
twice. Each is refused in one line, in the error class that the caller names.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Rational, Real
from pathlib import Path
from typing import Any, TypeGuard

from lacbed.errors import LacbedError, SettingError
from lacbed.io.atomic import reason

DEEPEST = 64
"""Levels of lists and objects in a JSON file, above which it is none of ours."""
MOST_DIGITS = 300
"""Digits of a whole number, above which it has no place in a floating-point number."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_HUGE = 1e300  # whole numbers of Python, TOML and JSON may have any number of digits
_LARGEST = 2**63 - 1

_PART = 16 * 2**20  # bytes of one read


def is_number(value: Any, low: float = -_HUGE, high: float = _HUGE) -> TypeGuard[float]:
    """Whether a value is a finite number from `low` to `high`."""
    if isinstance(value, bool) or not _is(value, Real):
        return False
    plain = value.item() if hasattr(value, "item") else value  # NumPy would round the limits to its own precision
    return bool(low <= plain <= high)


def is_whole(value: Any, low: float = -_HUGE, high: float = _HUGE) -> TypeGuard[int]:
    """Whether a value is a whole number, of a type of whole numbers, from `low` to `high`."""
    return _is(value, Integral) and is_number(value, low, high)


def is_list(value: Any, good: Callable[[Any], bool], count: int | None = None) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a list or tuple, of `count` entries if that is given, all of which are good."""
    return isinstance(value, list | tuple) and count in (None, len(value)) and all(map(good, value))


def check_number(
    name: str,
    value: Any,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    unit: str = "",
    hint: str = "",
    error: type[LacbedError] = SettingError,
) -> float:
    """A finite number in a range.

    Args:
        name: what it is, for the message.
        value: what came.
        low: smallest, if there is one.
        high: largest, if there is one; then there is a smallest too.
        above: what it must be greater than, in place of `low`; without `high` it is 0.
        unit: of the number.
        hint: what to add to the message.
        error: class of the error raised.

    Raises:
        error: if it is none.
    """
    good = is_number(value)
    if good:
        found = float(value)
        if (low is None or found >= low) and (above is None or found > above) and (high is None or found <= high):
            return found
    wanted = _range(low, high, above, unit, good)
    raise error(f"{name} must be {wanted}, got {_shown(value)}{hint}")


def check_whole(
    name: str, value: Any, low: int, high: int = _LARGEST, *, error: type[LacbedError] = SettingError
) -> int:
    """A whole number from `low` to `high`, by default the largest of 64 bits.

    Raises:
        error: if it is none.
    """
    if is_whole(value, low, high):
        return int(value)
    wanted = f"from {low}" if high == _LARGEST else f"between {low} and {high}"
    raise error(f"{name} must be a whole number {wanted}, got {_shown(value)}")


def check_one_of(
    name: str, value: Any, allowed: Iterable[str], *, error: type[LacbedError] = SettingError
) -> None:
    """Refuse what is not one of several words.

    Raises:
        error: naming all of them.
    """
    words = list(allowed)
    if not isinstance(value, str) or value not in words:
        raise error(f"{name} must be one of {', '.join(words)}, got {value!r:.60}")


def _range(low: float | None, high: float | None, above: float | None, unit: str, is_number: bool) -> str:
    """What is wanted, with "a number" unless one came that is only too small or too large."""
    what, behind = "" if is_number else "a number ", f" {unit}" if unit else ""
    if high is not None:
        bounds = f"between {low:g} and {high:g}" if above is None else f"above {above:g} and at most {high:g}"
    elif low is not None:
        bounds = f"at least {low:g}"
    elif above == 0 and is_number and not unit:
        return "positive"
    else:
        kind = "a number" if above is None else "a positive number"
        return f"{kind} in {unit}" if unit else kind
    return f"{what}{bounds}{behind}"


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind)


def _shown(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return f"{value!r:.60}"
    return f"{value!s:.60}" if isinstance(value, Rational) else f"{float(value):g}"


def regular_file(path: Path, what: str, limit: int, error: type[LacbedError]) -> int:
    """Make sure before it is opened that a path is a regular file of at most `limit` bytes.

    Args:
        path: the file.
        what: what it should be, such as "the description of an experiment".
        limit: largest size in bytes.
        error: class of the errors raised.

    Returns:
        its size in bytes.

    Raises:
        error: if there is no such file, it is a folder, a pipe, a socket or a device, or it is larger.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise error(f"no such file: {str(path)!r}") from None
    except (OSError, ValueError) as failure:  # ValueError: a null character in the name
        raise error(f"cannot read {what} {str(path)!r}: {reason(failure)}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
        raise error(f"cannot read {what} {str(path)!r}: it is {kind}; expected a file")
    if status.st_size > limit:
        raise error(
            f"cannot read {what} {str(path)!r}: it has {readable(status.st_size)}, more than the "
            f"{readable(limit)} that are read"
        )
    return status.st_size


def read_bytes(path: Path, what: str, limit: int, error: type[LacbedError]) -> bytes:
    """The bytes of a regular file, never more than `limit`, also of one that grows or does not tell its size.

    Raises:
        error: as `regular_file` says, or if the operating system refuses.
    """
    regular_file(path, what, limit, error)
    try:
        with path.open("rb") as stream:
            parts, total = [], 0
            while total <= limit and (part := stream.read(min(_PART, limit + 1 - total))):
                parts.append(part)  # a single read would reserve `limit` bytes, however small the file
                total += len(part)
            content = b"".join(parts)
    except OSError as failure:
        raise error(f"cannot read {what} {str(path)!r}: {reason(failure)}") from None
    if len(content) > limit:
        raise error(f"cannot read {what} {str(path)!r}: it has more than the limit of {readable(limit)}")
    return content


def read_json(
    path: Path, what: str, limit: int, error: type[LacbedError], *, non_finite: bool = False
) -> dict[str, Any]:
    """The names and values of a JSON file.

    Args:
        path: the file.
        what: what it should be, such as "the description of an experiment".
        limit: largest size in bytes.
        error: class of the errors raised.
        non_finite: whether NaN and Infinity may stand in it, as Python writes them.

    Raises:
        error: as `read_bytes` and `read_json_text` say, or if the text is not UTF-8.
    """
    content = read_bytes(path, what, limit, error)
    try:
        text = content.decode("utf-8-sig")  # with or without the mark that Windows puts first
    except UnicodeDecodeError as failure:
        raise error(
            f"cannot read {what} {str(path)!r}: it is not text in UTF-8 (byte {failure.start}); save it as UTF-8"
        ) from None
    return read_json_text(text, f"{what} {str(path)!r}", error, non_finite=non_finite)


def read_json_text(text: str, what: str, error: type[LacbedError], *, non_finite: bool = False) -> dict[str, Any]:
    """The names and values in a JSON text that is an object.

    Args:
        text: the JSON.
        what: what it is, for the message.
        error: class of the errors raised.
        non_finite: whether NaN and Infinity may stand in it, as Python writes them.

    Raises:
        error: if it is no JSON, or no object, is nested more than `DEEPEST` levels, holds one name twice, half a
            character, a whole number of more than `MOST_DIGITS` digits, or a number that is not finite.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise error(f"cannot read {what}: the name {_short(twice)} is in it twice; keep one")
        return found

    try:
        values = json.loads(text, object_pairs_hook=unique)
    except error:
        raise
    except json.JSONDecodeError as failure:
        place = f"line {failure.lineno}, column {failure.colno}"
        raise error(f"cannot read {what}: it is not JSON ({failure.msg}, {place})") from None
    except RecursionError:
        raise error(f"cannot read {what}: it is nested more than {DEEPEST} levels deep") from None
    except ValueError:  # Python converts no whole number of more than 4300 digits
        raise error(f"cannot read {what}: a whole number in it has more than {MOST_DIGITS} digits") from None
    if not isinstance(values, dict):
        raise error(f"cannot read {what}: expected an object of names and values, got {kind_of(values)}")
    problem = _problem(values, non_finite)
    if problem:
        raise error(f"cannot read {what}: {problem}")
    return values


def kind_of(value: Any) -> str:
    """What a value of JSON is, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    names = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)


def readable(size: int) -> str:
    """A number of bytes as people say it: 512 bytes, 39 kB, 4.6 GB."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} bytes"


def _problem(values: dict[str, Any], non_finite: bool) -> str:
    """The first thing in parsed JSON that nothing of ours holds, with the name under which it stands, or ""."""
    waiting: list[tuple[str, int, Any]] = [("", 0, values)]
    while waiting:
        name, depth, value = waiting.pop()
        if isinstance(value, dict | list):
            if depth >= DEEPEST:
                return f"it is nested more than {DEEPEST} levels deep"
            items = value.items() if isinstance(value, dict) else ((None, v) for v in value)
            for key, item in items:
                if key is not None and not _whole_text(key):
                    return "a name in it holds half a character (a lone surrogate)"
                if type(item) is not bool and item is not None:
                    waiting.append((name if key is None else f"{name}.{key}".lstrip("."), depth + 1, item))
        elif isinstance(value, str):
            if not _whole_text(value):
                return f"{_short(name)} holds half a character (a lone surrogate)"
        elif isinstance(value, int):
            if abs(value) >= 10**MOST_DIGITS:
                return f"{_short(name)} is a whole number of more than {MOST_DIGITS} digits"
        elif not (non_finite or math.isfinite(value)):
            return f"{_short(name)} is {value}, not a finite number"
    return ""


def _whole_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
