"""Which crystal comes next when training draws its own: a function of seed, number and try alone.

Crystals of a catalogue and of the generator (`lacbed.catalog.generate`), some with elements exchanged, all a
little strained. A compound that validates or tests is never drawn, with whatever lattice parameter and from
wherever; if the split is by prototype, nor is a prototype.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property

import numpy as np

from lacbed.catalog.chemistry import atomic_volume
from lacbed.catalog.files import Row
from lacbed.catalog.generate import Candidate, all_candidates, row_of_candidate
from lacbed.catalog.prototypes import BY_CHARGE
from lacbed.catalog.rows import crystal_of, relabelled
from lacbed.crystals.symmetry import find_by_number
from lacbed.errors import CrystalError, SettingError, TrainingError
from lacbed.io.checks import check_number, check_one_of, check_whole

LABELS = ("fast", "default", "exact")
_CUBIC = ("b", "c", "alpha", "beta", "gamma")
_MOST_REJECTED = 2000
"""Draws in a row that are all compounds or prototypes of validation or test, before none is said to be left."""


@dataclass(frozen=True)
class StreamSettings:
    """How crystals are drawn while training goes by.

    Attributes:
        fresh: new crystals of an epoch.
        ahead: epochs whose crystals are drawn before the first, so that it does not learn a few by heart.
        keep: newest crystals that are learned from; older ones are forgotten.
        uses: crystals in the steps of an epoch, as a multiple of `fresh`.
        generated: share that the generator makes; the others are from the catalogue.
        substituted: share of the catalogue's crystals in which an element is exchanged for a similar one; with the
            same chance a second one, and so on, so that it is below 1.
        strain: largest relative change of a lattice parameter.
        displaced: Å, largest change of coordinates that the symmetry of a site leaves free.
        even: from 0, where every crystal of the catalogue has the same chance, to 1, where every prototype has.
        atoms: most atoms per conventional cell.
        vary: whether thickness and energy are drawn, if the model takes them; else they are the data set's.
        thinnest, thickest, thicknesses: Å, and how many of each crystal, if they are drawn.
        lowest_energy, highest_energy: eV, if they are drawn.
        labels: "fast" or "default", patterns by that packaged model (mean Z about 0.1 % from converged ones);
            "exact", converged as in a data set, four times slower.
        seed: another seed draws other crystals.
    """

    fresh: int = 256
    ahead: int = 0
    keep: int = 20000
    uses: int = 16
    generated: float = 0.25
    substituted: float = 0.25
    strain: float = 0.03
    displaced: float = 0.0
    even: float = 0.0
    atoms: float = 64.0
    vary: bool = True
    thinnest: float = 100.0
    thickest: float = 2000.0
    thicknesses: int = 4
    lowest_energy: float = 60e3
    highest_energy: float = 300e3
    labels: str = "fast"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingError: naming the key.
        """
        check_one_of("stream.labels", self.labels, LABELS)
        for name, most in (("fresh", 100_000), ("uses", 10_000), ("thicknesses", 1000)):
            check_whole(f"stream.{name}", getattr(self, name), 1, most)
        check_whole("stream.keep", self.keep, self.fresh, 10**9)
        check_whole("stream.ahead", self.ahead, 0, 100_000)
        first = self.fresh * (self.ahead + 1)
        if self.keep < first:
            raise SettingError(
                f"stream.keep must be at least the {first:,} crystals that the first epoch learns from "
                f"(stream.fresh, stream.ahead), got {self.keep:,}; keep more, or draw fewer ahead"
            )
        check_whole("stream.seed", self.seed, 0)
        for name, largest in (
            ("generated", 1.0),
            ("substituted", 0.9),
            ("even", 1.0),
            ("strain", 0.2),
            ("displaced", 1.0),
        ):
            check_number(f"stream.{name}", getattr(self, name), 0, largest)
        check_number("stream.atoms", self.atoms, above=0)
        for low, high in (("thinnest", "thickest"), ("lowest_energy", "highest_energy")):
            check_number(f"stream.{low}", getattr(self, low), above=0)
            check_number(f"stream.{high}", getattr(self, high), above=getattr(self, low))


@dataclass(frozen=True)
class Forbidden:
    """What is never drawn: ids of compounds, and names of prototypes if whole prototypes are tested."""

    compounds: frozenset[str] = frozenset()
    prototypes: frozenset[str] = frozenset()

    @classmethod
    def by(cls, kind: str, judged: Iterable[Row]) -> Forbidden:
        """From the rows of validation and test; `kind` is that of the split.

        By row a compound may be on two sides of the data set; a stream has no such excuse, and leaves it out.
        """
        rows = [row for one in judged for row in (one, relabelled(one))]
        prototypes = {str(row["anonymous_prototype"]) for row in rows} if kind == "prototype" else ()
        return cls(frozenset(str(row["compound_id"]) for row in rows), frozenset(prototypes))

    def holds(self, row: Mapping[str, object]) -> bool:
        """Whether a row must not be drawn."""
        return row["compound_id"] in self.compounds or row["anonymous_prototype"] in self.prototypes


@dataclass(frozen=True, eq=False)
class Draws:
    """Crystals by number.

    Attributes:
        settings: how they are drawn.
        rows: of the catalogue, those that may be drawn; see `draws_from`.
        forbidden: what must not come.
        prototypes: of the generator that may be drawn, and their chances.
    """

    settings: StreamSettings
    rows: Sequence[Row]
    forbidden: Forbidden
    prototypes: tuple[str, ...]
    chances: np.ndarray = field(repr=False)

    def row(self, number: int, first: int = 0) -> tuple[Row, int]:
        """The row of a crystal, and at which try it was found: before, compounds that judge or atoms too close.

        Args:
            number: of the crystal in the stream, from 0.
            first: try to begin with; those before it could not be computed.

        Raises:
            TrainingError: if nothing but crystals of validation and test, or impossible ones, are drawn.
        """
        for attempt in range(first, first + _MOST_REJECTED):
            rng = np.random.default_rng([self.settings.seed, number, attempt])
            generated = not self.rows or (bool(self.prototypes) and rng.random() < self.settings.generated)
            drawn = self._generated(rng, number) if generated else self._listed(rng)
            if drawn["n_atoms_conv"] <= self.settings.atoms and not self.forbidden.holds(drawn):
                moved = _strained(_displaced(drawn, rng, self.settings.displaced), rng, self.settings.strain)
                if not self.settings.displaced or _is_possible(moved):
                    return moved, attempt
        raise TrainingError(
            f"crystal {number} of the stream: {_MOST_REJECTED} draws in a row were compounds or prototypes of "
            "validation or test, or had atoms too close; stream from a larger catalogue, or lower stream.displaced"
        )

    def _generated(self, rng: np.random.Generator, number: int) -> Row:
        chosen = _by_prototype()[self.prototypes[int(rng.choice(len(self.prototypes), p=self.chances))]]
        return row_of_candidate(chosen[int(rng.integers(len(chosen)))], number)

    def _listed(self, rng: np.random.Generator) -> Row:
        row = self.rows[min(int(self._reach.searchsorted(rng.random())), len(self.rows) - 1)]
        while rng.random() < self.settings.substituted:
            row = _substituted(row, rng)
        return row

    @cached_property
    def _reach(self) -> np.ndarray:
        """Up to which random number each row of the catalogue is drawn."""
        counts = Counter(str(row["anonymous_prototype"]) for row in self.rows)
        chances = np.array([counts[str(row["anonymous_prototype"])] ** -self.settings.even for row in self.rows])
        return np.cumsum(chances / chances.sum())

    @property
    def digest(self) -> str:
        """SHA-256 of all that settles what is drawn, whatever is then made of it."""
        known = [
            {
                name: value
                for name, value in asdict(self.settings).items()
                if name not in ("ahead", "keep", "uses")
            },
            sorted(self.forbidden.compounds),
            sorted(self.forbidden.prototypes),
            self.prototypes,
            [[row["source"], row["source_id"], row["compound_id"], row["a"]] for row in self.rows],
        ]
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def draws_from(settings: StreamSettings, catalogue: Iterable[Row], forbidden: Forbidden) -> Draws:
    """What may be drawn of a catalogue and of the generator.

    Args:
        settings: how.
        catalogue: rows; those that are forbidden, not cubic or too large are left out, and those whose sites lack
            what says which compound they are.
        forbidden: compounds and prototypes of validation and test.

    Raises:
        SettingError: if nothing is left.
    """
    rows = [row for row in catalogue if _may_come(row, settings.atoms, forbidden)]
    names, weights = [], []
    for name, own in _by_prototype().items() if settings.generated or not rows else ():
        example = _example(name)
        if (
            example["n_atoms_conv"] <= settings.atoms
            and example["anonymous_prototype"] not in forbidden.prototypes
        ):
            names.append(name)
            weights.append(len(own) ** 0.5)
    if not rows and not names:
        raise SettingError(
            "no crystal is left to draw: all of the catalogue and of the generator are too large, or compounds or "
            "prototypes of validation or test; stream from another catalogue"
        )
    return Draws(settings, rows, forbidden, tuple(names), np.array(weights) / max(sum(weights), 1e-12))


def _may_come(row: Row, atoms: float, forbidden: Forbidden) -> bool:
    cubic = int(row["space_group"]) >= 195 and all(row.get(name) is None for name in _CUBIC)
    if not cubic or row["n_atoms_conv"] > atoms or forbidden.holds(row):
        return False
    try:
        return not forbidden.holds(relabelled(row))  # another catalogue may call the same compound differently
    except CrystalError:
        return False


@cache
def _by_prototype() -> dict[str, list[Candidate]]:
    found: dict[str, list[Candidate]] = {}
    for candidate in all_candidates():
        found.setdefault(candidate.prototype, []).append(candidate)
    return found


@cache
def _example(prototype: str) -> Row:
    return row_of_candidate(_by_prototype()[prototype][0], 0)


@cache
def _similar() -> dict[str, tuple[str, ...]]:
    """For each metal, the others that take a charge which it takes and whose volume is known."""
    found: dict[str, set[str]] = {}
    for charge, names in BY_CHARGE.items():
        known = [name for name in names if charge > 0 and _volume(name)]
        for name in known:
            found.setdefault(name, set()).update(other for other in known if other != name)
    return {name: tuple(sorted(others)) for name, others in found.items()}


@cache
def _volume(element: str) -> float:
    try:
        return atomic_volume(element)
    except KeyError:
        return 0.0


_SAME_PLACE = 1e-4  # of a lattice parameter
_MEAN_VOLUME = 20.0  # Å³ of an atom whose volume is not known; it only dilutes the change


def _substituted(row: Row, rng: np.random.Generator) -> Row:
    """One element in place of a similar one; the volume of the cell changes with that of the atoms (Zen's law)."""
    there = {str(site["element"]) for site in row["sites"]}
    pairs = [(old, new) for old in sorted(there) for new in _similar().get(old, ()) if new not in there]
    if not pairs:
        return row
    old, new = pairs[int(rng.integers(len(pairs)))]
    sites = [{**site, "element": new} if site["element"] == old else dict(site) for site in row["sites"]]
    before, after = (
        sum(site["multiplicity"] * (_volume(site["element"]) or _MEAN_VOLUME) for site in every)
        for every in (row["sites"], sites)
    )
    a = round(row["a"] * (after / before) ** (1 / 3), 4)
    return relabelled({**row, "sites": sites, "a": a, "source_id": f"{row['source_id']}/{old}={new}"})


def _displaced(row: Row, rng: np.random.Generator, most: float) -> Row:
    """Atoms moved by up to `most` Å in each direction, as far as the symmetry of their sites allows."""
    if not most:
        return row
    sites = []
    for site in row["sites"]:
        place = np.array([site["x"], site["y"], site["z"]])
        moved = place + _free(int(row["space_group"]), place) @ (rng.uniform(-most, most, 3) / row["a"])
        sites.append({**site, **dict(zip("xyz", moved.round(6).tolist(), strict=True))})
    return {**row, "sites": sites}


def _is_possible(row: Row) -> bool:
    """Whether no atoms have come too close."""
    try:
        crystal_of(row)
    except CrystalError:
        return False
    return True


def _free(space_group: int, place: np.ndarray) -> np.ndarray:
    """Projector onto the shifts that the symmetry of a site leaves unchanged: (3, 3)."""
    kept = []
    for operation in find_by_number(space_group).operations():
        rotation, shift = (np.array(part) / operation.DEN for part in (operation.rot, operation.tran))
        away = rotation @ place + shift - place
        if np.abs(away - away.round()).max() < _SAME_PLACE:
            kept.append(rotation)
    return np.asarray(np.mean(kept, axis=0))


def _strained(row: Row, rng: np.random.Generator, strain: float) -> Row:
    """Another lattice parameter; what the row stated of distances and density is no longer said."""
    a = round(row["a"] * (1.0 + strain * (2.0 * rng.random() - 1.0)), 4)
    return {**row, "a": a, "density": None, "min_distance": None}
