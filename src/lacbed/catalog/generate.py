"""A catalogue without any download: cubic prototypes filled with elements, the same for the same seed.

Ionic and covalent prototypes: bond lengths are sums of radii, charges balance, and the fitted structure has every
bond within `BOND_ERROR` of that length, which is what a tolerance factor says.
Metals and intermetallic compounds: the volumes of the atoms add up (Zen's law, J. Phys. Chem. Solids 1956), and no
two atoms are closer than `CLOSEST` times the sum of their radii.

Displacements are drawn: the root mean square displacement is a fraction of the distance to the nearest neighbour
(median 3 %; Lindemann's rule puts melting near 10 %), one fraction per structure.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from lacbed.catalog.bond_lengths import Fit, bond_geometry, fit_prototype, nearest_distances
from lacbed.catalog.chemistry import (
    OCTAHEDRAL,
    OCTAHEDRAL_3,
    TETRAHEDRAL,
    atomic_volume,
    ionic_radius,
    metallic_radius,
)
from lacbed.catalog.files import Row
from lacbed.catalog.prototypes import BY_CHARGE, IONIC, METALLIC, PROTOTYPES, IonicRule, MetallicRule
from lacbed.catalog.rows import nearest_distance, row_of
from lacbed.crystals import Crystal, Site
from lacbed.crystals.wyckoff import locate
from lacbed.errors import SettingError
from lacbed.io.checks import check_whole

GENERATOR, LICENCE, KIND = "lacbed generate", "CC0-1.0", "generated"

VERSION = 1
"""Of prototypes, radii and rules: the same count and seed give the same rows only within one version."""

BOND_ERROR = 0.055
CLOSEST = 0.85

_LINDEMANN, _SPREAD = 0.03, 0.2
_FRACTIONS = (0.018, 0.05)


@dataclass(frozen=True)
class Candidate:
    """One structure: the element of each role, the lattice parameter in Å and the coordinates of the sites."""

    prototype: str
    elements: tuple[tuple[str, str], ...]
    a: float
    xyz: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class _Bonded:
    """What a prototype is to be fitted to: the element of each role and the length in Å of each kind of bond."""

    prototype: str
    elements: tuple[tuple[str, str], ...]
    lengths: tuple[float, ...]


def all_candidates(prototypes: frozenset[str] = frozenset(PROTOTYPES)) -> tuple[Candidate, ...]:
    """Every structure of some prototypes that can be generated, each once, in a fixed order."""
    return _candidates(prototypes)  # for the cache, an argument left out is not the same as its default


@cache
def _candidates(prototypes: frozenset[str]) -> tuple[Candidate, ...]:
    every: list[_Bonded | Candidate] = [*_ionic(prototypes), *_covalent(), *_metallic()]
    every = [one for one in every if one.prototype in prototypes]
    bonded = [one for one in every if isinstance(one, _Bonded)]
    fits: dict[_Bonded, Fit] = {}
    for name in {one.prototype for one in bonded}:
        own = [one for one in bonded if one.prototype == name]
        fits |= zip(own, fit_prototype(name, [one.lengths for one in own]), strict=True)
    found: dict[tuple[str, tuple[tuple[str, str], ...]], Candidate] = {}
    for one in every:
        key = (one.prototype, one.elements)
        if isinstance(one, Candidate):
            found.setdefault(key, one)
        elif fits[one].error <= BOND_ERROR:
            found.setdefault(key, Candidate(*key, fits[one].a, fits[one].xyz))
    return tuple(found.values())


def _ionic(prototypes: frozenset[str]) -> Iterator[_Bonded]:
    for rule in IONIC:
        if rule.prototype not in prototypes:  # most of the time goes into these products
            continue
        roles = [role for role, _ in rule.charges]
        pools = [rule.only.get(role, BY_CHARGE[charge]) for role, charge in rule.charges]
        for elements in itertools.product(*pools):
            if len(set(elements)) == len(elements) or rule.may_repeat:
                yield from _ionic_candidate(rule, dict(zip(roles, elements, strict=True)))


def _ionic_candidate(rule: IonicRule, elements: Mapping[str, str]) -> Iterator[_Bonded]:
    charges = dict(rule.charges)
    radius: dict[str, float] = {}
    for role, element in elements.items():
        found = ionic_radius(element, charges[role], rule.neighbours[role])
        if found is None:
            return
        radius[role] = found
    bonds = PROTOTYPES[rule.prototype].bonds
    low, high = rule.ratio
    if low <= radius[bonds[0][0]] / radius[bonds[0][1]] <= high:
        yield _bonded(rule.prototype, elements, *(radius[i] + radius[j] for i, j, _ in bonds))


def _bonded(prototype: str, elements: Mapping[str, str], *lengths: float) -> _Bonded:
    return _Bonded(prototype, tuple(sorted(elements.items())), lengths)


def _covalent() -> Iterator[_Bonded]:
    """Diamond and zinc blende by tetrahedral, pyrite and skutterudite by octahedral radii."""
    group_iv = ("C", "Si", "Ge", "Sn")
    for element in group_iv:
        yield _bonded("diamond", {"A": element}, 2 * TETRAHEDRAL[element])
    pairs: list[tuple[str, str]] = []
    for cations, anions in (("B Al Ga In", "N P As Sb"), ("Be Mg Zn Cd Hg", "O S Se Te"), ("Cu Ag", "Cl Br I")):
        pairs += itertools.product(cations.split(), anions.split())
    pairs += [(a, x) for a, x in itertools.permutations(group_iv, 2) if a < x]
    for a, x in pairs:
        yield _bonded("zinc blende", {"A": a, "X": x}, TETRAHEDRAL[a] + TETRAHEDRAL[x])
    for prototype, metals, others in (
        ("pyrite", OCTAHEDRAL, "P S As Se Sb Te"),
        ("skutterudite", OCTAHEDRAL_3, "P As Sb"),
    ):
        for (a, radius), x in itertools.product(metals.items(), others.split()):
            yield _bonded(prototype, {"A": a, "X": x}, radius + TETRAHEDRAL[x], 2 * TETRAHEDRAL[x])


def _metallic() -> Iterator[Candidate]:
    for rule in METALLIC:
        for elements in itertools.product(*(pool for _, pool in rule.pools)):
            if len(set(elements)) == len(elements):
                yield from _metallic_candidate(
                    rule, dict(zip((role for role, _ in rule.pools), elements, strict=True))
                )


def _metallic_candidate(rule: MetallicRule, elements: Mapping[str, str]) -> Iterator[Candidate]:
    if rule.valence and sum(rule.valence[element] for element in elements.values()) not in rule.counts:
        return
    sites = zip(PROTOTYPES[rule.prototype].sites, _multiplicities(rule.prototype), strict=True)
    total = sum(n * atomic_volume(elements[role]) for (role, _), n in sites)
    a = round((total * rule.packing) ** (1 / 3), 4)
    for first, second, length in nearest_distances(rule.prototype):
        if length * a < CLOSEST * (metallic_radius(elements[first]) + metallic_radius(elements[second])):
            return
    xyz = tuple((float(p[0]), float(p[1]), float(p[2])) for p, _ in bond_geometry(rule.prototype).places)
    yield Candidate(rule.prototype, tuple(sorted(elements.items())), a, xyz)


@cache
def _multiplicities(prototype: str) -> tuple[int, ...]:
    group = PROTOTYPES[prototype].space_group
    return tuple(locate(group, point)[0].multiplicity for point, _ in bond_geometry(prototype).places)


def largest_count() -> int:
    """How many structures can be generated."""
    return len(all_candidates())


def generate_rows(count: int, seed: int = 0, progress: Callable[[float], None] | None = None) -> list[Row]:
    """Rows of a generated catalogue.

    The n candidates of a prototype have the weight √n together, so that rare prototypes are drawn often while they
    last. A longer catalogue begins with the rows of a shorter one with the same seed.

    Args:
        count: structures wanted.
        seed: whole number from 0; decides which structures are drawn, and their displacements.
        progress: called with the fraction done.

    Raises:
        SettingError: if count or seed cannot be used, with the largest count.
    """
    count, seed = check_whole("count", count, 1), check_whole("seed", seed, 0)
    found = all_candidates()
    if count > len(found):
        raise SettingError(f"count must be at most {len(found)}, the number of structures there are; got {count}")
    rows: list[Row] = []
    for candidate in ordered(seed)[:count]:
        rows.append(row_of_candidate(candidate, seed))
        if progress is not None and len(rows) % 50 == 0:
            progress(len(rows) / count)
    return rows


def ordered(seed: int, prototypes: frozenset[str] = frozenset(PROTOTYPES)) -> list[Candidate]:
    """The candidates of some prototypes by rising -log(U) / weight, which is drawing without replacement.

    References:
        Efraimidis & Spirakis, Weighted random sampling with a reservoir, Inf. Process. Lett. 97, 181 (2006).
    """
    found = all_candidates(prototypes)
    totals = Counter(c.prototype for c in found)
    weight = np.array([totals[c.prototype] ** -0.5 for c in found])
    chance = np.array([uniform(seed, identity(c), "order") for c in found])
    return [found[i] for i in np.argsort(-np.log(chance) / weight, kind="stable")]


def uniform(seed: int, name: str, purpose: str) -> float:
    """A number in (0, 1) that depends on its arguments only, and on no other candidate."""
    digest = hashlib.sha256(f"{VERSION}|{seed}|{name}|{purpose}".encode()).digest()
    return (int.from_bytes(digest[:6], "big") + 0.5) / 2**48


def identity(candidate: Candidate) -> str:
    """Id of a candidate: "perovskite/A=Sr,B=Ti,X=O"."""
    return f"{candidate.prototype}/" + ",".join(f"{role}={element}" for role, element in candidate.elements)


def crystal_of_candidate(candidate: Candidate) -> Crystal:
    """The crystal of a candidate with B = 0.5 Å² everywhere."""
    prototype, elements = PROTOTYPES[candidate.prototype], dict(candidate.elements)
    sites = [
        Site(f"{elements[role]}{i}", elements[role], xyz)
        for i, ((role, _), xyz) in enumerate(zip(prototype.sites, candidate.xyz, strict=True), start=1)
    ]
    return Crystal.build(identity(candidate), candidate.a, prototype.space_group, sites)


def row_of_candidate(candidate: Candidate, seed: int) -> Row:
    """The row of a candidate, with displacements drawn by the seed."""
    crystal, name = crystal_of_candidate(candidate), identity(candidate)
    row = row_of(
        crystal,
        source=GENERATOR,
        source_id=f"{name}/{seed}",
        licence=LICENCE,
        kind=KIND,
        note={"prototype": candidate.prototype, "version": VERSION},
    )
    u_iso = displacement(nearest_distance(crystal), uniform(seed, name, "displacement"))
    for site in row["sites"]:
        site["u_iso"] = u_iso
    return row


def displacement(distance: float, chance: float) -> float:
    """U_iso in Å² from the distance in Å to the nearest atom, log-normal in a number in (0, 1)."""
    normal = np.log(chance / (1.0 - chance)) * 3.0**0.5 / np.pi  # logistic, of unit variance
    fraction = float(np.clip(_LINDEMANN * np.exp(_SPREAD * normal), *_FRACTIONS))
    return round((fraction * distance) ** 2, 6)
