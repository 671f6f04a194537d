"""Which elements may take which part in which prototype, and the lattice parameters that follow.

Ionic and covalent prototypes: sums of radii are the wanted bond lengths, charges balance, and every bond of the
fitted structure is within `BOND_ERROR` of its wanted length, which is what a tolerance factor says.
Metals and intermetallic compounds: the volumes of the atoms add up (Zen's law, J. Phys. Chem. Solids 1956), and no
two atoms are closer than `CLOSEST` times the sum of their radii.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from lacbed.catalog.fit import fit, frame_of, nearest
from lacbed.catalog.pools import IONIC, METALLIC, POOLS, IonicRule, MetallicRule
from lacbed.catalog.prototypes import PROTOTYPES
from lacbed.catalog.radii import OCTAHEDRAL, OCTAHEDRAL_3, TETRAHEDRAL, atomic_volume, ionic, metallic
from lacbed.catalog.wyckoff import locate

BOND_ERROR = 0.055
CLOSEST = 0.85


@dataclass(frozen=True)
class Candidate:
    """One structure: the element of each role, the lattice parameter in Å and the coordinates of the sites."""

    prototype: str
    elements: tuple[tuple[str, str], ...]
    a: float
    xyz: tuple[tuple[float, float, float], ...]


def all_candidates() -> list[Candidate]:
    """Every structure that can be generated, each once, in a fixed order."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], Candidate] = {}
    for candidate in itertools.chain(_ionic(), _covalent(), _metallic()):
        found.setdefault((candidate.prototype, candidate.elements), candidate)
    return list(found.values())


def _ionic() -> Iterator[Candidate]:
    for rule in IONIC:
        pools = [
            POOLS[charge] if rule.only.get(role) is None else rule.only[role] for role, charge in rule.charges
        ]
        roles = [role for role, _ in rule.charges]
        for elements in itertools.product(*pools):
            if len(set(elements)) == len(elements) or rule.may_repeat:
                candidate = _ionic_candidate(rule, dict(zip(roles, elements, strict=True)))
                if candidate is not None:
                    yield candidate


def _ionic_candidate(rule: IonicRule, elements: Mapping[str, str]) -> Candidate | None:
    if any(elements[first] >= elements[second] for first, second in rule.ordered):
        return None
    charges = dict(rule.charges)
    radius: dict[str, float] = {}
    for role, element in elements.items():
        found = ionic(element, charges[role], rule.neighbours[role])
        if found is None:
            return None
        radius[role] = found
    bonds = PROTOTYPES[rule.prototype].bonds
    low, high = rule.ratio
    if not low <= radius[bonds[0][0]] / radius[bonds[0][1]] <= high:
        return None
    return _fitted(rule.prototype, elements, tuple(radius[i] + radius[j] for i, j, _ in bonds))


def _fitted(prototype: str, elements: Mapping[str, str], wanted: tuple[float, ...]) -> Candidate | None:
    result = fit(prototype, wanted)
    if result.error > BOND_ERROR:
        return None
    return Candidate(prototype, tuple(sorted(elements.items())), result.a, result.xyz)


def _covalent() -> Iterator[Candidate]:
    """Diamond and zinc blende by tetrahedral, pyrite and skutterudite by octahedral radii."""
    for element in ("C", "Si", "Ge", "Sn"):
        yield from _some(_fitted("diamond", {"A": element}, (2 * TETRAHEDRAL[element],)))
    for cations, anions in (("B Al Ga In", "N P As Sb"), ("Be Mg Zn Cd Hg", "O S Se Te"), ("Cu Ag", "Cl Br I")):
        for a, x in itertools.product(cations.split(), anions.split()):
            yield from _some(_fitted("zinc blende", {"A": a, "X": x}, (TETRAHEDRAL[a] + TETRAHEDRAL[x],)))
    for a, x in itertools.permutations(("C", "Si", "Ge", "Sn"), 2):
        if a < x:
            yield from _some(_fitted("zinc blende", {"A": a, "X": x}, (TETRAHEDRAL[a] + TETRAHEDRAL[x],)))
    for prototype, metals, others in (
        ("pyrite", OCTAHEDRAL, "P S As Se Sb Te"),
        ("skutterudite", OCTAHEDRAL_3, "P As Sb"),
    ):
        for (a, radius), x in itertools.product(metals.items(), others.split()):
            wanted = (radius + TETRAHEDRAL[x], 2 * TETRAHEDRAL[x])
            yield from _some(_fitted(prototype, {"A": a, "X": x}, wanted))


def _metallic() -> Iterator[Candidate]:
    for rule in METALLIC:
        for elements in itertools.product(*(pool for _, pool in rule.pools)):
            roles = dict(zip((role for role, _ in rule.pools), elements, strict=True))
            if len(set(elements)) == len(elements):
                yield from _some(_metallic_candidate(rule, roles))


def _metallic_candidate(rule: MetallicRule, elements: Mapping[str, str]) -> Candidate | None:
    prototype = PROTOTYPES[rule.prototype]
    places = frame_of(rule.prototype).places
    if rule.valence and sum(rule.valence[element] for element in elements.values()) not in rule.counts:
        return None
    if any(elements[first] >= elements[second] for first, second in rule.ordered):
        return None
    roles = zip(prototype.sites, _multiplicities(rule.prototype), strict=True)
    total = sum(n * atomic_volume(elements[role]) for (role, _), n in roles)
    a = round((total * rule.packing) ** (1 / 3), 4)
    for first, second, length in nearest(rule.prototype):
        if length * a < CLOSEST * (metallic(elements[first]) + metallic(elements[second])):
            return None
    xyz = tuple((float(p[0]), float(p[1]), float(p[2])) for p, _ in places)
    return Candidate(rule.prototype, tuple(sorted(elements.items())), a, xyz)


@cache
def _multiplicities(prototype: str) -> tuple[int, ...]:
    group = PROTOTYPES[prototype].space_group
    return tuple(locate(group, point)[0].multiplicity for point, _ in frame_of(prototype).places)


def _some(candidate: Candidate | None) -> Iterator[Candidate]:
    if candidate is not None:
        yield candidate
