"""From a measured stack to a crystal, with nothing known but the cell: `lacbed.solve_structure`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from lacbed.crystals import Crystal
from lacbed.errors import LacbedError, SettingError
from lacbed.experiment.experiment import Experiment
from lacbed.experiment.reciprocity import reciprocity_geometry
from lacbed.retrieval.candidates import assignments, crystals_of, space_groups_of
from lacbed.retrieval.columns import ColumnModel, potential_of
from lacbed.retrieval.comparison import Comparison, beyond_noise, gap_beyond_noise
from lacbed.retrieval.elements import Guess, check_elements, guesses
from lacbed.retrieval.labels import without_wrong, wrong_labels
from lacbed.retrieval.plane_group import PlaneOperation, operations_of_potential, plane_group
from lacbed.retrieval.points import Points, lattice_points, make_points
from lacbed.retrieval.projection_cell import ProjectedCell, projected_cell
from lacbed.retrieval.rank import Candidate, ranked
from lacbed.retrieval.search import KEPT, RESOLUTION, Search, SearchState, Trial, side_by_side, supports
from lacbed.retrieval.sharpen import WIDTHS, Sharpened, sharpened
from lacbed.retrieval.solution import SOLVED, Solution, SolveOptions

POINTS = 1200
"""Intensities that a search compares, about; three q at least."""

MOST_MATRICES = 24
"""q at most; in the end there are twice as many intensities, but no more q than this either."""

RIVALS = 4
"""Structures that are brought to their best before they are compared."""

STEP_SECONDS = 0.3
"""Between two steps that are told during a round."""

EXPLAINED = 0.5
"""R beyond noise from which on a structure is doubted. Of those that were right in simulated stacks it was at most
0.5, and in measured ones 0.56."""

_UNLIKE, _UNEXPLAINED = 6.0, 12.0
"""What ln of R of held-out tilts over R, and of R over `EXPLAINED`, take from the logarithm of the odds."""

_DATA = 5  # intensities for each parameter of the columns, at the least


Tell = Callable[[str, float, SearchState], None]
"""Called with a few words, the fraction of the time used, and where the search stands."""

Step = Callable[[float, SearchState], None]
"""Called with the fraction of the time used and where the search stands, minima of this round included."""


def solve_structure(
    experiment: Experiment,
    cell: Sequence[float],
    options: SolveOptions | None = None,
    *,
    resume: SearchState | None = None,
    on_progress: Tell | None = None,
    on_checkpoint: Callable[[SearchState], None] | None = None,
    on_step: Step | None = None,
) -> Solution:
    """Find the columns of atoms of an unknown crystal, its thickness and elements, and crystals that fit them.

    Random columns are looked at for every thickness, the best are brought to the nearest minimum, and what comes
    out is judged by how far it stands out, how often it was met, and by tilts that were held out; see
    docs/solve.md. Ctrl-C ends the search with the best so far.

    Args:
        experiment: the stack; 000 alone will do for simple crystals.
        cell: a, b, c in Å and α, β, γ in degrees; one number for a cubic cell.
        options: how to search; the defaults need no knowledge.
        resume: where an earlier search stood.
        on_progress: called as the search goes on.
        on_checkpoint: given the state after every round.
        on_step: called several times a second, by any thread but never by two at once; what it raises ends the
            search.

    Returns:
        The best structure and how far it can be trusted. `lacbed.retrieval.solve_files.write_solution` makes a
        report of it.

    Raises:
        SettingError: if the cell fits neither the zone nor the images, a reflection is no point of its lattice, or
            there are too few data for the columns.
    """
    wanted = options or SolveOptions()
    projected = projected_cell(experiment, cell, wanted.space_group)
    stated, (experiment, widths) = experiment, settled(experiment, projected)
    if experiment is not stated:  # what the lines say of the stated half-width is of no interest any more
        projected = projected_cell(experiment, cell, wanted.space_group)
        told = experiment.notes[len(stated.notes) :]
        projected = replace(projected, notes=(*projected.notes, *told))
    points = search_points(experiment, projected)
    check_enough(points, wanted.columns)
    search = Search(Comparison(ColumnModel(points)), wanted.columns, wanted.thickness, wanted.seed)
    tell: Tell = on_progress or (lambda _what, _fraction, _state: None)
    step: Step = on_step or (lambda _fraction, _state: None)
    state, stopped = _run(search, resume or SearchState(), wanted, tell, on_checkpoint, step)
    if not state.trials:
        raise SettingError("the time is too short to reach a single minimum; give more of it (--time)")
    return _finished(experiment, projected, widths, search, state, wanted, stopped, tell, step)


def settled(experiment: Experiment, cell: ProjectedCell) -> tuple[Experiment, tuple[float, ...]]:
    """The stack with the geometry that reciprocity tells, and factors on its half-width that are to be tried."""
    geometry = reciprocity_geometry(experiment, cell.crystal)
    if geometry is None or not geometry.is_sure:
        return experiment, WIDTHS
    return geometry.applied(experiment), (1.0,)


def search_points(experiment: Experiment, cell: ProjectedCell) -> Points:
    """About `POINTS` intensities, from three q to `MOST_MATRICES`."""
    for matrices in range(3, MOST_MATRICES + 1):
        points = make_points(experiment, cell.basis, cell.indices, matrices=matrices)
        if len(points) * (1 + 1 / matrices) > POINTS:
            break
    return points


def check_enough(points: Points, columns: tuple[int, int]) -> None:
    """There must be more intensities than parameters.

    Raises:
        SettingError: if there are too few.
    """
    needed = _DATA * (4 * columns[1] + 3)
    if len(points) < needed:
        most = max(0, (len(points) // _DATA - 3) // 4)
        remedy = f"ask for at most {most}" if most else "measure more reflections or a wider angle"
        raise SettingError(
            f"{len(points)} intensities are too few for {columns[1]} columns, which need {needed}; {remedy}"
        )


def _run(
    search: Search,
    state: SearchState,
    wanted: SolveOptions,
    tell: Tell,
    keep: Callable[[SearchState], None] | None,
    step: Step,
) -> tuple[SearchState, str]:
    """Rounds until the best stands out, the time is over, or someone stops it; and what ended them."""
    clock, cpu = time.monotonic(), time.process_time()

    def used() -> float:
        return (time.monotonic() - clock) / wanted.seconds

    fresh: list[Trial] = []
    last, told, one_at_a_time = clock, state, threading.Lock()
    counted = 0

    def expired() -> bool:
        nonlocal last, told, counted
        with one_at_a_time:
            if time.monotonic() - last > STEP_SECONDS:
                if (told.round, counted) != (state.round, len(fresh)):
                    counted = len(fresh)
                    told = replace(state, trials=tuple(search.merged([*state.trials, *fresh])[:KEPT]))
                step(min(1.0, used()), told)
                last = time.monotonic()
        return used() > 1.0 and bool(fresh or state.trials)  # an answer is worth more than the minute

    while not search.finished(state):
        fresh.clear()
        try:
            after = search.round(state, expired, fresh.append)
            state = replace(after, cpu=state.cpu + time.process_time() - cpu)
            cpu = time.process_time()
            best = state.trials[0] if state.trials else None
            text = f"round {state.round}"
            if best is not None:
                text += (
                    f": R {best.residual:.3f}, {len(best.columns)} columns, {best.columns.thickness:.0f} Å, met "
                    f"{len(best.roots)} times"
                )
            tell(text, min(1.0, used()), state)
            if keep is not None:
                keep(state)
        except BaseException as error:
            if isinstance(error, Exception) or not (state.trials or fresh):
                raise
            trials = tuple(search.merged([*state.trials, *fresh]))
            return replace(state, trials=trials), "stopped"
        if used() > 1.0:
            return state, "the time was over before the best stood out"
    return state, ""


def _finished(
    experiment: Experiment,
    cell: ProjectedCell,
    widths: tuple[float, ...],
    search: Search,
    state: SearchState,
    wanted: SolveOptions,
    stopped: str,
    tell: Tell,
    step: Step,
) -> Solution:
    """The best structures brought to their best, compared, and what follows from the first."""
    families = search.families(state.trials)[:RIVALS]
    tell("sharpening", 1.0, state)
    searched = search.comparison.model.points
    matrices = min(MOST_MATRICES, math.ceil(len(searched.reduced) * 2 * POINTS / len(searched)))
    wrong = wrong_labels(experiment, cell, families[0].columns, matrices)
    experiment, cell, doubts = without_wrong(experiment, cell, wrong)
    jobs = [partial(sharpened, experiment, cell, f.columns, f.roots, matrices, widths) for f in families]
    ends = sorted(side_by_side(jobs), key=lambda s: s.residual)
    best, rivals = ends[0], tuple(ends[1:])
    same = [s for s in rivals if search.same(best.columns, s.columns)]
    best = replace(best, roots=tuple(sorted({*best.roots, *(r for s in same for r in s.roots)})))
    different = [s.residual for s in rivals if s not in same]
    gap = gap_beyond_noise(best.residual, min(different or [1.0]), best.noise)
    orders = lattice_points(cell.basis, RESOLUTION)[1:]
    potential = potential_of(best.columns, orders, cell.basis).sum(axis=0)
    operations = operations_of_potential(potential, orders, cell.edges)
    names = check_elements(wanted.elements)
    elements = guesses(best.columns, cell.volume, cell.period, experiment.energy, names)
    notes = [*doubts, *cell.notes, *([stopped] if stopped else [])]
    score = trust(gap, len(best.roots), best)
    candidates: tuple[Candidate, ...] = ()
    if stopped != "stopped":
        tell("looking for crystals", 1.0, state)
        candidates = _candidates(experiment, cell, best, elements, operations, wanted, tell, step, state)
    polarity = _polarity(experiment, cell, best, matrices, widths)
    if score < SOLVED:
        notes.insert(0, "not solved: the best structure does not stand out enough to be trusted")
    turned = [o.likeness for o in operations if o.kind == "rotation by 180°"]
    if turned and 0.9 < turned[0] < 1.0 and polarity < 1.05:
        notes.append(
            f"inversion and polarity are weak: the structure is like its inverse to {turned[0]:.3f}, and the "
            f"inverse has {polarity:.3f} times the residual"
        )
    return Solution(
        experiment,
        cell,
        best,
        rivals,
        state,
        elements,
        tuple(operations),
        plane_group(operations, cell.edges),
        candidates,
        gap,
        score,
        polarity,
        tuple(dict.fromkeys(notes)),
    )


def trust(gap: float, met: int, best: Sharpened) -> float:
    """What speaks for a structure, from 0 to 1: a logistic curve whose coefficients were set by hand.

    It rises with the gap to the next structure and with how often the structure was met, and falls where tilts
    that were held out are explained less well, or too little is explained at all: `supports`, docs/solve.md.
    """
    own, held_out = (beyond_noise(r, best.noise) for r in (best.residual, best.held_out))
    generalises, unexplained = math.log(held_out / own), math.log(own / EXPLAINED)
    x = supports(gap, met) - _UNLIKE * max(generalises, 0.0) - _UNEXPLAINED * max(unexplained, 0.0)
    return min(0.99, 1.0 / (1.0 + math.exp(-min(x, 50.0))))


def _polarity(
    experiment: Experiment, cell: ProjectedCell, best: Sharpened, matrices: int, widths: tuple[float, ...]
) -> float:
    """Residual of the inverted structure, brought to its best, over that of the structure."""
    inverse = replace(best.columns, places=(-best.columns.places) % 1.0)
    return sharpened(experiment, cell, inverse, (), matrices, widths).residual / max(best.residual, 1e-9)


def _candidates(
    experiment: Experiment,
    cell: ProjectedCell,
    best: Sharpened,
    elements: tuple[tuple[Guess, ...], ...],
    operations: Sequence[PlaneOperation],
    wanted: SolveOptions,
    tell: Tell,
    step: Step,
    state: SearchState,
) -> tuple[Candidate, ...]:
    """Crystals for the most likely elements, refined and ranked."""
    groups = [wanted.space_group] if wanted.space_group is not None else space_groups_of(cell)
    places, found = best.columns.places, list[Crystal]()
    for chosen in assignments(places, elements, operations):
        found += crystals_of(cell, places, chosen, groups)[:2]
        if len(found) >= 2 * max(1, wanted.refined):
            break
    count = min(len(found), wanted.refined)
    tell(f"refining {count} candidate{'' if count == 1 else 's'}", 1.0, state)
    try:
        return ranked(experiment, found, best, wanted.refined, lambda _what, _fraction: step(1.0, state))
    except LacbedError as error:
        tell(f"candidates are not refined: {error}", 1.0, state)
        return tuple(Candidate(crystal, None, math.nan) for crystal in found)
