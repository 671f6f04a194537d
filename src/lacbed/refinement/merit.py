"""Figures of merit of a model against an experiment, reflection by reflection, each image moved by itself or not.

The simulated image is the one that is moved, since it can be computed anywhere and has no noise. Moves, scale,
background and weights are those of `lacbed.refinement.objective`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.signal import fftconvolve
from torch import Tensor

from lacbed.crystals.cell import FloatArray
from lacbed.experiment.assembly import has_contrast
from lacbed.experiment.experiment import Experiment
from lacbed.refinement.minimise import Part
from lacbed.refinement.model import Model, offsets
from lacbed.refinement.objective import Background, Target, explain, make_target, reweighted, weighted_z, z_of
from lacbed.refinement.options import FitSettings
from lacbed.refinement.stages import refine_moves
from lacbed.state import ModelState

ROUNDS, ROBUST_ROUNDS = 12, 3
"""Steps of the moves at most, and how often robust weights are made again."""


@dataclass(frozen=True, eq=False)
class Match:
    """How one simulated image was brought to one measured image.

    Attributes:
        z: figure of merit before, with a constant background and equal weights.
        z_aligned: the same measure after moving the simulation.
        z_weighted: after moving, with the background and the weights that were asked for.
        shift: by which the simulated image moved, (x, y) in pixels.
        distortion: 2 x 2, on (x, y) from the middle, before the shift; the identity for none.
        scale: measured counts per simulated unit.
        background: constant, slope along x, slope along y in counts (per pixel).
        image: the simulated image as moved, in simulated units: (ky, kx).
        weights: 1 for an ordinary pixel, less for one that the simulation misses, 0 for a masked one: (ky, kx).
    """

    z: float
    z_aligned: float
    z_weighted: float
    shift: tuple[float, float]
    distortion: FloatArray
    scale: float
    background: tuple[float, float, float]
    image: FloatArray
    weights: FloatArray

    @property
    def model(self) -> FloatArray:
        """The moved simulation in counts, with scale and background: (ky, kx)."""
        constant, *slopes = self.background
        plane = (offsets(len(self.image)).numpy() @ slopes).reshape(self.image.shape)
        return np.asarray(self.scale * self.image + constant + plane)


@dataclass(frozen=True, eq=False)
class FigureOfMerit:
    """How well a simulation meets an experiment.

    Attributes:
        labels: the reflections.
        matches: one for each reflection, None where the measured image has no contrast.
    """

    labels: tuple[str, ...]
    matches: tuple[Match | None, ...]

    @property
    def z(self) -> FloatArray:
        """Z as it stands, NaN for unused images: (reflection,)."""
        return np.array([math.nan if m is None else m.z for m in self.matches])

    @property
    def z_aligned(self) -> FloatArray:
        """Z after moving each simulated image: (reflection,)."""
        return np.array([math.nan if m is None else m.z_aligned for m in self.matches])

    @property
    def z_weighted(self) -> FloatArray:
        """Z after moving, with background and weights: (reflection,)."""
        return np.array([math.nan if m is None else m.z_weighted for m in self.matches])

    @property
    def mean_z(self) -> float:
        """Mean over the used reflections."""
        return _mean(self.z)

    @property
    def mean_z_aligned(self) -> float:
        """Mean over the used reflections."""
        return _mean(self.z_aligned)

    @property
    def mean_z_weighted(self) -> float:
        """Mean over the used reflections."""
        return _mean(self.z_weighted)

    def table(self) -> list[dict[str, Any]]:
        """One row of plain numbers for each reflection; shifts in pixels."""
        rows = []
        for label, match in zip(self.labels, self.matches, strict=True):
            row: dict[str, Any] = {"hkl": label, "used": match is not None}
            if match is not None:
                row |= {
                    "Z": match.z,
                    "Z_aligned": match.z_aligned,
                    "Z_weighted": match.z_weighted,
                    "shift_x": match.shift[0],
                    "shift_y": match.shift[1],
                    "distortion": match.distortion.tolist(),
                    "scale": match.scale,
                    "background": match.background[0],
                    "slope_x": match.background[1],
                    "slope_y": match.background[2],
                    "weight": float(match.weights.mean()),
                }
            rows.append(row)
        return rows


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def match_images(
    experiment: Experiment, model: Model, state: ModelState, settings: FitSettings | None = None
) -> FigureOfMerit:
    """Bring the images of a model to those of an experiment, one by one.

    Args:
        experiment: what was measured.
        model: with its reflections in the same order.
        state: thickness and geometry.
        settings: whose `align`, `max_shift`, `background` and `robust` say how.
    """
    wanted = settings or FitSettings()
    target = target_of(experiment, wanted.background)
    still = model.read(state)[0]
    moves = _moves(model, target, state, still, wanted)
    image, weighted = still if moves is None else model.read(state, moves)[0], target
    for _ in range(ROBUST_ROUNDS if wanted.robust else 0):
        weighted = reweighted(target, explain(weighted, image), robust=True)
        if moves is not None:
            moves = _refined(model, weighted, state, moves, wanted)
            image = model.read(state, moves)[0]
    fit = explain(weighted, image)
    z, aligned, z_weighted = z_of(still, target), z_of(image, target), weighted_z(weighted, fit)
    weights = torch.nan_to_num(torch.square(weighted.root / target.root)).numpy()
    matches: list[Match | None] = []
    for i, measured in enumerate(experiment.images):
        move = np.zeros(2) if moves is None else moves[i].numpy()
        bend = move[2:].reshape(2, 2) if len(move) == 6 else np.zeros((2, 2))
        plane = (float(fit.background[i]), float(fit.tilted[i, 0]), float(fit.tilted[i, 1]))
        match = Match(
            float(z[i]),
            float(aligned[i]),
            float(z_weighted[i]),
            (float(move[0]), float(move[1])),
            np.eye(2) - bend,
            float(fit.scale[i]),
            plane,
            image[i].numpy(),
            weights[i],
        )
        matches.append(match if has_contrast(measured) else None)
    return FigureOfMerit(experiment.labels, tuple(matches))


def target_of(experiment: Experiment, background: Background = "constant") -> Target:
    """The images of an experiment as the objective takes them, without those that have no contrast.

    Where the variance of the pixels is known, each image counts as much as any other and its pixels by 1 /
    variance.
    """
    images = np.where([[[has_contrast(i)]] for i in experiment.images], experiment.images, np.nan)
    target = make_target(torch.as_tensor(images), background=background)
    if experiment.variance is None:
        return target
    noise = make_target(torch.as_tensor(images), "variance", variance=torch.as_tensor(experiment.variance))
    flat = noise.root.flatten(1)
    centre = (flat**2 * noise.images.flatten(1)).sum(1) / (flat**2).sum(1).clamp(min=1e-300)
    norm = torch.linalg.vector_norm(flat * (noise.images.flatten(1) - centre[:, None]), dim=1)
    return target.with_root(noise.root / norm.clamp(min=1e-300)[:, None, None])


def _moves(model: Model, target: Target, state: ModelState, still: Tensor, wanted: FitSettings) -> Tensor | None:
    """The moves of least Z under equal weights; none where they do not help."""
    if wanted.align == "none":
        return None
    pairs = zip(target.images.numpy(), target.root.numpy() > 0, still.numpy(), strict=True)
    moves = torch.as_tensor(np.array([_whole_shift(*pair, wanted.max_shift) for pair in pairs]))
    if wanted.align == "affine":
        moves = torch.cat([moves, torch.zeros(len(moves), 4, dtype=moves.dtype)], dim=1)
    found = _refined(model, target, state, moves, wanted)
    after, before = (weighted_z(target, explain(target, i)) for i in (model.read(state, found)[0], still))
    helps = after < before
    return torch.where(helps[:, None], found, 0.0)


def _refined(model: Model, target: Target, state: ModelState, moves: Tensor, wanted: FitSettings) -> Tensor:
    return refine_moves(Part(model, target, lambda _: state, (), moves), np.zeros(0), wanted.max_shift, ROUNDS)


def _whole_shift(measured: FloatArray, used: FloatArray, simulated: FloatArray, reach: float) -> FloatArray:
    """The shift (x, y) of the simulation by whole pixels with the highest correlation, at most `reach`."""
    if not used.any():
        return np.zeros(2)
    first = np.where(used, measured - measured[used].mean(), 0.0)
    second = simulated - simulated.mean()
    score = fftconvolve(first, second[::-1, ::-1], mode="full")
    whole, middle = min(int(reach), len(second) - 1), len(second) - 1
    near = score[middle - whole : middle + whole + 1, middle - whole : middle + whole + 1]
    row, column = np.unravel_index(int(np.argmax(near)), near.shape)
    return np.array([float(column) - whole, float(row) - whole])
