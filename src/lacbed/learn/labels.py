"""Labels of a stream of crystals: what a worker makes of the rows that were drawn.

Patterns are those of a packaged model, with a mean Z of about 0.1 % for a few per cent of the time, or exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial

import torch
from torch import nn

from lacbed.catalog.files import Row
from lacbed.catalog.rows import crystal_of
from lacbed.crystals import Crystal
from lacbed.datasets.compute import SCALARS, Computed, Conditions, compute_one, conditions_of
from lacbed.datasets.config import DatasetConfig
from lacbed.datasets.plan import Shapes
from lacbed.datasets.worker import Outcome, Stored, encoded, outcome_of, reduced
from lacbed.errors import LacbedError
from lacbed.learn.config import load_config
from lacbed.learn.models import build_model
from lacbed.learn.surrogate import crystal_inputs
from lacbed.patterns.result import software
from lacbed.projection import projected_potential

_LABELLED_BY = {"fast": "downfold-fast", "default": "downfold"}

_FINE = 128, 6.0
"""Pixels along a side and 1/Å of the potentials that the packaged models take."""


def label_rows(
    rows: Sequence[tuple[int, Row]],
    config: DatasetConfig,
    made_by: str,
    device: str = "auto",
    labels: str = "fast",
) -> list[Outcome]:
    """Potential and pattern of some crystals, on one thread; see `lacbed.datasets.worker.compute_rows`.

    Args:
        rows: number and catalogue row of each.
        config: how they are computed; thickness and energy are drawn by the number.
        made_by: program and version of whoever asks.
        device: "cpu"; others are for `labels` "exact" alone.
        labels: as `StreamSettings.labels`.

    Raises:
        LacbedError: if this worker has another version.
    """
    if made_by != software():
        raise LacbedError(f"a worker has {software()}, the training {made_by}; install the same version on both")
    torch.set_num_threads(1)
    return [outcome_of(number, partial(_labelled, number, row, config, device, labels)) for number, row in rows]


def _labelled(number: int, row: Row, config: DatasetConfig, device: str, labels: str) -> Stored:
    crystal = crystal_of(row, config.default_b_iso)
    conditions = conditions_of(config, f"draw {number}")
    if labels == "exact":
        computed = compute_one(crystal, config, conditions, device)
    else:
        computed = _downfolded(crystal, config, conditions, labels)
    return encoded(reduced(computed, conditions, _shapes_of(config).of(row)[0]), config)


@cache
def _shapes_of(config: DatasetConfig) -> Shapes:
    return Shapes(config)


@cache
def _labeller(labels: str, pixels: int, extent: int) -> nn.Module:
    settings = {**load_config(_LABELLED_BY[labels]).model, "pixels": pixels, "extent": extent}
    return build_model(settings).eval()


def _downfolded(crystal: Crystal, config: DatasetConfig, conditions: Conditions, labels: str) -> Computed:
    """What `compute_one` gives, with the pattern of a packaged model.

    The model sees the potential as finely as it was made for, whatever the resolution that is stored.
    """
    fine = {
        "potential_pixels": max(_FINE[0], config.potential_pixels),
        "potential_g_max": max(_FINE[1], config.potential_g_max),
    }
    batch = crystal_inputs([crystal], conditions.thicknesses, conditions.energy, config.to_dict() | fine)
    with torch.inference_mode():
        pattern = _labeller(labels, config.pixels, int(config.extent))(batch)["pattern"][0]
    potential = batch["potential"][0, 0].double().numpy()
    if tuple(fine.values()) != (config.potential_pixels, config.potential_g_max):
        how = config.zone_axis, config.potential_pixels, config.potential_g_max, config.factors
        potential = projected_potential(crystal, *how).values / float(batch["period"])
    scalars = {name: float(batch[name]) for name in SCALARS if name in batch}
    unknown = dict.fromkeys(("beams", "z_reached", "intensity_change_reached"), float("nan"))
    return Computed(pattern.double().numpy()[:, None], potential, unknown | scalars)
