"""Shared by the gradient tests: small problems and exact finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from lacbed import Crystal
from lacbed.beams import reflections_within
from lacbed.geometry.frame import make_frame
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.plan import Plan
from lacbed.refinement.planning import make_plan
from lacbed.state import ModelState, crystal_state

COUNTED = RefinementOptions(
    ("thickness", "B"),
    absorption=None,
    blur=0.05,
    starts=1,
    steps=5,
    align="none",
    weights="poisson",
    common_scale=True,
)
"""How a simulated stack with counting noise is refined; what is free, thickness and beams are for each test."""

FIELDS = tuple(field.name for field in fields(ModelState) if field.name != "cone")  # it is never free


def small_plan(
    crystal: Crystal, zone: tuple[int, int, int], absorption: Any, sampling: str, **settings: Any
) -> tuple[Plan, ModelState]:
    """A grid of few pixels around the zone axis (odd: the centre is the axis itself) and a state."""
    frame = make_frame(crystal, zone)
    hkl = reflections_within(crystal, frame, 1.05 * frame.shortest)[:4]
    half = settings.pop("half_width", 0.9 * frame.shortest)
    pixels = settings.pop("pixels", 5)
    state = crystal_state(crystal, 200e3, half, thickness=settings.pop("thickness", 420.0), blur=0.8)
    plan = make_plan(
        crystal,
        frame,
        hkl,
        pixels,
        state,
        absorption=absorption,
        sampling=sampling,  # type: ignore[arg-type]
        **({"beams": 20, "margin": None} | ({"divisions": 6} if sampling == "lattice" else {}) | settings),
    )
    changes = torch.zeros(3, len(plan.structure.hkl), dtype=torch.complex128)
    near = (abs(plan.structure.hkl).sum(axis=1) <= 4).nonzero()[0]
    for row, place in enumerate(near[len(near) // 2 + 1 :][:3]):
        partner = len(plan.structure.hkl) - 1 - place  # the differences are sorted: -g mirrors g
        value = 1j if row == 2 and plan.gauge is None else 1.0
        changes[row, place], changes[row, partner] = value, value if value == 1.0 else -value
    if plan.gauge is not None:  # keep the matrix real about the shifted centre
        shift = torch.as_tensor(plan.structure.hkl, dtype=torch.float64)
        changes = changes * _centre_phase(plan, shift)
    plan = replace(plan, structure=replace(plan.structure, shapes=changes))
    return plan, state.changed(ug_change=torch.tensor([1e-4, -2e-4, 1e-4], dtype=torch.float64))


def _centre_phase(plan: Plan, hkl: Tensor) -> Tensor:
    """Phases of a potential that is real once the gauge is applied."""
    assert plan.gauge is not None
    phase = plan.gauge.conj()[:, None] * plan.gauge
    result = torch.ones(len(hkl), dtype=torch.complex128)
    result[plan.lookup.reshape(-1)] = phase.reshape(-1)
    return result


def parts(state: ModelState) -> list[tuple[str, int, float]]:
    """Every number of a state, with a step for differences."""
    step = {
        "thickness": 1e-2,
        "energy": 20.0,
        "half_width": 1e-5,
        "tilt": 1e-5,
        "distortion": 1e-5,
        "spread": 1e-1,
        "blur": 1e-4,
        "tail": 1e-3,
        "tail_width": 1e-3,
        "absorption": 1e-3,
        "electronic": 1e-3,
        "cell": 1e-5,
        "xyz": 1e-5,
        "occupancy": 1e-4,
        "u": 1e-5,
        "factor": 1e-4,
        "ionicity": 1e-4,
        "kappa": 1e-4,
        "ug_change": 1e-6,
    }
    return [(name, i, step[name]) for name in FIELDS for i in range(getattr(state, name).numel())]


def with_part(state: ModelState, name: str, index: int, value: Tensor) -> ModelState:
    """A state with one number replaced."""
    old = getattr(state, name)
    unit = torch.zeros(old.numel(), dtype=torch.float64)
    unit[index] = 1.0
    flat = old.reshape(-1) * (1.0 - unit) + value * unit
    return state.changed(**{name: flat.reshape(old.shape)})


def finite_difference(function: Callable[[float], Tensor], at: float, step: float) -> Tensor:
    """Derivative to sixth order in the step."""
    weights = {1: 3.0 / 4.0, 2: -3.0 / 20.0, 3: 1.0 / 60.0}
    terms = [weight * (function(at + n * step) - function(at - n * step)) for n, weight in weights.items()]
    return torch.stack(terms).sum(dim=0) / step
