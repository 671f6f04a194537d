"""Several stacks of one crystal as one problem: what is shared, what belongs to each, and what the images see.

Zones, thicknesses, voltages and half-widths may differ. Displacements, positions, occupancies, the cell, U_g and
the law of absorption belong to the crystal and are shared; everything else belongs to each stack, and is named
with its number: "thickness@2". One stack is the case of one, with plain names.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import torch

from lacbed.beams import HKL, check_reflections
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.errors import SettingError
from lacbed.experiment.experiment import Experiment, crystal_of
from lacbed.patterns.result import hkl_label
from lacbed.refinement.bonding import FURTHEST, candidates, choose, members
from lacbed.refinement.minimise import Part
from lacbed.refinement.objective import compare
from lacbed.refinement.options import RefinementOptions, Start
from lacbed.refinement.parameter import OF_CRYSTAL, Parameter, state_function
from lacbed.refinement.plan import Plan
from lacbed.refinement.problem import Measured, Problem, measured_of, unturned, usable
from lacbed.refinement.structure import does_not_affect, family_name, family_of
from lacbed.refinement.uncertainties import unit_variance

BLIND = 1e-7
"""Part of the change by the strongest parameter below which one whose whole range does no more is not free."""

ALWAYS_SEEN = ("absorption", "electronic")
"""Kinds of the crystal that no stack is blind for."""


class Joint:
    """All stacks of one refinement.

    Args:
        crystal: the first model.
        measured: the stacks.
        options: how.

    Attributes:
        problems: one of each stack.
        notes: what was left out.
    """

    def __init__(self, crystal: Crystal, measured: Sequence[Measured], options: RefinementOptions) -> None:
        self.options = options
        self.problems = [Problem(crystal, one, options) for one in measured]
        for problem in self.problems:
            problem.absolute = self.problems[0].absolute
        names = self.problems[0].names
        with_u = any(n == "bonding" or n.startswith("Ug:") for n in names)
        unsure = any(p.kind in OF_CRYSTAL and p.kind not in ALWAYS_SEEN for p in self.parameters)
        self.notes = self._choose(names) if with_u or unsure else ()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All of them in the order of their stages, those of the crystal once."""
        found: dict[str, Parameter] = {}
        for number, problem in enumerate(self.problems):
            for p in problem.parameters:
                name = self._name(number, p)
                found.setdefault(name, replace(p, name=name))
        return tuple(sorted(found.values(), key=lambda p: p.stage))

    @property
    def places(self) -> list[list[int]]:
        """The parameters of each stack among all."""
        number = {p.name: i for i, p in enumerate(self.parameters)}
        return [[number[self._name(k, p)] for p in problem.parameters] for k, problem in enumerate(self.problems)]

    def _name(self, stack: int, parameter: Parameter) -> str:
        own = len(self.problems) > 1 and parameter.kind not in OF_CRYSTAL
        return f"{parameter.name}@{stack + 1}" if own else parameter.name

    def begin_at(self, starts: Sequence[Start]) -> None:
        """Take over what the scans found."""
        for problem, start in zip(self.problems, starts, strict=True):
            problem.begin_at(start)

    def gathered(self, values: Sequence[FloatArray]) -> FloatArray:
        """Values of all parameters from those of each stack, the first of what is shared."""
        result = np.empty(len(self.parameters))
        for mine, own in reversed(list(zip(self.places, values, strict=True))):
            result[mine] = own
        return result

    def part(self, number: int, values: FloatArray, full: bool = True, finer: float = 1.0) -> Part:
        """One stack with a model near values of all parameters, and the first weights of its images.

        Args:
            number: of the stack, from 0.
            values: of all parameters.
            full: whether the images are whole, or in large pixels.
            finer: see `Problem.model`.
        """
        problem, mine = self.problems[number], self.places[number]
        state_of = state_function(problem.base, problem.parameters)
        measured = problem.measured if full else problem.small
        model = problem.model(measured, state_of(torch.as_tensor(values[mine])), finer)
        return Part(model, problem.target(measured), state_of, mine)

    def _choose(self, names: Sequence[str]) -> tuple[str, ...]:
        """Free the U_g that are asked for, and leave out what none of the stacks sees.

        Raises:
            SettingError: on what was asked for by name and is not seen.
        """
        plans = [problem.model(problem.small).plan for problem in self.problems]
        asked = [("Ug", family_of(n)) for n in names if n.startswith("Ug:")]
        families = [*asked, *self._candidates(plans, [g for _, g in asked])] if "bonding" in names else asked
        self._free(families, plans)
        felt, reach = self._felt(plans), np.array([p.high - p.low for p in self.parameters])
        sizes = felt * reach
        blind = {p.name for p, size in zip(self.parameters, sizes, strict=True) if size < BLIND * sizes.max()}
        chosen = {p.name for p in choose(self.parameters, felt.tolist())} - blind
        self._check(blind, chosen)
        left_out = [p.name for p in self.parameters if p.name in blind and p.kind != "bonding"]
        kept = {
            p.name for p in self.parameters if p.name not in blind and (p.kind != "bonding" or p.name in chosen)
        }
        for number, problem in enumerate(self.problems):
            problem.parameters = tuple(p for p in problem.parameters if self._name(number, p) in kept)
        seen = {name.removesuffix(":phase") for name in kept}
        self._free([(kind, g) for kind, g in families if family_name(g) in seen], plans, kept)
        return (f"not free because they do not change these images: {', '.join(left_out)}",) if left_out else ()

    def _candidates(self, plans: Sequence[Plan], known: Sequence[HKL]) -> list[tuple[str, HKL]]:
        """The lowest families of all zones, each once."""
        found: list[HKL] = []
        for plan in plans:
            found += candidates(plan.structure.crystal, plan.structure.hkl, [*known, *found])
        return [("bonding", g) for g in found]

    def _free(
        self, families: Sequence[tuple[str, HKL]], plans: Sequence[Plan], kept: Collection[str] | None = None
    ) -> None:
        """Let each stack free the families that it has.

        Raises:
            SettingError: on a reflection that is in no zone, though one that symmetry makes equal may be.
        """
        crystal = self.problems[0].crystal
        present = [{tuple(row) for row in plan.structure.hkl.tolist()} for plan in plans]
        for _, g in families:
            if not any(g in here for here in present):
                raise SettingError(does_not_affect(g))
        for problem, plan, here in zip(self.problems, plans, present, strict=True):
            problem.free([f for f in families if members(crystal, f[1]) & here], plan, kept)

    def _felt(self, plans: Sequence[Plan]) -> FloatArray:
        """By how much a unit of each parameter changes what the small images leave, all stacks together: (p,)."""
        squares = np.zeros(len(self.parameters))
        for problem, mine, plan in zip(self.problems, self.places, plans, strict=True):
            values = torch.tensor([p.value for p in problem.parameters], dtype=torch.float64)
            state_of, target = state_function(problem.base, problem.parameters), problem.target(problem.small)
            fit = compare(problem.with_families(plan), target, state_of, values, with_slopes=True)
            assert fit.slopes is not None
            size = torch.linalg.vector_norm(fit.slopes.flatten(1), dim=1).numpy()
            squares[mine] += size**2 / max(unit_variance(target, fit.residual), 1e-300)
        return np.sqrt(squares)

    def _check(self, blind: set[str], chosen: set[str]) -> None:
        """Refuse what was asked for by name and cannot be seen."""
        asked = [n for n in self.options.free if n in self.problems[0].names]
        for p in self.parameters:
            if p.name in blind and (p.kind == "Ug" or f"{p.kind}:{p.name.partition(':')[2]}" in asked):
                raise SettingError(
                    f"{p.name} cannot be free: it does not change these images along this zone axis; leave it out"
                )
        if "bonding" in asked and not chosen:
            raise SettingError(
                f"bonding cannot be free: no U_g with |g| / 2 up to {FURTHEST} 1/Å changes these images; leave it "
                "out"
            )
        if all(p.name in blind or (p.kind == "bonding" and p.name not in chosen) for p in self.parameters):
            raise SettingError("none of the free parameters changes these images")


def checked_stacks(given: Sequence[Experiment | Measured], crystal: Crystal) -> tuple[list[Measured], list[str]]:
    """The stacks without images that are of no use, and notes about these.

    Args:
        given: the stacks.
        crystal: what all of them are of.

    Raises:
        SettingError: if there is none, if one says that it is of another crystal, cannot show its reflections or
            has no contrast, or if two hold the same image.
    """
    if not given:
        raise SettingError("there is no stack to refine against")
    found, notes = [], []
    for number, one in enumerate(given):
        which = f"stack {number + 1}: " if len(given) > 1 else ""
        try:
            if len(given) > 1 and isinstance(one, Experiment):
                _check_same(one, crystal)
            measured = one if isinstance(one, Measured) else measured_of(one, crystal)
            check_reflections(crystal, measured.frame, measured.hkl, laue_zones=0)
            measured, more = usable(measured)
            more += _check_cone(measured)
        except SettingError as error:
            raise SettingError(f"{which}{error}") from None
        found.append(measured)
        notes += [f"{which}{note}" for note in more]
    _check_different(found)
    return found, notes


WIDEST_CONE = 0.6
"""Radius of the cone in half-widths; the pixels whose cone lies within the images become few beyond it."""


def _check_cone(measured: Measured) -> list[str]:
    """Refuse images smaller than what each of their pixels averages over, and say what the border loses."""
    part = measured.cone / measured.half_width
    if part > WIDEST_CONE:
        raise SettingError(
            f"each pixel is a mean over a cone of directions with a radius of {measured.cone:.3g} 1/Å, and the "
            f"half-width of the images is {measured.half_width:.3g} 1/Å; at most {WIDEST_CONE:g} of it can be "
            "averaged over: use a wider scan or a smaller convergence angle (cone = 0 in the metadata of the "
            "experiment turns the average off)"
        )
    if not part:
        return []
    return [
        f"simulated images are averaged over the cone of directions of a pixel, {measured.cone:.3g} 1/Å or "
        f"{100 * part:.2g} % of the half-width; a border as wide as that is left out"
    ]


SAME_LENGTH, SAME_ANGLE = 0.02, 1.0
"""Cells that differ by more (relative, degrees) are of different crystals, or in different settings."""


def _check_same(experiment: Experiment, crystal: Crystal) -> None:
    """Refuse a stack that was imported with another crystal."""
    own = crystal_of(experiment)
    if own is None:
        return
    here, there = np.array(own.cell), np.array(crystal.cell)
    far = np.abs(here[:3] / there[:3] - 1.0).max() > SAME_LENGTH or np.abs(here[3:] - there[3:]).max() > SAME_ANGLE
    if far or {s.element for s in own.sites} != {s.element for s in crystal.sites}:
        cells = (", ".join(f"{v:g}" for v in cell) for cell in (own.cell, crystal.cell))
        raise SettingError(
            f"it was imported as {own.formula} with the cell {next(cells)}, and the crystal is {crystal.formula} "
            f"with {next(cells)}; stacks that are refined together are of one crystal in one setting"
        )


def _check_different(stacks: Sequence[Measured]) -> None:
    """Refuse an image that would count twice."""
    seen: dict[bytes, tuple[int, HKL]] = {}  # mirrored and turned copies are alike
    for number, stack in enumerate(stacks):
        for image, hkl in zip(stack.images, stack.hkl, strict=True):
            first, g = seen.setdefault(unturned(image), (number, hkl))
            if first != number:
                raise SettingError(
                    f"image {hkl_label(hkl)} of stack {number + 1} is image {hkl_label(g)} of stack {first + 1} "
                    "again and would count twice; give each stack once"
                )
