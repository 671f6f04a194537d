"""The start of a retrieval: the potential of a similar crystal, any image, or the answer of a learned inverse."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from scipy.interpolate import RectBivariateSpline, RegularGridInterpolator
from torch import Tensor

from lacbed.catalog.generate import all_candidates, crystal_of_candidate
from lacbed.crystals import Crystal
from lacbed.crystals.cell import FloatArray
from lacbed.crystals.named import named_rows
from lacbed.errors import FileFormatError, SettingError
from lacbed.identification.identify import identify
from lacbed.identification.predictors import Target, learned_where_known
from lacbed.learn.checkpoint import LoadedModel, load_model
from lacbed.learn.domain import is_cubic, range_text
from lacbed.learn.models import predicts
from lacbed.learn.surrogate import find_model
from lacbed.projection import projected_potential
from lacbed.retrieval.forward import Foil

_FEWEST = 8
_LARGEST = 1e4


SIMPLE = frozenset(
    {
        "antifluorite", "antiperovskite", "B2", "bcc", "CsCl", "Cu2O", "diamond", "fcc", "fluorite",
        "half-Heusler", "Heusler L2_1", "L1_2", "perovskite", "ReO3", "rock salt", "zinc blende",
    }
)  # fmt: skip
"""Prototypes of which thousands of crystals are made in a second."""

COMPARED = 100
"""So many generated crystals are compared with the pattern, beside the built-in ones."""

STRAIN = 0.06
"""Largest relative change of the lattice parameter by which a crystal is brought to that of the foil."""


def similar_potential(
    target: Target, foil: Foil, progress: Callable[[float], None] | None = None
) -> tuple[Tensor, str]:
    """The potential in V, (n, n), of the cubic crystal whose pattern is most similar, and its name.

    Built-in crystals and generated ones of `SIMPLE` with nearly the lattice parameter of the foil are strained to
    it and compared with the inner part of the pattern by the learned simulator, or by few beams outside its range.

    Raises:
        SettingError: if none of them has nearly this lattice parameter.
    """
    crystals = similar_crystals(foil.lattice_parameter)
    found = identify(
        replace(target, energy=foil.energy, zone_axis=(0, 0, 1)),
        crystals,
        [foil.thickness],
        keep=0,
        predictor=learned_where_known(),
        progress=progress,
    )
    best = crystals[found.candidates[0].index]
    return given_potential(projected_potential(best)), best.name


def similar_crystals(lattice_parameter: float) -> list[Crystal]:
    """Cubic crystals that need a strain of at most `STRAIN`, brought to a lattice parameter in Å.

    Raises:
        SettingError: if there is none.
    """
    near = [c for c in all_candidates(SIMPLE) if abs(c.a / lattice_parameter - 1.0) <= STRAIN]
    near.sort(key=lambda c: abs(c.a - lattice_parameter))
    by_prototype = [[c for c in near if c.prototype == name] for name in sorted(SIMPLE)]
    turns = itertools.chain.from_iterable(
        itertools.zip_longest(*by_prototype)
    )  # all prototypes, the closest first
    chosen = itertools.islice((c for c in turns if c is not None), COMPARED)
    crystals = [crystal_of_candidate(c) for c in chosen]
    named = [
        Crystal.named(row.name) for row in named_rows() if abs(row.cell[0] / lattice_parameter - 1.0) <= STRAIN
    ]
    crystals += [crystal for crystal in named if is_cubic(crystal)]
    if not crystals:
        raise SettingError(
            f"no cubic crystal with a lattice parameter near {lattice_parameter:g} Å is at hand as a start; give "
            "the potential of a similar crystal (--start)"
        )
    a = lattice_parameter
    return [replace(crystal, cell=(a, a, a, *crystal.cell[3:])) for crystal in crystals]


def load_inverse(model: str | Path) -> LoadedModel:
    """A model from pattern to potential, from the folder that `lacbed train inverse` made.

    Raises:
        FileFormatError: if there is no such model or it is damaged. None is packaged: as a start, the potential of
            the crystal with the most similar pattern is better (docs/benchmarks/retrieval.md).
        SettingError: if it predicts something else, or was saved without the domain in which it holds.
    """
    if not Path(model).exists() and str(model) == "inverse":
        raise FileFormatError(
            "no learned inverse is packaged; leave --model out to start from the most similar crystal, or train "
            "one (lacbed train inverse --data DATA.zarr --out run) and name its folder (--model run)"
        )
    folder = find_model(model)
    loaded = load_model(folder)
    name = loaded.record["config"]["model"]["name"]
    if predicts(name) != "potential":
        raise SettingError(f"{folder} is a {name}, which predicts patterns; retrieval needs an inverse")
    if "domain" not in loaded.record:
        raise SettingError(
            f"{folder} does not state its training range; finish its training (lacbed train ... --resume) first"
        )
    return loaded


def learned_potential(target: Target, foil: Foil, model: LoadedModel) -> Tensor:
    """The potential in V by a learned inverse: (n, n).

    Raises:
        SettingError: if thickness, voltage or size of the pattern are not what it has learned.
    """
    domain = model.record["domain"]
    for name, value, factor, unit in (
        ("thickness", foil.thickness, 1.0, "Å"),
        ("energy", foil.energy, 1e-3, "kV"),
    ):
        low, high = domain[name]
        if not low * (1 - 1e-6) <= value <= high * (1 + 1e-6):
            raise SettingError(
                f"the learned inverse is valid for {range_text((factor * low, factor * high), unit)} only, got "
                f"{factor * value:g} {unit}; give another start (--start), such as that of a similar crystal"
            )
    pixels, extent = int(domain["pixels"]), float(domain["extent"])
    if half_width(target, foil) < extent * (1 - 1e-3):
        raise SettingError(
            f"the learned inverse needs a pattern of ±{extent:g} a*, got ±{half_width(target, foil):.3g} a*; give "
            "another start (--start)"
        )
    axis = (np.arange(pixels) - pixels / 2 + 0.5) * (2.0 * extent / pixels)
    image = torch.as_tensor(sample(target, axis / foil.lattice_parameter), dtype=torch.float32)
    image = torch.where(torch.isfinite(image), image, image[torch.isfinite(image)].mean())
    batch = {
        "pattern": image[None, None],
        "lattice_parameter": torch.tensor([foil.lattice_parameter]),
        "thickness": torch.tensor([[foil.thickness]]),
        "energy": torch.tensor([foil.energy]),
    }
    with torch.inference_mode():
        answer: Tensor = model.model(batch)["potential"][0, 0].double().clone()
    return answer


def given_potential(potential: xr.DataArray) -> Tensor:
    """A potential that `lacbed.projected_potential` or a retrieval made, as the mean along the beam in V: (n, n).

    Raises:
        SettingError: if it is none, in another unit than V Å (with its period) or V, not of a square cell, or as
            `check_start` says.
    """
    if potential.dims != ("v", "u") or potential.sizes["v"] != potential.sizes["u"]:
        raise SettingError(f"a start is a square potential with dims ('v', 'u'), got {dict(potential.sizes)}")
    cell = np.asarray(potential.attrs.get("cell", ()), dtype=float)
    if cell.size == 4:
        a, b = cell.reshape(2, 2).T
        if abs(a @ b) > 1e-3 * (a @ a) or abs(a @ a - b @ b) > 2e-3 * (a @ a):
            raise SettingError(
                "a start must have a square cell; retrieval is for square zones such as cubic [001]"
            )
    units, period = potential.attrs.get("units"), potential.attrs.get("period")
    if units not in ("V Å", "V") or potential.dtype.kind not in "fiu":
        raise SettingError(
            f"a start holds real numbers in V Å or V (units), got {potential.dtype} in {units!r}; use a file of "
            "lacbed potential or of an earlier retrieval"
        )
    period = 1.0 if units == "V" and period is None else period
    if not isinstance(period, int | float | np.number) or not 0.0 < float(period) < math.inf:
        raise SettingError(f"a start in V Å states its period along the beam in Å, above 0, got {period!r:.40}")
    values = torch.as_tensor(potential.values / float(period), dtype=torch.float64)
    check_start(values)
    return values


def check_start(values: Tensor) -> None:
    """Refuse an image of a potential in V from which no retrieval can begin.

    Raises:
        SettingError: if it is no (n, n) with n at least 8, holds numbers that are not finite or impossibly large,
            or is the same everywhere.
    """
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < _FEWEST:
        raise SettingError(
            f"a start has n x n pixels, n at least {_FEWEST}, got {' x '.join(str(n) for n in values.shape)}"
        )
    missing = int((~torch.isfinite(values)).sum())
    if missing:
        raise SettingError(f"{missing} of the {values.numel()} pixels of the start are NaN or infinite")
    largest = float(values.abs().max())
    if largest > _LARGEST:
        raise SettingError(
            f"the start reaches {largest:.3g} V averaged along the beam; no crystal exceeds {_LARGEST:g} V"
        )
    if float(values.max() - values.min()) <= 1e-9 * largest:
        raise SettingError("the start is the same everywhere; it must be the potential of a crystal")


def half_width(target: Target, foil: Foil) -> float:
    """Half-width of a pattern in a*, to the outer edges of its pixels."""
    least = min(abs(float(k)) for axis in (target.kx, target.ky) for k in (axis[0], axis[-1]))
    return (least + 0.5 * target.pixel) * foil.lattice_parameter


def sample(target: Target, axis: npt.NDArray[np.floating]) -> FloatArray:
    """The image at kx, ky = `axis` in 1/Å by splines, NaN beside pixels that are NaN: (m, m)."""
    known = np.isfinite(target.image)
    filled = np.where(known, target.image, target.image[known].mean())
    values = RectBivariateSpline(target.ky, target.kx, filled)(axis, axis)
    if not known.all():
        inside = RegularGridInterpolator(
            (target.ky, target.kx), known.astype(float), bounds_error=False, fill_value=1.0
        )
        weight = inside(np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1))
        values = np.where(weight > 1.0 - 1e-9, values, np.nan)
    return np.asarray(values)
