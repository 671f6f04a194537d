"""Large pixels: means over squares of pixels."""

from __future__ import annotations

from lacbed.crystals.cell import FloatArray


def largest_binning(pixels: int, least: float) -> int:
    """The largest factor that divides a side of `pixels` and leaves at least `least` of them; 1 if none does."""
    return max(f for f in range(1, pixels + 1) if pixels % f == 0 and (f == 1 or pixels / f >= least))


def binned_images(images: FloatArray, factor: int) -> FloatArray:
    """Means over `factor` x `factor` pixels, NaN where any of them is: (reflection, n, n), `factor` divides n."""
    side = images.shape[-1] // factor
    means: FloatArray = images.reshape(len(images), side, factor, side, factor).mean(axis=(2, 4))
    return means
