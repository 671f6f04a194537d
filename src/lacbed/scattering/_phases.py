"""Sums over atoms of the phases exp(-2πi g·r), quick for many reflections and atoms."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_FULL = 12  # a box with this many places per reflection is still summed as a whole
_FEW = 20_000  # g times atoms up to which sines and cosines cost no more than tables
_CHUNK = 4_000_000  # g times atoms in one block: 64 MB of complex128


def phase_sums(hkl: np.ndarray, groups: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Σ_atoms o exp(-2πi g·r) of groups of atoms: (reflection,) complex128 each, differentiable.

    Reflections that nearly fill a box are summed as products of one-dimensional tables, exp(-2πi h x) and so on,
    which takes no sine or cosine for each reflection and atom.

    Args:
        hkl: reflections: (reflection, 3).
        groups: fractional coordinates (atom, 3) and occupancies (atom,) of each group.
    """
    axes = [np.unique(column, return_inverse=True) for column in np.asarray(hkl).T]
    box = math.prod(len(values) for values, _ in axes)
    many = len(hkl) * sum(len(xyz) for xyz, _ in groups) > _FEW
    if len(hkl) and many and box <= _FULL * len(hkl):
        values = [torch.as_tensor(v, dtype=torch.float64) for v, _ in axes]
        h, k, l = (torch.as_tensor(inverse.reshape(-1)) for _, inverse in axes)  # noqa: E741
        return [_box_sum(values, *group)[h, k, l] for group in groups]
    indices = torch.as_tensor(np.asarray(hkl, dtype=np.float64))
    return [_direct_sum(indices, *group) for group in groups]


def _box_sum(values: list[Tensor], xyz: Tensor, occupancy: Tensor) -> Tensor:
    """The sums at all (h, k, l) of three lists of indices."""
    tables = [_turns(torch.outer(index, place)) for index, place in zip(values, xyz.unbind(dim=1), strict=True)]
    x, y, z = tables  # (index, atom) each
    return torch.stack([(x * layer) @ y.mT for layer in z * occupancy], dim=2)


def _direct_sum(indices: Tensor, xyz: Tensor, occupancy: Tensor) -> Tensor:
    step = max(1, _CHUNK // max(1, len(xyz)))
    pieces = [_turns(part @ xyz.T) @ occupancy.to(torch.complex128) for part in torch.split(indices, step)]
    return torch.cat(pieces) if pieces else torch.zeros(0, dtype=torch.complex128)


def _turns(cycles: Tensor) -> Tensor:
    """exp(-2πi x)."""
    angle = -2.0 * math.pi * cycles
    return torch.complex(torch.cos(angle), torch.sin(angle))
