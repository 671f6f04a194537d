"""One number to refine, a direction in the space of all states that symmetry allows.

A parameter p changes one field of the state linearly, field = field₀ + (p - p₀) d, so that constraints (a position
on a mirror plane, U_11 = U_22, two atoms on one place) hold exactly and at no cost. It may have a prior, a normal
distribution about an expected value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.state import ModelState

OF_STACK = (
    "thickness",
    "spread",
    "half_width",
    "tilt",
    "rotation",
    "stretch",
    "shear",
    "blur",
    "tail",
    "voltage",
)
"""Kinds that belong to each stack."""

OF_CRYSTAL = (
    "absorption",
    "electronic",
    "B",
    "U",
    "x",
    "occupancy",
    "cell",
    "strain",
    "factor",
    "kappa",
    "ionicity",
    "Ug",
    "bonding",
)
"""Kinds that stacks of one crystal share."""

KINDS = OF_STACK + OF_CRYSTAL
"""What --free takes; B, U, x, occupancy, factor and kappa also as kind:LABEL for one site, strain as strain:11 for
one component, Ug only as Ug:h,k,l.

"bonding" are the U_g of the families that `lacbed.refinement.bonding` chooses."""

STAGES = (
    ("thickness", "half_width", "tilt"),
    ("rotation", "stretch", "shear", "blur"),
    ("B", "U", "absorption", "electronic", "spread", "tail", "kappa", "ionicity", "Ug", "bonding"),
    ("x", "occupancy", "cell", "strain", "voltage", "factor"),
)
"""The order in which parameters are freed; each stage keeps those before it."""


@dataclass(frozen=True, eq=False)
class Parameter:
    """One number to refine.

    Attributes:
        name: such as "thickness", "B:Ga1", "x:O2", "U12:O2".
        kind: one of `KINDS`.
        field: of `ModelState`.
        direction: change of the flattened field per unit.
        value: at the start.
        low: smallest allowed value.
        high: largest allowed value.
        unit: for people.
        expected: centre of the prior.
        spread: standard deviation of the prior; infinite for none.
    """

    name: str
    kind: str
    field: str
    direction: FloatArray
    value: float
    low: float
    high: float
    unit: str = ""
    expected: float = 0.0
    spread: float = math.inf

    @property
    def stage(self) -> int:
        """When it is freed."""
        return next(i for i, kinds in enumerate(STAGES) if self.kind in kinds)


def state_function(base: ModelState, parameters: Sequence[Parameter]) -> Callable[[Tensor], ModelState]:
    """The state of a vector of parameters, differentiable; `base` belongs to their start values."""

    def state_of(values: Tensor) -> ModelState:
        changed: dict[str, Tensor] = {}
        for number, parameter in enumerate(parameters):
            old = changed.get(parameter.field, getattr(base, parameter.field))
            step = (values[number] - parameter.value) * torch.as_tensor(parameter.direction)
            changed[parameter.field] = old + step.reshape(old.shape)
        return base.changed(**changed)

    return state_of


def begin_at(
    base: ModelState, parameters: Sequence[Parameter], thickness: float, blur: float
) -> tuple[ModelState, tuple[Parameter, ...]]:
    """State and parameters that start from the thickness (Å) and the blur (pixels) that a scan found."""
    here = {"thickness": thickness, "blur": blur}
    moved = base.changed(**{name: torch.tensor(value).double() for name, value in here.items()})
    return moved, tuple(replace(p, value=here.get(p.name, p.value)) for p in parameters)
