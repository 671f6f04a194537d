"""A catalogue without any download: cubic prototypes times elements, the same for the same seed.

Displacements are drawn: the root mean square displacement is a fraction of the distance to the nearest neighbour
(median 3 %; Lindemann's rule puts melting near 10 %), one fraction for each structure.
"""

from __future__ import annotations

import hashlib
import operator
from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np

from lacbed.catalog.consistency import nearest_distance
from lacbed.catalog.families import Candidate, all_candidates
from lacbed.catalog.prototypes import PROTOTYPES
from lacbed.catalog.rows import row_of
from lacbed.catalog.schema import Row
from lacbed.crystals import Crystal, Site
from lacbed.errors import SettingError

GENERATOR, LICENCE, KIND = "lacbed generate", "CC0-1.0", "generated"

VERSION = 1
"""Of prototypes, radii and rules: the same count and seed give the same rows only within one version."""

_LINDEMANN, _SPREAD = 0.03, 0.2
_FRACTIONS = (0.018, 0.05)


@cache
def _candidates() -> tuple[Candidate, ...]:
    return tuple(all_candidates())


def largest_count() -> int:
    """How many structures can be generated."""
    return len(_candidates())


def generate_rows(count: int, seed: int = 0, progress: Callable[[float], None] | None = None) -> list[Row]:
    """Rows of a generated catalogue.

    Prototypes are drawn with weights that make rare ones frequent: n candidates weigh √n in all, as long as
    they last. The first rows of a longer catalogue are those of a shorter one with the same seed.

    Args:
        count: structures wanted.
        seed: whole number from 0; another one gives another choice and other displacements.
        progress: called with the fraction done.

    Raises:
        SettingError: if count or seed cannot be used, with the largest count.
    """
    count, seed = _checked(count, "count", 1), _checked(seed, "seed", 0)
    candidates = _candidates()
    if count > len(candidates):
        raise SettingError(f"count must be at most {len(candidates)}, the structures that exist; got {count}")
    rows: list[Row] = []
    for i in _order(candidates, seed)[:count]:
        rows.append(row_of_candidate(candidates[i], seed))
        if progress is not None and len(rows) % 50 == 0:
            progress(len(rows) / count)
    return rows


def _checked(value: int, name: str, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise SettingError(f"{name} must be a whole number, got {value!r}") from None
    if not least <= number < 2**63:
        raise SettingError(f"{name} must be a whole number from {least}, got {number}")
    return number


def _order(candidates: tuple[Candidate, ...], seed: int) -> list[int]:
    """Candidates by rising -log(U) / weight: drawing without replacement (Efraimidis & Spirakis, 2006)."""
    totals = Counter(c.prototype for c in candidates)
    weight = np.array([totals[c.prototype] ** -0.5 for c in candidates])
    uniform = np.array([_uniform(seed, identity(c), "order") for c in candidates])
    return [int(i) for i in np.argsort(-np.log(uniform) / weight, kind="stable")]


def _uniform(seed: int, name: str, purpose: str) -> float:
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
    """The row of a candidate, checked as every crystal is, with displacements drawn by the seed."""
    crystal, name = crystal_of_candidate(candidate), identity(candidate)
    row = row_of(
        crystal,
        source=GENERATOR,
        source_id=f"{name}/{seed}",
        licence=LICENCE,
        kind=KIND,
        note={"prototype": candidate.prototype, "version": VERSION},
    )
    u_iso = displacement(nearest_distance(crystal), _uniform(seed, name, "displacement"))
    for site in row["sites"]:
        site["u_iso"] = u_iso
    return row


def displacement(distance: float, uniform: float) -> float:
    """U_iso in Å² from the distance in Å to the nearest atom, log-normal in a number in (0, 1)."""
    normal = np.log(uniform / (1.0 - uniform)) * 3.0**0.5 / np.pi  # logistic, of unit variance
    fraction = float(np.clip(_LINDEMANN * np.exp(_SPREAD * normal), *_FRACTIONS))
    return round((fraction * distance) ** 2, 6)
