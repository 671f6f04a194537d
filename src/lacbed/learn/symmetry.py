"""Symmetry of the pattern of 000 read off the potential image, and patterns that have it by construction.

An operation of the square that leaves the projected potential unchanged up to a shift leaves the pattern of 000
unchanged. In the zero-order Laue zone reciprocity adds I(k) = I(-k) for every crystal. (See
`lacbed.geometry.symmetry`; here the operations are found from the image, so that no structure is needed.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

OPERATIONS = tuple(
    (swap, up, across) for swap in (False, True) for up in (False, True) for across in (False, True)
)
"""The eight operations of the square: exchange the axes, then reverse y, then reverse x. Identity first."""

_GRID = 32  # pixels on which images are compared; holds every shift that space groups know (1/8, 1/4, ...)
_INVERSION = (False, True, True)


def apply_to_pattern(pattern: Tensor, operation: tuple[bool, bool, bool]) -> Tensor:
    """A pattern (..., y, x), pixel centres symmetric about 0, after one operation."""
    swap, up, across = operation
    moved = pattern.transpose(-2, -1) if swap else pattern
    axes = [axis for axis, wanted in ((-2, up), (-1, across)) if wanted]
    return moved.flip(axes) if axes else moved


def apply_to_cell(image: Tensor, operation: tuple[bool, bool, bool]) -> Tensor:
    """A periodic image (..., y, x) with pixel i at i/n, after one operation about pixel 0."""
    swap, up, across = operation
    moved = image.transpose(-2, -1) if swap else image
    for axis, wanted in ((-2, up), (-1, across)):
        if wanted:
            moved = moved.flip(axis).roll(1, axis)
    return moved


@torch.no_grad()
def pattern_symmetry(potential: Tensor, tolerance: float = 1e-5) -> Tensor:
    """Which of the eight operations the pattern of 000 has: (B, 1, n, n) to zeros and ones (B, 8).

    An operation R counts if max over shifts of the correlation between V and V∘R is at least 1 - tolerance, or if
    this holds for -R. The low-passed image is compared, on a grid of at most 32 x 32 shifts.
    """
    n = potential.shape[-1]
    grid = min(n, _GRID)
    half = grid // 2
    keep = torch.cat([torch.arange(0, half), torch.arange(-half + 1, 0)]).to(potential.device)
    spectrum = torch.zeros(len(potential), grid, grid, dtype=torch.complex64, device=potential.device)
    full = torch.fft.fft2(potential[:, 0].float())
    spectrum[:, (keep % grid)[:, None], keep % grid] = full[:, (keep % n)[:, None], keep % n]
    spectrum[:, 0, 0] = 0.0
    norm = (spectrum.abs() ** 2).sum(dim=(1, 2)).clamp(min=1e-30)
    found = {}
    for operation in OPERATIONS:
        moved = apply_to_cell(spectrum, operation)
        correlation = torch.fft.ifft2(moved * spectrum.conj()).real * grid**2
        found[operation] = correlation.amax(dim=(1, 2)) >= (1.0 - tolerance) * norm
    columns = [found[o] | found[_times_inversion(o)] for o in OPERATIONS]
    columns[0] = torch.ones_like(columns[0])  # the identity, of an image without contrast too
    return torch.stack(columns, dim=1).float()


def _times_inversion(operation: tuple[bool, bool, bool]) -> tuple[bool, bool, bool]:
    swap, up, across = operation
    return swap, up != _INVERSION[1], across != _INVERSION[2]


def symmetrise(pattern: Tensor, symmetry: Tensor) -> Tensor:
    """Mean over the operations that hold: pattern (B, T, m, m) and symmetry (B, 8) to (B, T, m, m)."""
    total = torch.zeros_like(pattern)
    for number, operation in enumerate(OPERATIONS):
        total = total + symmetry[:, number, None, None, None] * apply_to_pattern(pattern, operation)
    return total / symmetry.sum(dim=1)[:, None, None, None]


_WIDTH = 0.01
"""Standard deviation in a of the Gaussian under which columns are compared; single pixels must not decide."""

_TIE = 1e-3
"""Columns that differ by less than this share count as equal; the first one is taken."""


def heaviest_at_origin(potential: Tensor) -> Tensor:
    """Periodic images moved so that their highest place, slightly blurred, lies at pixel 0: (B, 1, n, n) likewise.

    Of places that are equal, the first one in the order of the pixels is taken. If a translation of the crystal
    joins them they give the same image; if a rotation or a glide does, one that is turned or reflected.
    """
    n = potential.shape[-1]
    with torch.autocast(potential.device.type, enabled=False):
        blurred = _blurred(potential.detach().float()).flatten(1)
        highest = blurred.amax(dim=1, keepdim=True)
        place = (blurred >= highest - _TIE * highest.abs()).float().argmax(dim=1)
    order = torch.arange(n, device=potential.device)
    rows = (order + place.div(n, rounding_mode="floor")[:, None]) % n
    columns = (order + (place % n)[:, None]) % n
    moved = potential.gather(2, rows[:, None, :, None].expand_as(potential))
    return moved.gather(3, columns[:, None, None, :].expand_as(potential))


def _blurred(images: Tensor) -> Tensor:
    """Convolution with the periodic Gaussian, one axis after the other."""
    n = images.shape[-1]
    reach = max(1, min(n // 2 - 1, round(4 * _WIDTH * n)))
    offsets = torch.arange(-reach, reach + 1, device=images.device) / n
    kernel = torch.exp(-0.5 * (offsets / _WIDTH).square())
    kernel = kernel / kernel.sum()
    for shape, pad in (((1, 1, -1, 1), (0, 0, reach, reach)), ((1, 1, 1, -1), (reach, reach, 0, 0))):
        images = nn.functional.conv2d(nn.functional.pad(images, pad, mode="circular"), kernel.reshape(shape))
    return images


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
