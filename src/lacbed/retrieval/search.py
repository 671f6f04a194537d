"""The search: random columns, looked at for every thickness, the best of them brought to their minimum and varied.

For every number of columns a round draws many structures. One diagonalisation of each matrix gives the residual at
all thicknesses, so that a draw costs about as much as one step of a minimisation, and the few best begin near the
right thickness. Later rounds also vary what was found: a column is moved to a better place, added, dropped, or the
thickness jumps. Whether a minimum was met from several independent draws tells how far it can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from lacbed.retrieval.columns import ALPHA, BLUR, Columns, potential_of
from lacbed.retrieval.comparison import Comparison, begin, follow, gap_beyond_noise
from lacbed.retrieval.points import lattice_points
from lacbed.solvers.blocks import one_thread_each

DRAWS = 96
"""Structures drawn for each number of columns in a round."""

FOLLOWED = (6, 2)
"""So many of them are followed for a few steps, and so many to their minimum."""

STEPS = (6, 26)
VARIED = 12
"""Variations of what was found in a round."""

TOTAL = (0.08, 0.4)
"""Sum of all A in 1/Å² of a draw: about U_0 of a solid, 0.1 of silicon to 0.36 of gold."""

CROWDED = 1.0
"""Å² for each column; the first round tries no more columns than that gives."""

WIDTH, ABSORPTION = (-0.7, 0.3), (0.0, 0.06)
"""B beyond that of the shape in Å², and α of a draw. The wrong α hides the right one in a thick foil."""

STEP_T = 0.05
"""Of ln t in a scan; a minimum is about three times as wide."""

LIKE = 0.97
"""Correlation of two projected potentials from which on they are one structure."""

LIKE_T = 0.04
RESOLUTION = 1.6
"""1/Å up to which potentials are compared and shown."""

CLEAR = 0.82
"""Lowest R over the median of the others below which a search may end."""

ALONE = 0.4
"""Gap up to which a minimum that was met but once may end a search; another way there often ends lower."""

OFTEN = 6
"""A minimum that was met as often as this need not stand out as clearly."""

_SUPPORT = (-3.0, 14.0, 0.7)
"""Constant; for ln of the gap and of how often it was met. Set by hand from the stacks of docs/solve.md."""

KEPT = 60
_PENALTY = 0.025  # of ln R for every column: what a useless one gains


@dataclass(frozen=True, eq=False)
class Trial:
    """A minimum that was reached.

    Attributes:
        columns: there.
        residual: R.
        roots: draws that it goes back to, by number; each met it independently.
        round: in which it was found.
    """

    columns: Columns
    residual: float
    roots: tuple[int, ...]
    round: int

    @property
    def score(self) -> float:
        """Ln R and a price for every column; the lower the better."""
        return math.log(max(self.residual, 1e-9)) + _PENALTY * len(self.columns)


@dataclass(frozen=True, eq=False)
class SearchState:
    """Where a search stands; everything needed to go on.

    Attributes:
        round: number of rounds that are done.
        draws: number of structures that were drawn.
        trials: minima, the best first.
        history: R of every minimum in the order in which they were found.
        cpu: CPU seconds so far.
    """

    round: int = 0
    draws: int = 0
    trials: tuple[Trial, ...] = ()
    history: tuple[float, ...] = ()
    cpu: float = 0.0


_T = TypeVar("_T")


class Search:
    """A search in one stack.

    Args:
        comparison: points and model.
        columns: smallest and largest number of columns.
        thickness: smallest and largest in Å.
        seed: of all random numbers.
    """

    def __init__(
        self, comparison: Comparison, columns: tuple[int, int], thickness: tuple[float, float], seed: int = 0
    ) -> None:
        self.comparison, self.columns, self.seed = comparison, columns, seed
        low, high = math.log(thickness[0]), math.log(thickness[1])
        self.thicknesses = np.exp(np.linspace(low, high, max(2, math.ceil((high - low) / STEP_T) + 1)))
        basis = comparison.model.points.basis
        self.orders = lattice_points(basis, RESOLUTION)[1:]
        self.basis = basis
        self.area = 1.0 / abs(float(np.linalg.det(basis)))

    def round(
        self, state: SearchState, expired: Callable[[], bool], found: Callable[[Trial], None]
    ) -> SearchState:
        """The state after one more round.

        Args:
            state: before.
            expired: whether the time is over; what is not begun by then is left out.
            found: called with every minimum as it is reached.
        """
        low, high = self.columns
        if not state.round:
            high = max(low, min(high, math.floor(self.area / CROWDED)))
        jobs: list[Callable[[], list[Trial]]] = []
        counts = range(high, low - 1, -1)  # the long jobs first
        jobs += [partial(self._drawn, state.round, k, expired) for k in counts]
        parents = self.families(state.trials)[:4]
        for number in range(VARIED if parents else 0):
            parent = parents[number % len(parents)]
            jobs.append(partial(self._varied, state.round, number, parent, expired))

        def reported(job: Callable[[], list[Trial]]) -> list[Trial]:
            got = job()
            for trial in got:
                found(trial)
            return got

        trials = [t for got in side_by_side([partial(reported, job) for job in jobs]) for t in got]
        history = (*state.history, *(t.residual for t in trials))
        pool = self.merged([*state.trials, *trials])
        return replace(
            state,
            round=state.round + 1,
            draws=state.draws + DRAWS * (high - low + 1),
            trials=tuple(pool[:KEPT]),
            history=history,
        )

    def _drawn(self, number: int, count: int, expired: Callable[[], bool]) -> list[Trial]:
        """Minima from draws of so many columns."""
        random = np.random.default_rng((self.seed, number, count))
        best: list[tuple[float, int, Columns]] = []
        for draw in range(DRAWS):
            if expired():
                break
            columns = self._draw(random, count)
            residual, thickness = self._lowest(columns)
            best.append((residual, draw, replace(columns, thickness=thickness)))
        best.sort(key=lambda entry: entry[:2])
        minima = [(draw, begin(columns)) for _, draw, columns in best[: FOLLOWED[0]]]
        for steps, kept, losses in ((STEPS[0], FOLLOWED[1], False), (STEPS[1], FOLLOWED[1], True)):
            moved = [(d, follow(self.comparison, m, steps, losses)) for d, m in minima if not expired()]
            minima = sorted(moved, key=lambda pair: pair[1].residual)[:kept]
        root = (number * 64 + count) * DRAWS
        return [Trial(m.columns, m.residual, (root + d,), number) for d, m in minima if math.isfinite(m.residual)]

    def _draw(self, random: np.random.Generator, count: int) -> Columns:
        strength = random.uniform(0.3, 1.0, count)
        strength *= math.exp(random.uniform(math.log(TOTAL[0]), math.log(TOTAL[1]))) / strength.sum()
        width = np.full(count, random.uniform(*WIDTH))
        thinnest, alpha = float(self.thicknesses[0]), random.uniform(*ABSORPTION)
        return Columns(random.random((count, 2)), strength, width, thinnest, alpha)

    def _lowest(self, columns: Columns, near: bool = False) -> tuple[float, float]:
        """Lowest R over all thicknesses, or those near that of the columns, and where it is."""
        at = self.thicknesses
        if near:
            at = columns.thickness * np.exp(STEP_T * np.arange(-3, 4))
            at = at[(at >= self.thicknesses[0]) & (at <= self.thicknesses[-1])]
            at = at if len(at) else np.array([columns.thickness])
        scores = self.comparison.scan(columns, at)
        return float(scores.min()), float(at[int(scores.argmin())])

    def _varied(self, number: int, which: int, parent: Trial, expired: Callable[[], bool]) -> list[Trial]:
        """A minimum near what was found."""
        if expired():
            return []
        random = np.random.default_rng((self.seed, number, 1000 + which))
        low, high = self.columns
        start = self._variation(random, parent.columns, ("move", "add", "jump", "move", "drop")[which % 5])
        if not low <= len(start) <= high:
            start = self._variation(random, parent.columns, "move")
        at = follow(self.comparison, begin(start), STEPS[0], False)
        if at.residual > 1.25 * parent.residual or expired():
            return []
        at = follow(self.comparison, at, STEPS[1], True)
        return [Trial(at.columns, at.residual, parent.roots, number)]

    def _variation(self, random: np.random.Generator, columns: Columns, kind: str) -> Columns:
        x = columns
        if kind == "jump":
            scores = self.comparison.scan(x, self.thicknesses)
            away = np.abs(np.log(self.thicknesses / x.thickness)) > 2.0 * LIKE_T
            if away.any():
                scores = np.where(away, scores, np.inf)
                return replace(x, thickness=float(self.thicknesses[int(scores.argmin())]), alpha=ALPHA, blur=BLUR)
        weak = 1.0 / x.strength
        chosen = int(random.choice(len(x), p=weak / weak.sum()))
        if kind == "drop" and len(x) > 1:
            return x.without(chosen)
        rest = x if kind == "add" or len(x) == 1 else x.without(chosen)
        tries = []
        for _ in range(16):
            strength = float(np.median(x.strength)) * random.uniform(0.3, 1.2)
            tried = Columns(
                np.vstack([rest.places, random.random(2)]),
                np.append(rest.strength, strength),
                np.append(rest.width, 0.0),
                x.thickness,
                x.alpha,
                x.blur,
            )
            tries.append((*self._lowest(tried, near=True), tried))
        _, thickness, best = min(tries, key=lambda entry: entry[0])
        return replace(best, thickness=thickness)

    # -- what is the same ---------------------------------------------------------------------------
    def likeness(self, first: Columns, second: Columns) -> tuple[float, float]:
        """Correlations of two potentials up to `RESOLUTION`, best shift; the second as it is and inverted."""
        a, b = (potential_of(c, self.orders, self.basis).sum(axis=0) for c in (first, second))
        return correlation(a, b, self.orders), correlation(a, b.conj(), self.orders)

    def alike(self, first: Columns, second: Columns) -> bool:
        """Whether two are one structure, inverted or not."""
        return max(self.likeness(first, second)) >= LIKE

    def same(self, first: Columns, second: Columns) -> bool:
        """Whether they are one structure of one thickness, inverted or not."""
        return abs(math.log(first.thickness / second.thickness)) <= LIKE_T and self.alike(first, second)

    def merged(self, trials: Sequence[Trial]) -> list[Trial]:
        """The best first; of trials that are one minimum with as many columns only the best, with all roots."""
        return _gathered(trials, lambda a, b: len(a) == len(b) and self.same(a, b))

    def families(self, trials: Sequence[Trial]) -> list[Trial]:
        """The best of every structure, whatever its number of columns, with the roots of all; the best first."""
        return _gathered(trials, self.same)

    def standing(self, state: SearchState) -> tuple[float, float, int]:
        """Lowest R over the median of all others, over the next one, and how often it was met.

        What noise adds to R is taken away. Another thickness is another answer. Where there is no other, the best
        is compared with images that are not explained at all, R = 1.
        """
        families = self.families(state.trials)
        if not families:
            return 1.0, 1.0, 0
        best = families[0]
        others = [t.residual for t in families[1:]]
        to_median, to_next = (
            gap_beyond_noise(best.residual, r, self.comparison.model.points.noise)
            for r in (float(np.median(others or [1.0])), min(others or [1.0]))
        )
        return to_median, to_next, len(best.roots)

    def finished(self, state: SearchState) -> bool:
        """Whether the best stands out and was met often enough."""
        to_median, to_next, met = self.standing(state)
        if supports(to_next, met) < 0.0 or (met < 2 and (state.round < 2 or to_next > ALONE)):
            return False
        return to_median < CLEAR or (to_median < 0.93 and met >= OFTEN)


def supports(gap: float, met: int) -> float:
    """Logarithm of the odds for a structure, by its R over that of the next one and by how often it was met."""
    before, by_gap, by_met = _SUPPORT
    return before + by_gap * math.log(1.0 / min(max(gap, 1e-3), 1.0)) + by_met * math.log(max(met, 1))


def correlation(first: np.ndarray, second: np.ndarray, orders: np.ndarray) -> float:
    """Largest correlation of two real potentials over all shifts, from their coefficients: (g,) complex."""
    n = 2 ** math.ceil(math.log2(2 * int(np.abs(orders).max(initial=1)) + 1) + 1)
    spectrum = np.zeros((n, n), dtype=complex)
    spectrum[orders[:, 0] % n, orders[:, 1] % n] = first.conj() * second
    image = np.fft.ifft2(spectrum).real * n * n
    norm = math.sqrt(float(np.square(np.abs(first)).sum() * np.square(np.abs(second)).sum()))
    return float(image.max()) / max(norm, 1e-300)


def _gathered(trials: Sequence[Trial], same: Callable[[Columns, Columns], bool]) -> list[Trial]:
    """Of trials that are the same only the best, with the roots of all; the best first."""
    kept: list[Trial] = []
    for trial in sorted(trials, key=lambda t: (t.score, t.roots)):
        twin = next((i for i, k in enumerate(kept) if same(k.columns, trial.columns)), None)
        if twin is None:
            kept.append(trial)
        else:
            kept[twin] = replace(kept[twin], roots=tuple(sorted({*kept[twin].roots, *trial.roots})))
    return kept


def side_by_side(jobs: Sequence[Callable[[], _T]]) -> list[_T]:
    """Run jobs on all cores and give their results in order; what is not begun when one is stopped never is."""
    with one_thread_each(torch.device("cpu")) as workers:
        if workers == 1:
            return [job() for job in jobs]
        pool = ThreadPoolExecutor(workers)
        try:
            return list(pool.map(lambda job: job(), jobs))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
