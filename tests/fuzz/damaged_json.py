"""JSON with one thing wrong: what people, full disks and other programs make of a file."""

from __future__ import annotations

import copy
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "learn"))  # where synthetic data are

HUGE = "@huge@"
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    "",
    "text",
    "NaN",
    -1,
    0,
    2,
    -1.0,
    0.5,
    1e308,
    -1e308,
    1e30,
    10**30,
    -(10**400),
    float("nan"),
    float("inf"),
    float("-inf"),
    HUGE,
    [],
    {},
    [1],
    [[1, 2], 3],
    {"a": 1},
    ["a"],
    [None, None],
    "é" * 5000,
    [0.0] * 1000,
)


def damaged(values: dict[str, Any], rng: random.Random) -> bytes:
    """The JSON of some values after one change."""
    kind = rng.randrange(10)
    text = json.dumps(values)
    if kind == 0:
        return _of_text(text, rng)
    changed = copy.deepcopy(values)
    holder, key = rng.choice(list(_places(changed)))
    if kind == 1:
        del holder[key]
    elif kind == 2 and isinstance(holder, dict):
        holder[rng.choice(("", "extra", "__class__", "a" * 500))] = rng.choice(VALUES)
    elif kind == 3 and isinstance(holder[key], int | float):
        holder[key] = holder[key] * rng.choice((-1, 1e-9, 1e9, 1e200))
    else:
        holder[key] = copy.deepcopy(rng.choice(VALUES))
    return json.dumps(changed).replace(json.dumps(HUGE), "9" * 5000).encode()


def _of_text(text: str, rng: random.Random) -> bytes:
    at = rng.randrange(len(text))
    deep = 200_000
    return rng.choice(
        (
            text[:at].encode(),
            text[:at].encode() + b"\xff\x00" + text[at:].encode(),
            (text[:at] + rng.choice('{}[]",:0 ') + text[at + 1 :]).encode(),
            b"",
            b"null",
            f"[{text}]".encode(),
            ("[" * deep + "]" * deep).encode(),
            ('{"a":' * deep + "1" + "}" * deep).encode(),
            text.encode("utf-16"),
            text.replace("{", '{"twice": 1, "twice": 2, ', 1).encode(),
        )
    )


def _places(values: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in a tree: what holds it, and under which key or number."""
    keys = list(values) if isinstance(values, dict) else range(len(values))
    for key in keys:
        yield values, key
        if isinstance(values[key], dict | list):
            yield from _places(values[key])
