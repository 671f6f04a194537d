"""How long the rest of a build takes, from estimated costs and measured times."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

_PRIOR, _WEIGHT = 0.5, 1.0
"""Exponent before anything is measured, and how many squared factors of e in cost outweigh it."""


class Forecast:
    """Work of crystals, taken as costᵖ.

    The estimated cost orders crystals well but exaggerates: each takes some time that does not grow with its size.
    As the largest come first, shares of the plain cost promise an end that is far too near. So p is fitted to the
    seconds that crystals took, as the slope of log t over log cost (ridge regression towards 1/2), between 0, all
    alike, and 1, as estimated.
    """

    def __init__(self, costs: Mapping[int, float]) -> None:
        """Take the estimated cost of every row that is to be computed."""
        self._logs = {row: math.log(max(cost, 1e-300)) for row, cost in costs.items()}
        self._all = np.array(list(self._logs.values()))
        self._done: list[float] = []
        self._times: list[tuple[float, float]] = []

    def add(self, row: int, seconds: float) -> None:
        """Note that a row is done and took `seconds`; 0 if that is not known."""
        self._done.append(self._logs[row])
        if seconds > 0:
            self._times.append((self._logs[row], math.log(seconds)))

    @property
    def exponent(self) -> float:
        """The p that the times so far suggest."""
        if len(self._times) < 2:
            return _PRIOR
        x, y = np.array(self._times).T
        x = x - x.mean()
        return float(np.clip((x @ y + _WEIGHT * _PRIOR) / (x @ x + _WEIGHT), 0.0, 1.0))

    @property
    def share(self) -> float:
        """Fraction of the work that is done."""
        if not self._done:
            return 0.0
        if len(self._done) == len(self._all):
            return 1.0
        p, top = self.exponent, self._all.max()
        return float(np.exp(p * (np.array(self._done) - top)).sum() / np.exp(p * (self._all - top)).sum())

    def left(self, elapsed: float) -> float | None:
        """Seconds to go after `elapsed` seconds; None before the first crystal."""
        share = self.share
        return elapsed * (1.0 / share - 1.0) if share > 0 else None
