"""How far two images are apart: Z and its companions, differentiable where torch tensors come in.

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
from torch import Tensor

from lacbed.errors import SettingError

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
