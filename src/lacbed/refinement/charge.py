"""What a refinement says about the electrons: X-ray structure factors of what was free of them, and their map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lacbed.beams import HKL
from lacbed.crystals.cell import FloatArray
from lacbed.patterns.result import hkl_label
from lacbed.potential import nuclear_damping
from lacbed.refinement.bonding import MOST, candidates, members
from lacbed.refinement.model import StateOf, along_each
from lacbed.refinement.parameter import state_function
from lacbed.refinement.result import Refinement
from lacbed.refinement.structure import (
    WEAK,
    Structure,
    add_families,
    coefficients,
    family_of,
    in_phase,
    make_structure,
)
from lacbed.refinement.uncertainties import correlations
from lacbed.state import ModelState
from lacbed.xray import xray_factors


@dataclass(frozen=True, eq=False)
class ChargeFactors:
    """X-ray structure factors in electrons per cell, F = Σ f exp(+2πi g·r), with standard uncertainties.

    "Neutral" are the independent atoms of the same table, with the same displacements. F in thermal motion is what
    follows from U_g; at rest, the difference from neutral atoms is divided by the mean Debye-Waller factor of the
    nuclei, which is exact where all atoms move alike.

    Attributes:
        hkl: one reflection of each family: (family,).
        multiplicity: reflections of each family: (family,).
        s: |g| / 2 in 1/Å: (family,).
        u: U_g in 1/Å²: (family,) complex.
        thermal: F in thermal motion: (family,) complex.
        static: F at rest: (family,) complex.
        neutral: F of neutral atoms in thermal motion: (family,) complex.
        neutral_static: F of neutral atoms at rest: (family,) complex.
        uncertainty: of |F| at rest, |F| in motion, |U_g|, and of the phase of F in degrees: (4, family).
        correlation: of |F| at rest, then B and thickness where they are free: (n, n).
        names: of the rows of `correlation`.
    """

    hkl: tuple[HKL, ...]
    multiplicity: tuple[int, ...]
    s: FloatArray
    u: np.ndarray
    thermal: np.ndarray
    static: np.ndarray
    neutral: np.ndarray
    neutral_static: np.ndarray
    uncertainty: FloatArray
    correlation: FloatArray
    names: tuple[str, ...]

    def table(self) -> list[dict[str, Any]]:
        """One row of plain numbers for each family."""
        rows = []
        for i, hkl in enumerate(self.hkl):
            static, thermal, u, phase = self.uncertainty[:, i].tolist()
            rows.append(
                {
                    "hkl": hkl_label(hkl),
                    "multiplicity": self.multiplicity[i],
                    "s": float(self.s[i]),
                    "F": float(abs(self.static[i])),
                    "F_uncertainty": static,
                    "F_phase": float(np.degrees(np.angle(self.static[i]))),
                    "F_phase_uncertainty": phase,
                    "F_neutral": float(abs(self.neutral_static[i])),
                    "F_neutral_phase": float(np.degrees(np.angle(self.neutral_static[i]))),
                    "F_thermal": float(abs(self.thermal[i])),
                    "F_thermal_uncertainty": thermal,
                    "F_thermal_neutral": float(abs(self.neutral[i])),
                    "U": float(abs(self.u[i])),
                    "U_uncertainty": u,
                }
            )
        return rows


def charge_factors(result: Refinement) -> ChargeFactors | None:
    """X-ray structure factors of the families whose U_g were free, and of the lowest where ions or shells were.

    With `ionicity` or `kappa` every F_g follows from the atoms; the `MOST` lowest families of the zone are given.
    None if nothing of the kind was free.
    """
    hkl = _given(result)
    if not hkl:
        return None
    crystal, places = result.plan.structure.crystal, np.array(hkl)
    here, state_of = _families(result, hkl, places)
    values = torch.as_tensor(result.values)
    neutral, neutral_static = (_neutral(here, result.state, at_rest) for at_rest in (False, True))

    def numbers(parameters: Tensor) -> tuple[Tensor, ...]:
        state = state_of(parameters)
        u = coefficients(here, state)[0]
        thermal = xray_factors(crystal, places, u, state.energy, state.structure)
        static = _neutral(here, state, True) + (thermal - _neutral(here, state, False)) / _damping(here, state)
        return u, thermal, static

    u, thermal, static = (found.detach() for found in numbers(values))

    def sizes(parameters: Tensor) -> tuple[Tensor, ...]:
        u, thermal, static = numbers(parameters)
        return static.abs(), thermal.abs(), u.abs(), torch.rad2deg(torch.angle(static))

    slopes = along_each(sizes, values)  # a tuple for each parameter
    table = np.array([[column.numpy() for column in row] for row in slopes])  # (p, 4, family)
    uncertainty = np.array(
        [[_spread(table[:, k, i], result.covariance) for i in range(len(hkl))] for k in range(4)]
    )
    names, correlation = _correlation(result, table[:, 0], hkl)
    return ChargeFactors(
        hkl,
        tuple(len(members(crystal, g)) for g in hkl),
        0.5 * np.linalg.norm(places @ crystal.reciprocal.T, axis=1),
        u.numpy(),
        thermal.numpy(),
        static.numpy(),
        neutral.numpy(),
        neutral_static.numpy(),
        uncertainty,
        correlation,
        names,
    )


def _given(result: Refinement) -> tuple[HKL, ...]:
    """A reflection of each family that is given."""
    free = [p for p in result.parameters if p.field == "ug_change"]
    hkl = tuple(dict.fromkeys(family_of(p.name.removesuffix(":phase")) for p in free))
    if not any(p.kind in ("ionicity", "kappa") for p in result.parameters):
        return hkl
    structure = result.plan.structure
    low = candidates(structure.crystal, structure.hkl, hkl)
    if not low:
        return hkl
    room = in_phase(structure.crystal, np.array(low), result.measured.energy, structure.factors)
    here = make_structure(structure.crystal, np.array(low), structure.factors, structure.absorption)
    plain = result.state.changed(ug_change=result.state.ug_change[:0])
    size = coefficients(replace(here, absorption=None), plain)[0].detach().abs().numpy()
    return (*hkl, *[g for g, u, most in zip(low, size, room, strict=True) if u > WEAK * most][:MOST])


def deformation_map(result: Refinement, points: int = 160) -> tuple[FloatArray, FloatArray, float] | None:
    """Density of the electrons less that of neutral atoms at rest, along the zone axis, from the given F_g alone.

    Args:
        result: of a refinement with free U_g, ions or shells.
        points: along each side.

    Returns:
        Positions along x and along y in Å from the origin of the cell, (points,), the density in one repeat along
        the zone axis in electrons per Å², (y, x), or None without any; and the length of the repeat in Å.
    """
    found = charge_factors(result)
    if found is None:
        return None
    frame, crystal = result.measured.frame, result.plan.structure.crystal
    axis = np.array(frame.zone_axis)
    everything = {member for g in found.hkl for member in members(crystal, g)}
    chosen = np.array(sorted(member for member in everything if not int(np.array(member) @ axis)))
    here, state_of = _families(result, found.hkl, chosen)
    state = state_of(torch.as_tensor(result.values))
    thermal = xray_factors(crystal, chosen, coefficients(here, state)[0], state.energy, state.structure)
    change = ((thermal - _neutral(here, state, False)) / _damping(here, state)).detach().numpy()
    repeat = float(np.linalg.norm(crystal.direct @ axis))
    reach = float(np.clip(1.0 / frame.shortest, 4.0, 12.0))
    x = np.linspace(-reach, reach, points)
    k = frame.vectors(chosen)[:, :2]
    waves_x, waves_y = (np.exp(-2j * np.pi * np.outer(x, along)) for along in k.T)
    density = np.einsum("yg,g,xg->yx", waves_y, change, waves_x).real * repeat / crystal.volume
    return x, density, repeat


def _families(result: Refinement, hkl: Sequence[HKL], among: np.ndarray) -> tuple[Structure, StateOf]:
    """The structure of some reflections with the families that were free, and states of all parameters.

    Args:
        result: the refinement; of several stacks, the crystal at the energy of the first.
        hkl: a reflection of each family.
        among: reflections: (g, 3).
    """
    known, first = result.plan.structure, result.stacks[0]
    plain = make_structure(known.crystal, among, known.factors, known.absorption)
    families = [("Ug", g) for g in hkl if members(known.crystal, g) & {tuple(row) for row in among.tolist()}]
    structure, base, more = add_families(plain, result.state, families, 1.0, result.measured.energy)
    fresh = {p.name: p for p in more}
    mine = []
    for i, (p, value) in enumerate(zip(result.parameters, result.values.tolist(), strict=True)):
        if p.field == "ug_change":
            mine.append(fresh.get(p.name, replace(p, direction=np.zeros(len(fresh)))))
        else:
            mine.append(replace(p, value=value, direction=p.direction * (i in first.places)))
    return structure, state_function(base, mine)


def _neutral(structure: Structure, state: ModelState, at_rest: bool) -> Tensor:
    """F of neutral atoms by the table of electron factors: (g,)."""
    if at_rest:
        state = state.changed(u=torch.zeros_like(state.u))
    one = torch.ones_like(state.factor)
    state = state.changed(factor=one, ionicity=torch.zeros_like(one), kappa=one)
    plain = replace(structure, shapes=structure.shapes[:0], ratios=structure.ratios[:0], absorption=None)
    u = coefficients(plain, state)[0]
    return xray_factors(structure.crystal, structure.hkl, u, state.energy, state.structure)


def _damping(structure: Structure, state: ModelState) -> Tensor:
    """Mean of exp(-hᵀβh) over the charges of the nuclei: (g,)."""
    return nuclear_damping(structure.crystal, structure.hkl, state.structure)


def _spread(slope: FloatArray, covariance: FloatArray) -> float:
    """The uncertainty of a number by its slopes; infinite if it depends on what is not determined."""
    known = np.isfinite(np.diag(covariance))
    if bool(slope[~known].any()):
        return float("inf")
    inner = covariance[np.ix_(known, known)]
    return float(np.sqrt(max(0.0, slope[known] @ inner @ slope[known])))


def _correlation(
    result: Refinement, slopes: FloatArray, hkl: tuple[HKL, ...]
) -> tuple[tuple[str, ...], FloatArray]:
    """Correlations of |F| with each other and with thickness, displacements and absorption: names, (n, n)."""
    others = [i for i, p in enumerate(result.parameters) if p.kind in ("thickness", "B", "U", "absorption")]
    rows = np.concatenate([slopes.T, np.eye(len(slopes))[others]])
    known = np.where(np.isfinite(result.covariance), result.covariance, 0.0)
    names = (*(f"F {hkl_label(g)}" for g in hkl), *(result.parameters[i].name for i in others))
    return names, correlations(rows @ known @ rows.T)
