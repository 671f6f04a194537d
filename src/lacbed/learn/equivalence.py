"""Potentials that the pattern of 000 cannot tell apart: one representative, and the one nearest to an answer.

In one Laue zone V(x), V(x - s) for every s, and V(s - x) give the same pattern of 000 (docs/physics.md#same-000
has the proofs). What predicts a potential learns one representative, and is judged by the nearest one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_TIED = 1e-3  # of the power: places that are centres of inversion as well as the best one
_SHORTER = 1e-6  # of the correlation: the inverse image must be better by this, so that rounding does not decide


def resampled(image: Tensor, pixels: int) -> Tensor:
    """A periodic image on another number of pixels, by its Fourier coefficients: (..., n, n) to (..., p, p)."""
    n = image.shape[-1]
    if n == pixels:
        return image
    return _image(_cut(_spectrum(image), pixels))


@torch.no_grad()
def canonical(potential: Tensor) -> Tensor:
    """The representative with a centre of inversion at pixel 0, and the highest potential there: (..., n, n).

    Of several centres, the one with the highest potential; without a centre, the point about which the image is
    most like its inverse. A cubic crystal along [001] has centres: the axis is two-fold in projection.
    """
    n = potential.shape[-1]
    spectrum = _spectrum(_flat(potential))
    twice = _image(spectrum * spectrum)  # Σ V(y) V(x - y): the image against its inverse about x / 2
    power = spectrum.abs().square().sum(dim=(-2, -1))[..., None, None]
    likeness = twice.repeat(*[1] * (twice.ndim - 2), 2, 2) / power.clamp(min=1e-30)
    fine = _image(_cut(spectrum, 2 * n))  # x / 2 lies on a grid twice as fine
    best = likeness.amax(dim=(-2, -1), keepdim=True)
    height = torch.where(likeness >= best - _TIED, fine, -math.inf).flatten(-2)
    place = height.argmax(dim=-1)
    return _moved(potential, -(place // (2 * n)), -(place % (2 * n)), 2 * n)


@torch.no_grad()
def aligned(truth: Tensor, answer: Tensor, grid: int = 0) -> Tensor:
    """Of all potentials that give the same pattern as `truth`, the one nearest to `answer`: (..., n, n).

    Args:
        truth: (..., n, n).
        answer: (..., n, n), broadcasts with it.
        grid: shifts tried along each side; default n.
    """
    grid = max(grid, truth.shape[-1])
    shape = torch.broadcast_shapes(truth.shape, answer.shape)  # type: ignore[no-untyped-call]
    truth, answer = truth.expand(shape), answer.expand(shape)
    reference = _spectrum(_flat(answer))
    found = []
    for image in (truth, truth.roll((-1, -1), (-2, -1)).flip(-2, -1)):
        overlap = _image(_cut(reference * _spectrum(_flat(image)).conj(), grid)).flatten(-2)
        value, place = overlap.max(dim=-1)
        found.append((value, _moved(image, place // grid, place % grid, grid)))
    (straight, here), (inverse, there) = found
    return torch.where((inverse > straight + _SHORTER * straight.abs())[..., None, None], there, here)


def _flat(image: Tensor) -> Tensor:
    return image - image.mean(dim=(-2, -1), keepdim=True)


def _spectrum(image: Tensor) -> Tensor:
    """V_hk, the middle of the table being (0, 0): (..., n, n), without the orders -n/2 of an even n."""
    n = image.shape[-1]
    table: Tensor = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1)) / n**2
    if n % 2 == 0:
        table[..., 0, :], table[..., :, 0] = 0.0, 0.0
    return table


def _cut(table: Tensor, pixels: int) -> Tensor:
    """The table of an image of another size."""
    change = pixels // 2 - table.shape[-1] // 2
    after = pixels - table.shape[-1] - change
    cut = torch.nn.functional.pad(table, (change, after, change, after))
    if pixels % 2 == 0:
        cut[..., 0, :], cut[..., :, 0] = 0.0, 0.0
    return cut


def _image(table: Tensor) -> Tensor:
    n = table.shape[-1]
    image: Tensor = torch.fft.ifft2(torch.fft.ifftshift(table, dim=(-2, -1))).real * n**2
    return image


def _moved(image: Tensor, down: Tensor, right: Tensor, parts: int) -> Tensor:
    """The image after a shift by whole parts of the cell, (...) each."""
    n = image.shape[-1]
    order = torch.arange(n, device=image.device) - n // 2
    y, x = (
        torch.polar(torch.ones_like(angle), angle)
        for angle in ((-2.0 * math.pi / parts) * (s[..., None] * order).to(image.dtype) for s in (down, right))
    )
    table = torch.fft.fftshift(torch.fft.fft2(image), dim=(-2, -1)) / n**2
    return _image(table * y[..., :, None] * x[..., None, :])
