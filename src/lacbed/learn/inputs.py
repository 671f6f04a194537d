"""From crystals to what a model takes, the same as a data set holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lacbed.datasets.compute import crystal_numbers
from lacbed.learn.symmetry import pattern_symmetry
from lacbed.projection import mean_absorptive_potential, projected_potential

if TYPE_CHECKING:
    from lacbed.crystals import Crystal

ZONE = (0, 0, 1)


def crystal_inputs(
    crystals: Sequence[Crystal], thicknesses: Sequence[float], energy: float, domain: Mapping[str, Any]
) -> dict[str, Tensor]:
    """A batch of crystals at the same thicknesses (Å) and energy (eV); see `lacbed.learn.models`.

    Args:
        crystals: B of them.
        thicknesses: T of them.
        energy: of the electrons.
        domain: how the data were made: "potential_pixels", "potential_g_max", "factors", "absorption".
    """
    images, damping, scalars = [], [], []
    absorption = domain["absorption"]
    absorption = tuple(absorption) if isinstance(absorption, list) else absorption
    for crystal in crystals:
        projected = projected_potential(
            crystal, ZONE, domain["potential_pixels"], domain["potential_g_max"], domain["factors"]
        )
        period = float(projected.attrs["period"])
        images.append(torch.as_tensor(projected.values / period, dtype=torch.float32)[None])
        absorptive = mean_absorptive_potential(
            crystal,
            energy,
            absorption,
            ZONE,
            domain["potential_pixels"],
            domain["potential_g_max"],
            domain["factors"],
        )
        damping.append(torch.as_tensor(absorptive, dtype=torch.float32)[None])
        inner = float(projected.attrs["mean_inner_potential"])
        means = {"mean_inner_potential": inner, "mean_absorptive_potential": float(absorptive.mean())}
        scalars.append({"period": period, **means, **crystal_numbers(crystal, ZONE)})
    batch = {name: torch.tensor([s[name] for s in scalars], dtype=torch.float32) for name in scalars[0]}
    batch["potential"], batch["absorptive"] = torch.stack(images), torch.stack(damping)
    batch["thickness"] = torch.tensor([list(thicknesses)] * len(crystals), dtype=torch.float32)
    batch["energy"] = torch.full((len(crystals),), energy, dtype=torch.float32)
    batch["symmetry"] = pattern_symmetry(batch["potential"])
    return batch
