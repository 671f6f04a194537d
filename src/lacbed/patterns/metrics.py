"""How far two images, or two patterns, are apart: Z and its companions, differentiable for torch tensors.

Every metric works on the last two axes and broadcasts over the others. Pixels that are NaN in either image
are left out of both. A pair without a common pixel gives NaN. NumPy arrays give NumPy results in float64
(float32 if both are float32); if either argument is a torch tensor the result is a tensor that can be
differentiated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from lacbed.errors import SettingError
from lacbed.patterns.schema import axis_step, check_pattern, intensities

_AXES = (-2, -1)


@overload
def zncc_loss(a: Tensor, b: Tensor | npt.ArrayLike) -> Tensor: ...
@overload
def zncc_loss(a: npt.ArrayLike, b: Tensor) -> Tensor: ...
@overload
def zncc_loss(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[Any]: ...
def zncc_loss(a: Any, b: Any) -> Any:
    """Z = 1 - zero-mean normalised cross-correlation: 0 perfect, 1 uncorrelated, 2 inverted.

        Z = 1 - Σ (a - ā)(b - b̄) / sqrt(Σ (a - ā)² Σ (b - b̄)²) = ½ Σ (â - b̂)²

    with â, b̂ shifted to zero mean and scaled to unit norm; the second form is the one computed, which is never
    negative and keeps its digits near 0. Z does not change if an image is shifted or scaled by a positive
    number. A constant image (no contrast above rounding) has no correlation: two constant images give Z = 0, a
    constant one and one with contrast Z = 1, both with zero gradient.

    Args:
        a: images (..., y, x), real.
        b: images that broadcast with `a`.

    Returns:
        Z of each pair, (...).

    Raises:
        SettingError: if the images differ in size, or are complex.

    References:
        Lewis, Fast normalized cross-correlation, Vision Interface (1995); used as the fit index of LACBED by
        Hubert, Römer & Beanland, Ultramicroscopy 198 (2019) 1.
    """
    return _evaluate(_zncc, a, b, real=True)


@overload
def r_factor(a: Tensor, b: Tensor | npt.ArrayLike) -> Tensor: ...
@overload
def r_factor(a: npt.ArrayLike, b: Tensor) -> Tensor: ...
@overload
def r_factor(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[Any]: ...
def r_factor(a: Any, b: Any) -> Any:
    """R = Σ |a - b| / Σ |b|, b being the reference: (..., y, x) twice to (...).

    Two images of zeros give 0; a reference of zeros for anything else gives infinity.

    Raises:
        SettingError: if the images differ in size.
    """
    return _evaluate(_r_factor, a, b)


@overload
def relative_l2(a: Tensor, b: Tensor | npt.ArrayLike) -> Tensor: ...
@overload
def relative_l2(a: npt.ArrayLike, b: Tensor) -> Tensor: ...
@overload
def relative_l2(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[Any]: ...
def relative_l2(a: Any, b: Any) -> Any:
    """L₂ = sqrt(Σ |a - b|² / Σ |b|²), b being the reference: (..., y, x) twice to (...).

    Two images of zeros give 0; a reference of zeros for anything else gives infinity.

    Raises:
        SettingError: if the images differ in size.
    """
    return _evaluate(_relative_l2, a, b)


@overload
def max_difference(a: Tensor, b: Tensor | npt.ArrayLike) -> Tensor: ...
@overload
def max_difference(a: npt.ArrayLike, b: Tensor) -> Tensor: ...
@overload
def max_difference(a: npt.ArrayLike, b: npt.ArrayLike) -> npt.NDArray[Any]: ...
def max_difference(a: Any, b: Any) -> Any:
    """Largest |a - b| over the pixels: (..., y, x) twice to (...), in the unit of the images.

    Raises:
        SettingError: if the images differ in size.
    """
    return _evaluate(_max_difference, a, b)


Metric = Callable[[Tensor, Tensor, Tensor], Tensor]


def _evaluate(metric: Metric, a: Any, b: Any, real: bool = False) -> Any:
    """Bring both to tensors of one type, set unshared pixels to 0, compute, and go back to NumPy if need be."""
    as_numpy = not (isinstance(a, Tensor) or isinstance(b, Tensor))
    first, second = _tensors(a, b)
    _check(first, second, real)
    shared = ~(torch.isnan(first) | torch.isnan(second))
    zero = torch.zeros((), dtype=first.dtype, device=first.device)
    value = metric(torch.where(shared, first, zero), torch.where(shared, second, zero), shared)
    nothing = torch.full_like(value, torch.nan)
    value = torch.where(shared.any(dim=-1).any(dim=-1), value, nothing)
    return value.numpy() if as_numpy else value


def _tensors(a: Any, b: Any) -> tuple[Tensor, Tensor]:
    first, second = (x if isinstance(x, Tensor) else torch.as_tensor(np.array(x)) for x in (a, b))
    device = first.device if isinstance(a, Tensor) else second.device
    dtype = torch.promote_types(first.dtype, second.dtype)
    if not (dtype.is_floating_point or dtype.is_complex):
        dtype = torch.float64
    return first.to(device, dtype), second.to(device, dtype)


def _check(a: Tensor, b: Tensor, real: bool) -> None:
    if a.ndim < 2 or b.ndim < 2 or a.shape[-2:] != b.shape[-2:] or 0 in a.shape[-2:]:
        raise SettingError(
            f"expected two images of the same size (..., y, x), got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    try:
        np.broadcast_shapes(tuple(a.shape), tuple(b.shape))
    except ValueError:
        raise SettingError(f"the stacks {tuple(a.shape)} and {tuple(b.shape)} do not broadcast") from None
    if real and a.dtype.is_complex:
        raise SettingError("Z compares real images, got complex amplitudes; take intensities abs(a)**2 first")


def _zncc(a: Tensor, b: Tensor, shared: Tensor) -> Tensor:
    unit_a, flat_a = _normalised(a, shared)
    unit_b, flat_b = _normalised(b, shared)
    distance = 0.5 * torch.sum((unit_a - unit_b) ** 2, dim=_AXES)
    return torch.where(flat_a ^ flat_b, torch.ones_like(distance), distance)


def _normalised(image: Tensor, shared: Tensor) -> tuple[Tensor, Tensor]:
    """The image with zero mean and unit norm over its shared pixels, and whether it is constant there."""
    image = torch.where(shared, image, torch.zeros_like(image))  # broadcast
    count = shared.sum(dim=_AXES, keepdim=True).clamp(min=1)
    # Scaling by the largest value first keeps very weak images (1e-30) from underflowing when squared.
    largest = image.detach().abs().amax(dim=_AXES, keepdim=True)
    image = image / torch.where(largest > 0, largest, torch.ones_like(largest))
    centred = torch.where(shared, image - image.sum(dim=_AXES, keepdim=True) / count, torch.zeros_like(image))
    square = torch.sum(centred**2, dim=_AXES, keepdim=True)
    flat = square <= count * (16 * torch.finfo(image.dtype).eps) ** 2
    unit = torch.where(flat, torch.zeros_like(centred), centred / torch.where(flat, 1.0, square).sqrt())
    return unit, flat[..., 0, 0]


def _ratio(error: Tensor, size: Tensor) -> Tensor:
    """The ratio error / size with 0 / 0 = 0 and x / 0 = infinity."""
    empty = size == 0
    ratio = error / torch.where(empty, torch.ones_like(size), size)
    return torch.where(empty & (error > 0), torch.full_like(ratio, torch.inf), ratio)


def _r_factor(a: Tensor, b: Tensor, shared: Tensor) -> Tensor:
    return _ratio((a - b).abs().sum(dim=_AXES), torch.where(shared, b, 0 * b).abs().sum(dim=_AXES))


def _relative_l2(a: Tensor, b: Tensor, shared: Tensor) -> Tensor:
    reference = torch.where(shared, b, torch.zeros_like(b))
    return _ratio(torch.linalg.vector_norm(a - b, dim=_AXES), torch.linalg.vector_norm(reference, dim=_AXES))


def _max_difference(a: Tensor, b: Tensor, shared: Tensor) -> Tensor:
    return torch.where(shared, (a - b).abs(), 0.0).amax(dim=_AXES)


_SAME_GRID = 0.01  # pixel; two grids whose pixels are closer than this are one grid
_SAME_THICKNESS = 1e-6


def compare_patterns(a: xr.DataArray, b: xr.DataArray, intersect: bool = False) -> xr.Dataset:
    """How far pattern a is from pattern b, for each thickness and reflection.

    Reflections are matched by their indices and thicknesses by their values, in any order. Amplitudes are
    compared as intensities. Pixels that are NaN in either pattern are left out.

    Args:
        a: a pattern (thickness, hkl, ky, kx).
        b: the reference, on the same grid.
        intersect: compare what both have; otherwise a reflection or thickness that one lacks is an error.

    Returns:
        (thickness, hkl) in the order of `a`: Z, r_factor, relative_l2, max_difference, mean_a, mean_b; see
        `lacbed.patterns.metrics`.

    Raises:
        SettingError: if the grids differ, or reflections or thicknesses do not match.
    """
    first, second = align_patterns(a, b, intersect)
    scores = {
        "Z": zncc_loss(first.values, second.values),
        "r_factor": r_factor(first.values, second.values),
        "relative_l2": relative_l2(first.values, second.values),
        "max_difference": max_difference(first.values, second.values),
        "mean_a": _mean(first.values, second.values),
        "mean_b": _mean(second.values, first.values),
    }
    coords = {key: first.coords[key] for key in ("thickness", "hkl")}
    return xr.Dataset({key: (("thickness", "hkl"), values) for key, values in scores.items()}, coords)


def align_patterns(a: xr.DataArray, b: xr.DataArray, intersect: bool = False) -> tuple[xr.DataArray, xr.DataArray]:
    """Both as intensities with the same reflections and thicknesses in the order of `a`.

    Raises:
        SettingError: see `compare_patterns`.
    """
    first, second = intensities(check_pattern(a)), intensities(check_pattern(b))
    _check_grid(first, second)
    hkl_a, hkl_b = _match_reflections(first, second, intersect)
    row_a, row_b = _match_thicknesses(first, second, intersect)
    return first.isel(hkl=hkl_a, thickness=row_a), second.isel(hkl=hkl_b, thickness=row_b)


def _mean(of: np.ndarray, shared_with: np.ndarray) -> np.ndarray:
    shared = ~(np.isnan(of) | np.isnan(shared_with))
    count = shared.sum(axis=(-2, -1))
    total = np.where(shared, of, 0.0).sum(axis=(-2, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _check_grid(a: xr.DataArray, b: xr.DataArray) -> None:
    for axis in ("ky", "kx"):
        size_a, size_b = a.sizes[axis], b.sizes[axis]
        if size_a != size_b:
            raise SettingError(
                f"the grids differ: {axis} has {size_a} pixels in the first and {size_b} in the second pattern; "
                "simulate both with the same number of pixels"
            )
        off = float(np.max(np.abs(a[axis].values - b[axis].values)))
        if off > _SAME_GRID * axis_step(a[axis]):
            raise SettingError(
                f"the grids differ: {axis} runs from {_range(a, axis)} 1/Å in the first and from "
                f"{_range(b, axis)} 1/Å in the second pattern; simulate both with the same half-width and centre"
            )


def _range(pattern: xr.DataArray, axis: str) -> str:
    return f"{float(pattern[axis][0]):.5g} to {float(pattern[axis][-1]):.5g}"


def _match_reflections(a: xr.DataArray, b: xr.DataArray, intersect: bool) -> tuple[list[int], list[int]]:
    names_a, names_b = ([str(name) for name in p["hkl"].values] for p in (a, b))
    places = {name: i for i, name in enumerate(names_b)}
    common = [name for name in names_a if name in places]
    _report("reflections", names_a, names_b, common, intersect)
    return [names_a.index(name) for name in common], [places[name] for name in common]


def _match_thicknesses(a: xr.DataArray, b: xr.DataArray, intersect: bool) -> tuple[list[int], list[int]]:
    values_a, values_b = (np.asarray(p["thickness"].values, dtype=float) for p in (a, b))
    if len(values_a) == len(values_b) == 1 and np.isnan([*values_a, *values_b]).any():
        return [0], [0]  # a measured pattern whose thickness is not known
    pairs = []
    for i, value in enumerate(values_a):
        near = int(np.argmin(np.abs(values_b - value)))
        if abs(values_b[near] - value) <= _SAME_THICKNESS * max(1.0, abs(value)):
            pairs.append((i, near))
    text_a, text_b = ([f"{v:g} Å" for v in values] for values in (values_a, values_b))
    _report("thicknesses", text_a, text_b, [text_a[i] for i, _ in pairs], intersect)
    return [i for i, _ in pairs], [j for _, j in pairs]


def _report(what: str, a: list[str], b: list[str], common: list[str], intersect: bool) -> None:
    if not common:
        raise SettingError(f"the patterns have no {what} in common: {_few(a)} and {_few(b)}")
    only_a, only_b = ([v for v in values if v not in common] for values in (a, b))
    if (only_a or only_b) and not intersect:
        where = " and ".join(
            f"only the {name} has {_few(values)}"
            for name, values in (("first", only_a), ("second", only_b))
            if values
        )
        raise SettingError(f"the {what} differ: {where}; intersect=True (--intersect) compares what both have")


def _few(values: list[str]) -> str:
    shown = "; ".join(values[:4])
    return shown if len(values) <= 4 else f"{shown}; and {len(values) - 4} more"
