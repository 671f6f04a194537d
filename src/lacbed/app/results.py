"""Exact results kept for downloads, under names that cannot be guessed."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from lacbed.app.request import View
from lacbed.errors import SettingError


@dataclass(frozen=True, eq=False)
class Result:
    """One exact result.

    Attributes:
        view: what was asked for.
        labels: coordinates and metadata as JSON.
        payload: values as float64.
        when: time of the last use, by the monotonic clock.
    """

    view: View
    labels: str
    payload: bytes
    when: float = field(default_factory=time.monotonic)


class Results:
    """The results of all users; the one that was not used for longest goes first.

    Args:
        most_bytes: of all of them together.
        seconds: how long one is kept unused.
    """

    def __init__(self, most_bytes: int, seconds: float) -> None:
        self._most, self._seconds = most_bytes, seconds
        self._kept: OrderedDict[str, Result] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, result: Result) -> str:
        """Keep a result; returns its name."""
        name = secrets.token_urlsafe(18)
        self._kept[name] = result
        self._forget()
        return name

    def get(self, name: object) -> Result:
        """The result of a name.

        Raises:
            SettingError: if it is not kept, or not any more.
        """
        self._forget()
        found = self._kept.get(name) if isinstance(name, str) else None
        if found is None:
            raise SettingError("this result is no longer kept; compute it again, then download it")
        assert isinstance(name, str)
        self._kept.move_to_end(name)
        return found

    def _forget(self) -> None:
        now = time.monotonic()
        for name in [n for n, r in self._kept.items() if now - r.when > self._seconds]:
            del self._kept[name]
        while len(self._kept) > 1 and sum(len(r.payload) for r in self._kept.values()) > self._most:
            self._kept.popitem(last=False)
