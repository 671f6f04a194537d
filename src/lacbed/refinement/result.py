"""What a refinement finds: of every stack, and of all parameters together."""

from __future__ import annotations

from dataclasses import dataclass

from lacbed.crystals.cell import FloatArray
from lacbed.refinement.objective import Fit
from lacbed.refinement.options import Start
from lacbed.refinement.parameter import Parameter
from lacbed.refinement.plan import Plan
from lacbed.refinement.problem import Measured
from lacbed.refinement.profile import Profile
from lacbed.state import ModelState


@dataclass(frozen=True, eq=False)
class Check:
    """What a finer model says about the finished one.

    Attributes:
        beams: number of beams of the finer model.
        waves: number of its Bloch waves.
        divisions: its points of the lattice per reciprocal vector; 0 where every pixel was computed.
        difference: largest |ΔI| at the same parameters.
        z: change of mean Z at the same parameters.
    """

    beams: int
    waves: int
    divisions: int
    difference: float
    z: float


@dataclass(frozen=True, eq=False)
class RefinedStack:
    """One stack at the end.

    Attributes:
        measured: the images that were used.
        places: the parameters of the stack among all.
        state: the final state.
        plan: of the final model.
        fit: without moves.
        fit_aligned: with moves, or the same.
        moves: of the images, see `lacbed.refinement.model`: (g, 2 or 6).
        start: where it began.
        check: against a finer model.
    """

    measured: Measured
    places: tuple[int, ...]
    state: ModelState
    plan: Plan
    fit: Fit
    fit_aligned: Fit
    moves: FloatArray
    start: Start
    check: Check

    @property
    def shifts(self) -> FloatArray:
        """Of the simulated images along x and y in pixels: (g, 2)."""
        return self.moves[:, :2]


@dataclass(frozen=True, eq=False)
class Refinement:
    """A finished refinement.

    Attributes:
        stacks: one, or all that were refined together.
        parameters: what was free.
        values: their values: (p,).
        covariance: of the fit and of the check together: (p, p).
        bias: by how much the parameters would move with finer models, to first order: (p,).
        history: (stage, mean Z) after every evaluation that was better than all before.
        notes: warnings.
        without: by how much the parameters move, to first order, when a reflection is left out: (g, p), the
            reflections of all stacks one after the other.
        profile: of one parameter, if it was asked for.
    """

    stacks: tuple[RefinedStack, ...]
    parameters: tuple[Parameter, ...]
    values: FloatArray
    covariance: FloatArray
    bias: FloatArray
    history: tuple[tuple[str, float], ...]
    notes: tuple[str, ...]
    without: FloatArray
    profile: Profile | None = None

    @property
    def measured(self) -> Measured:
        """The images of the first stack."""
        return self.stacks[0].measured

    @property
    def state(self) -> ModelState:
        """The final state of the first stack; what belongs to the crystal is that of all."""
        return self.stacks[0].state

    @property
    def plan(self) -> Plan:
        """Of the final model of the first stack."""
        return self.stacks[0].plan

    @property
    def fit(self) -> Fit:
        """Of the first stack without moves."""
        return self.stacks[0].fit

    @property
    def fit_aligned(self) -> Fit:
        """Of the first stack with moves, or the same."""
        return self.stacks[0].fit_aligned

    @property
    def moves(self) -> FloatArray:
        """Of the images of the first stack: (g, 2 or 6)."""
        return self.stacks[0].moves

    @property
    def shifts(self) -> FloatArray:
        """Of the simulated images of the first stack along x and y in pixels: (g, 2)."""
        return self.stacks[0].shifts
