"""Homogeneous strain of the cell, and which of its directions the images decide.

The basis of the strained crystal is (1 + ε) A, with ε symmetric on the Cartesian axes of the crystal (1 along a,
3 along c*). Fractional coordinates stay, the symmetry of the space group need not. To first order in ε the six
numbers of the cell change by

    da_i = a_i·ε a_i / |a_i|,   -sin γ_ij dγ_ij = 2 a_i·ε a_j / |a_i||a_j| - cos γ_ij (da_i/|a_i| + da_j/|a_j|).

Along one zone axis a strain moves the lines as a change of the half-width, a stretch or a shear of the grid do. A
strain along the axis changes the images by the volume in U_g alone, and a shear towards the axis not at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.refinement.parameter import Parameter

PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
STRAINS = tuple(f"strain:{i + 1}{j + 1}" for i, j in PAIRS)
"""Names of the components."""

LARGEST = 0.03
"""Largest component; what is of second order in it is neglected."""

UNDECIDED = 0.8
"""Part of the width of the prior from which a direction owes little to the images."""

ALIKE = 0.95
"""Cosine from which a direction has the name of another."""

GRID = ("half_width", "stretch", "shear")
"""Kinds of parameters that do to one stack what a strain does."""


def strain_parameter(crystal: Crystal, name: str, spread: float) -> Parameter:
    """One component of the strain, 0 at the start.

    Args:
        crystal: the crystal without strain.
        name: of `STRAINS`.
        spread: standard deviation of its prior.

    Raises:
        SettingError: if there is no such component.
    """
    if name not in STRAINS:
        raise SettingError(f"there is no {name!r}; the components of the strain are {', '.join(STRAINS)}")
    direction = cell_change(crystal, _tensor(np.eye(6)[STRAINS.index(name)]))
    return Parameter(name, "strain", "cell", direction, 0.0, -LARGEST, LARGEST, "", 0.0, spread)


def cell_change(crystal: Crystal, strain: FloatArray) -> FloatArray:
    """First-order change of a, b, c in Å and α, β, γ in degrees by a strain: (3, 3) to (6,)."""
    direct = np.asarray(crystal.direct)
    length = np.linalg.norm(direct, axis=0)
    scaled = direct / length
    metric, change = scaled.T @ scaled, scaled.T @ strain @ scaled
    longer = np.diag(change)
    angles = [
        (metric[i, j] * (longer[i] + longer[j]) - 2.0 * change[i, j]) / math.sqrt(1.0 - metric[i, j] ** 2)
        for i, j in PAIRS[3:]
    ]
    return np.concatenate([length * longer, np.degrees(angles)])


def undecided(
    parameters: Sequence[Parameter],
    covariance: FloatArray,
    crystal: Crystal,
    zones: Sequence[Sequence[int]],
    asked: Sequence[str],
) -> list[str]:
    """Notes on directions of the strain of which the images say little: the covariance there is that of the prior.

    Args:
        parameters: what was free.
        covariance: of them: (p, p).
        crystal: the crystal.
        zones: zone axes of the stacks.
        asked: components that were to be free; those that are not among the parameters were not seen at all.
    """
    chosen = [i for i, p in enumerate(parameters) if p.kind == "strain"]
    names = [n for n in STRAINS if n in asked]
    if not names:
        return []
    lost = _lost(parameters, chosen, covariance, names)
    if not len(lost):
        return []
    words = "; ".join(_names(lost, names, crystal, zones))
    note = f"strain that these images do not decide (what is given is little more than its prior): {words}"
    free = [i for i, p in enumerate(parameters) if p.kind in GRID]
    known = _conditional(covariance, free)
    better = len(lost) - len(_lost(parameters, chosen, known, names))
    if free and better > 0:
        kinds = [k for k in GRID if any(parameters[i].kind == k for i in free)]
        note += (
            f". {better} of these {len(lost)} trade with {', '.join(kinds)}: along one zone axis a strain does to "
            f"the images what these do; if the geometry is calibrated, fix them (--fix {','.join(kinds)})"
        )
    return [note]


def _tensor(components: FloatArray) -> FloatArray:
    """The tensor of 11, 22, 33, 23, 13, 12: (6,) to (3, 3)."""
    result = np.zeros((3, 3))
    for value, (i, j) in zip(components, PAIRS, strict=True):
        result[i, j] = result[j, i] = value
    return result


def _lost(
    parameters: Sequence[Parameter], chosen: Sequence[int], covariance: FloatArray, names: Sequence[str]
) -> FloatArray:
    """Orthonormal directions among the components with these names, in units of their priors: (n, component)."""
    relative = np.eye(len(names))
    for i in chosen:
        for j in chosen:
            a, b = names.index(parameters[i].name), names.index(parameters[j].name)
            value = covariance[i, j] / (parameters[i].spread * parameters[j].spread)
            relative[a, b] = value if np.isfinite(value) else float(i == j)
    values, vectors = np.linalg.eigh(relative)
    return np.asarray(vectors[:, values > UNDECIDED**2].T[::-1])


def _conditional(covariance: FloatArray, fixed: Sequence[int]) -> FloatArray:
    """The covariance if some parameters were known: C_aa - C_af C_ff⁻¹ C_fa; theirs is left as it is."""
    result = np.where(np.isfinite(covariance), covariance, 0.0)
    fixed = [i for i in fixed if result[i, i] > 0.0]
    across = result[:, fixed]
    return np.asarray(result - across @ np.linalg.pinv(result[np.ix_(fixed, fixed)], hermitian=True) @ across.T)


def _names(lost: FloatArray, names: Sequence[str], crystal: Crystal, zones: Sequence[Sequence[int]]) -> list[str]:
    """Words for a set of directions, the plainest that span it."""
    places = [STRAINS.index(n) for n in names]
    found: list[str] = []
    left = lost
    for words, tensor in _candidates(crystal, zones):
        vector = np.array([tensor[PAIRS[p]] for p in places])
        size = float(np.linalg.norm([tensor[pair] for pair in PAIRS]))
        inside = left.T @ (left @ vector)
        if not len(left) or np.linalg.norm(inside) < ALIKE * size:
            continue
        found.append(words)
        rest = left - np.outer(left @ inside, inside) / float(inside @ inside)
        left = np.linalg.svd(rest)[2][: len(left) - 1]
    for vector in left:
        terms = [(n, v) for n, v in zip(names, vector.tolist(), strict=True) if abs(v) > 0.05]
        sign = 1.0 if terms[0][1] > 0.0 else -1.0
        found.append(" ".join(f"{sign * v:+.2f} {n}" for n, v in terms).removeprefix("+"))
    return found


def _candidates(crystal: Crystal, zones: Sequence[Sequence[int]]) -> list[tuple[str, FloatArray]]:
    """Directions with a name, the plainest first."""
    found: list[tuple[str, FloatArray]] = []
    for zone in dict.fromkeys(tuple(z) for z in zones):
        text = "".join(f"{i}" if 0 <= i < 10 else f" {i} " for i in zone).replace("  ", " ").strip()
        z = np.asarray(crystal.direct) @ np.array(zone, dtype=float)
        z = z / np.linalg.norm(z)
        x = np.linalg.svd(z[None])[2][1]
        for axis in np.eye(3):  # a Cartesian axis across the zone axis, if there is one
            if abs(float(axis @ z)) < 1e-9:
                x = axis
                break
        y = np.cross(z, x)
        found.append((f"along [{text}], the zone axis", np.outer(z, z)))
        for across in (x, y):
            label = " ".join(f"{v:.2g}" for v in np.round(across, 2) + 0.0)
            sheared = np.outer(z, across) + np.outer(across, z)
            found.append((f"shear between [{text}], the zone axis, and ({label}) on Cartesian axes", sheared))
        found.append((f"equal in all directions across [{text}], the zone axis", np.eye(3) - np.outer(z, z)))
    found.append(("equal in all directions", np.eye(3)))
    found += [(name, _tensor(np.eye(6)[i])) for i, name in enumerate(STRAINS)]
    return found
