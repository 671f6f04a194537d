"""What an inverse is judged against: potentials of the training crystals, found without any learning.

As in `lacbed.learn.baselines`, with the roles exchanged: the neighbour has the most similar pattern, and answers
with its potential.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from lacbed.learn import data
from lacbed.learn.symmetry import aligned, canonical, resampled
from lacbed.patterns.metrics import zncc_loss

NAMES = ("mean potential", "nearest neighbour", "nearest neighbour with a")
_GRID = 32  # pixels a side on which patterns are compared
_BATCH = 32
_PROBES = 200
_WEIGHTS = (0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True, eq=False)
class InverseReference:
    """The training patterns as a table.

    Attributes:
        source: the data set, for the potentials of those that are chosen.
        crystals: position in it of the crystal of each row: (row,).
        patterns: coarse patterns, shifted to zero mean and scaled to unit norm: (row, pixel).
        lattice: ln a: (row,).
        mean: mean of the representatives of the potentials, in V: (n, n).
        weight: of (Δ ln a)² beside the squared distance of patterns, which is twice Z.
    """

    source: data.PatternData
    crystals: np.ndarray
    patterns: Tensor
    lattice: Tensor
    mean: Tensor
    weight: float


def make_reference(
    source: data.PatternData, members: np.ndarray, pixels: int, progress: Callable[[float], None] | None = None
) -> InverseReference:
    """Read the training crystals once; the weight is found as in `lacbed.learn.baselines.make_reference`.

    Args:
        source: the training split.
        members: positions of those that the model has seen.
        pixels: n of the potentials.
        progress: called with the fraction done.
    """
    crystals, patterns, lattices = [], [], []
    total = torch.zeros(pixels, pixels, dtype=torch.float64)
    batches = [members[i : i + _BATCH].tolist() for i in range(0, len(members), _BATCH)]
    for number, (positions, batch) in enumerate(zip(batches, data.load(source, batches), strict=True), start=1):
        thicknesses = batch["pattern"].shape[1]
        crystals.append(np.repeat(positions, thicknesses))
        patterns.append(shrink(batch["pattern"]).flatten(0, 1))
        lattices.append(torch.log(batch["lattice_parameter"]).repeat_interleave(thicknesses))
        total = total + canonical(resampled(batch["potential"], pixels)).double().sum(dim=(0, 1))
        if progress is not None:
            progress(number / len(batches))
    mean = (total / len(members)).float()
    made = InverseReference(
        source, np.concatenate(crystals), torch.cat(patterns), torch.cat(lattices), mean, _WEIGHTS[0]
    )
    return replace(made, weight=_best_weight(made))


def shrink(pattern: Tensor) -> Tensor:
    """Coarse patterns, flat, of zero mean and unit norm: (B, T, m, m) to (B, T, p)."""
    flat = adaptive_avg_pool2d(pattern.float(), min(_GRID, pattern.shape[-1])).flatten(-2)
    flat = flat - flat.mean(dim=-1, keepdim=True)
    unit: Tensor = flat / torch.linalg.vector_norm(flat, dim=-1, keepdim=True).clamp(min=1e-12)
    return unit


def nearest(reference: InverseReference, batch: data.Batch, with_lattice: bool) -> tuple[Tensor, Tensor]:
    """Row of the most similar training pattern, and its distance: (B, T) each."""
    keys = shrink(batch["pattern"])
    squared = torch.cdist(keys.flatten(0, 1), reference.patterns).square()
    if with_lattice:
        lattice = torch.log(batch["lattice_parameter"]).repeat_interleave(keys.shape[1])
        squared = squared + reference.weight * (lattice[:, None] - reference.lattice[None, :]).square()
    best = squared.min(dim=1)
    shape = keys.shape[:2]
    return best.indices.reshape(shape), best.values.clamp(min=0.0).sqrt().reshape(shape)


def predict_baselines(reference: InverseReference, batch: data.Batch) -> tuple[dict[str, Tensor], Tensor]:
    """The potential of each baseline, (B, T, n, n) by name, and the distance to the nearest pattern, (B, T)."""
    b, t = batch["thickness"].shape
    answers = {NAMES[0]: reference.mean.expand(b, t, *reference.mean.shape)}
    distance = torch.zeros(b, t)
    for name, with_lattice in zip(NAMES[1:], (False, True), strict=True):
        rows, gap = nearest(reference, batch, with_lattice)
        answers[name] = _potentials(reference, rows.flatten()).reshape(b, t, *reference.mean.shape)
        distance = distance if with_lattice else gap
    return answers, distance


def _potentials(reference: InverseReference, rows: Tensor) -> Tensor:
    """Potentials of the crystals of some rows: (row, n, n)."""
    images = [torch.as_tensor(reference.source[int(reference.crystals[r])]["potential"])[0] for r in rows.tolist()]
    return resampled(torch.stack(images).float(), reference.mean.shape[-1])


def _best_weight(reference: InverseReference) -> float:
    """The weight of the lattice parameter that finds potentials of training crystals best from each other."""
    count = len(reference.crystals)
    if count < 3:
        return _WEIGHTS[1]
    probe = torch.as_tensor(np.random.default_rng(0).permutation(count)[:_PROBES])
    between = torch.cdist(reference.patterns[probe], reference.patterns).square()
    lattice = (reference.lattice[probe][:, None] - reference.lattice[None, :]).square()
    own = torch.as_tensor(reference.crystals[probe.numpy()][:, None] == reference.crystals[None, :])
    truth = _potentials(reference, probe)
    scores = {}
    for weight in _WEIGHTS:
        total = torch.where(own, torch.inf, between + weight * lattice)
        found = _potentials(reference, total.argmin(dim=1))
        scores[weight] = float(zncc_loss(found, aligned(truth, found)).mean())
    return min(scores, key=lambda weight: scores[weight])
