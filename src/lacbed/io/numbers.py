"""Checks of numbers that come from outside, each with one line that says what was expected and what came.

True and false are no numbers here, nor are texts, NaN, infinity, and what is too large for a floating-point
number. Those of NumPy are, without NumPy being loaded for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Rational, Real
from typing import Any, TypeGuard

from lacbed.errors import LacbedError, SettingError

_HUGE = 1e300  # whole numbers of Python, TOML and JSON may have any number of digits
_LARGEST = 2**63 - 1


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
