"""What a model is judged against: answers that need no learning at all.

The published autoencoder beat its nearest-neighbour baseline on half of the crystals only, so every report shows
these on the same split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lacbed.learn import data

NAMES = ("mean pattern", "nearest neighbour", "nearest neighbour with a")
_GRID = 32  # pixels a side on which potentials are compared
_BATCH = 32
_WEIGHTS = (0.3, 1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class Reference:
    """The training crystals as a table.

    Attributes:
        source: the data set, for the patterns of those that are chosen.
        members: positions in it of the crystals: (crystal,).
        potential: low-passed images, in units of the spread over all crystals: (crystal, pixel).
        lattice: ln a: (crystal,).
        mean: mean pattern, (m, m).
        weight: of (Δ ln a)² beside the squared distance of potentials.
        scale: V that count as 1.
    """

    source: data.PatternData
    members: np.ndarray
    potential: Tensor
    lattice: Tensor
    mean: Tensor
    weight: float
    scale: float


def make_reference(
    source: data.PatternData,
    members: np.ndarray | None = None,
    progress: Callable[[float], None] | None = None,
) -> Reference:
    """Read the training crystals once.

    The weight of the lattice parameter is the one of a few that gives the least Z when up to 200 of the training
    crystals are predicted from the others.

    Args:
        source: the training split.
        members: positions of those that the model has seen; default all.
        progress: called with the fraction done.
    """
    members = np.arange(len(source)) if members is None else members
    images, lattices, total = [], [], torch.zeros((), dtype=torch.float64)
    batches = [members[i : i + _BATCH].tolist() for i in range(0, len(members), _BATCH)]
    for number, batch in enumerate(data.load(source, batches), start=1):
        images.append(shrink(batch["potential"]))
        lattices.append(torch.log(batch["lattice_parameter"]))
        total = total + batch["pattern"].double().mean(dim=1).sum(dim=0)
        if progress is not None:
            progress(number / len(batches))
    potential = torch.cat(images)
    scale = float((potential - potential.mean(dim=0)).square().sum(dim=1).mean().sqrt()) or 1.0
    mean = (total / len(members)).float()
    made = Reference(source, members, potential / scale, torch.cat(lattices), mean, 0.0, scale)
    return Reference(**{**made.__dict__, "weight": _best_weight(made)})


def shrink(potential: Tensor) -> Tensor:
    """Low-passed potentials on a coarse grid, flat, so that distances stay those of the images: (B, p)."""
    n = potential.shape[-1]
    grid = min(n, _GRID)
    keep = torch.cat([torch.arange(0, grid // 2), torch.arange(-(grid // 2) + 1, 0)])
    spectrum = torch.fft.fft2(potential[:, 0].float()) / n**2
    small = spectrum[:, keep % n][:, :, keep % n].flatten(1)
    return torch.view_as_real(small).flatten(1)


def distances(reference: Reference, batch: data.Batch, with_lattice: bool) -> Tensor:
    """Squared distance of every crystal of a batch to every training crystal: (B, crystal)."""
    potential = shrink(batch["potential"]) / reference.scale
    squared = torch.cdist(potential, reference.potential).square()
    if with_lattice:
        difference = torch.log(batch["lattice_parameter"])[:, None] - reference.lattice[None, :]
        squared = squared + reference.weight * difference.square()
    return squared


def predict_baselines(reference: Reference, batch: data.Batch) -> dict[str, Tensor]:
    """The pattern of each baseline: name to (B, T, m, m).

    A neighbour answers with the pattern at its thickness nearest to the one asked for.
    """
    b, t = batch["thickness"].shape
    answers = {NAMES[0]: reference.mean.expand(b, t, *reference.mean.shape)}
    for name, with_lattice in zip(NAMES[1:], (False, True), strict=True):
        nearest = distances(reference, batch, with_lattice).argmin(dim=1)
        answers[name] = _patterns_of(reference, nearest.tolist(), batch["thickness"])
    return answers


def _patterns_of(reference: Reference, rows: Sequence[int], thickness: Tensor) -> Tensor:
    found = []
    for row, wanted in zip(rows, thickness, strict=True):
        neighbour = data.collate([reference.source[int(reference.members[row])]])
        gap = (neighbour["thickness"][0][None, :] - wanted[:, None]).abs()
        found.append(neighbour["pattern"][0, gap.argmin(dim=1)])
    return torch.stack(found)


def _best_weight(reference: Reference) -> float:
    """The weight of the lattice parameter that predicts training crystals from each other best."""
    from lacbed.patterns.metrics import zncc_loss

    count = len(reference.members)
    if count < 3:
        return 1.0
    probe = np.random.default_rng(0).permutation(count)[: min(count, 200)]
    between = torch.cdist(reference.potential[probe], reference.potential).square()
    lattice = (reference.lattice[probe][:, None] - reference.lattice[None, :]).square()
    truth = [_first_pattern(reference, int(i)) for i in probe]
    scores = {}
    for weight in _WEIGHTS:
        total = between + weight * lattice
        total[torch.arange(len(probe)), torch.as_tensor(probe)] = torch.inf
        guess = [_first_pattern(reference, int(i)) for i in total.argmin(dim=1)]
        scores[weight] = float(zncc_loss(torch.stack(guess), torch.stack(truth)).mean())
    return min(scores, key=lambda weight: scores[weight])


def _first_pattern(reference: Reference, row: int) -> Tensor:
    pattern = torch.as_tensor(reference.source[int(reference.members[row])]["pattern"])
    return pattern[0, 0].float()
