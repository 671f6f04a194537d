"""Pictures of an extraction: what was found, and what each correction did."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lacbed.experiment.experiment import images_to_pattern
from lacbed.experiment.extract.look import Look
from lacbed.experiment.extract.pipeline import Extraction, kept_images
from lacbed.patterns.figures import style
from lacbed.patterns.schema import hkl_math

Array = NDArray[np.float64]
_MOST_NAMES = 40


def _axes(figure: Figure, count: int) -> list[Axes]:
    figure.set_facecolor(style.PAPER)
    out = [figure.add_subplot(1, count, i + 1) for i in range(count)]
    for axes in out:
        axes.set_facecolor(style.PAPER)
        axes.tick_params(colors=style.QUIET, labelsize=7)
        for side in axes.spines.values():
            side.set_color(style.QUIET)
    return out


def _title(axes: Axes, text: str) -> None:
    axes.set_title(text, color=style.INK, fontsize=9)


def _show(axes: Axes, image: Array | NDArray[np.float32], text: str, root: bool = True) -> None:
    known = image[np.isfinite(image)]
    low, high = np.percentile(known, [1, 99.7]) if known.size else (0.0, 1.0)
    shown = np.clip((image - low) / max(float(high - low), 1e-12), 0, 1)
    axes.imshow(np.sqrt(shown) if root else shown, cmap="gray", interpolation="nearest", vmin=0, vmax=1)
    _title(axes, text)


def frames_figure(look: Look) -> Figure:
    """The mean of the frames as they came and with the pattern held still, and the profile of a disc."""
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    before, after, profile = _axes(figure, 3)
    _show(before, look.raw_mean, "mean frame, as recorded")
    _show(after, look.mean, "with descan error and drift corrected")
    broken = np.argwhere(look.camera.broken)
    if len(broken):
        before.plot(broken[:, 1], broken[:, 0], "o", mfc="none", mec=style.ACCENT, ms=5, mew=0.7)
    if look.camera.blind.any():
        after.contour(look.camera.blind, [0.5], colors=[style.ACCENT], linewidths=0.8)
    r, p = look.aperture.profile.T
    profile.plot(r, p, color=style.INK, lw=1.2)
    profile.axvline(look.aperture.radius, color=style.ACCENT, lw=1, ls="--")
    profile.set_xlabel("distance from the middle / pixels", color=style.QUIET, fontsize=8)
    _title(profile, f"mean disc; aperture {look.aperture.radius:.2f} pixels")
    return figure


def track_figure(look: Look) -> Figure:
    """The track of the pattern over the scan, along both axes, and the tilts that are masked."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    rows, columns, tilts = _axes(figure, 3)
    moved = look.track.places - look.middle
    for axes, axis, name in ((rows, 0, "down the camera"), (columns, 1, "across the camera")):
        shown = axes.imshow(moved[..., axis], cmap="RdBu_r", interpolation="nearest")
        bar = figure.colorbar(shown, ax=axes, shrink=0.8)
        bar.ax.tick_params(colors=style.QUIET, labelsize=7)
        _title(axes, f"displacement {name} / pixels")
    state = np.where(~look.scan.known, 0.0, np.where(look.track.lost, 0.5, 1.0))
    tilts.imshow(state, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    _title(tilts, "tilts: white used, grey lost, black no frame")
    return figure


def indices_figure(extraction: Extraction) -> Figure:
    """The mean frame with the indices of the discs."""
    look, o = extraction.look, extraction.orientation
    figure = Figure(figsize=(7.2, 7.2), layout="constrained")
    (axes,) = _axes(figure, 1)
    _show(axes, look.mean, "mean frame with indices")
    rows = kept_images(extraction.stack, look.lattice.sites, o.origin)
    places = look.middle + look.lattice.places()
    hkl = o.indexing.of(look.lattice.sites - o.origin)
    for i in rows[:_MOST_NAMES]:
        y, x = places[i]
        name = hkl_math(",".join(str(n) for n in hkl[i].tolist()))
        axes.annotate(
            name, (x, y), (0, 1.0 * look.aperture.radius + 1), textcoords="offset points", color=style.ACCENT,
            fontsize=8, ha="center", va="bottom", path_effects=style.outlined(),
        )  # fmt: skip
    beam = look.middle + o.origin @ look.lattice.basis
    axes.plot(beam[1], beam[0], "+", color=style.ACCENT, ms=12)
    axes.set_xlim(-0.5, look.mean.shape[1] - 0.5)
    axes.set_ylim(look.mean.shape[0] - 0.5, -0.5)
    return figure


def lines_figure(extraction: Extraction) -> Figure:
    """Image of the direct beam and of the two strongest others with the Bragg lines of the lattice."""
    look, stack, o = extraction.look, extraction.stack, extraction.orientation
    figure = Figure(figsize=(11, 3.9), layout="constrained")
    panels = _axes(figure, 3)
    rows = kept_images(stack, look.lattice.sites, o.origin)
    sites = look.lattice.sites - o.origin
    inside = np.moveaxis(np.mgrid[: stack.images.shape[1], : stack.images.shape[2]], 0, -1)
    k = o.tilts.k(inside) @ o.indexing.vectors
    for axes, i in zip(panels, rows[:3].tolist(), strict=False):
        name = ",".join(str(n) for n in o.indexing.of(sites[i]).tolist())
        _show(axes, stack.images[i], f"{hkl_math(name)} over the scan", root=True)
        drawn = sites[rows[:13]] if not sites[i].any() else sites[[i]]
        for site in drawn:
            g = site @ o.indexing.vectors
            if np.linalg.norm(g) > 1e-9:
                axes.contour(k @ g + g @ g / 2, [0.0], colors=[style.ACCENT], linewidths=0.6)
        y, x = o.tilts.centre(sites[i])
        if 0 <= x < stack.images.shape[2] and 0 <= y < stack.images.shape[1]:
            axes.plot(x, y, "x", color=style.ACCENT, ms=6)
    return figure


def background_figure(extraction: Extraction) -> Figure:
    """One image before and after the background was taken away, the background, and the noise."""
    e = extraction.experiment
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = _axes(figure, 4)
    strong = int(np.argmax([np.nanmean(i) for i in e.images]))
    under, noise = e.background, e.variance
    assert under is not None
    assert noise is not None
    parts = (
        (e.images[strong] + under[strong], "with background"),
        (under[strong], "background"),
        (e.images[strong], f"{hkl_math(e.labels[strong])} without it"),
        (np.sqrt(noise[strong]), "standard uncertainty"),
    )
    for axes, (image, text) in zip(panels, parts, strict=True):
        _show(axes, images_to_pattern(image, "-y+x"), text, root=False)
    return figure
