"""A retrieval as a picture: the pattern and how both potentials explain it, and the potentials."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lacbed.patterns.figures import style
from lacbed.patterns.schema import number_text
from lacbed.retrieval.retrieve import Retrieval

_MARGIN, _GAP, _SIDE, _HEAD, _FOOT = 0.22, 0.08, 2.0, 0.34, 0.3


def retrieval_figure(result: Retrieval, name: str = "") -> Figure:
    """Above: measured pattern, pattern of the start, pattern of the refined potential; below: the potentials.

    Args:
        result: what to draw.
        name: of the pattern, for the caption.
    """
    width = 2 * _MARGIN + 3 * _SIDE + 2 * _GAP
    figure = style.new_figure(width, _MARGIN + 2 * (_HEAD + _SIDE) + _FOOT)
    patterns = [image.numpy() for image in (result.measured, result.before, result.after)]
    titles = ["measured", f"start, Z {100 * result.z[0]:.3g} %", f"refined, Z {100 * result.z[-1]:.3g} %"]
    for column, (image, title) in enumerate(zip(patterns, titles, strict=True)):
        low, high = style.limits(image)
        _panel(figure, column, 0, image, title, {"cmap": style.grey_map(), "vmin": low, "vmax": high})
    potentials = [np.tile(image.numpy(), (2, 2)) for image in (result.start, result.potential)]
    low, high = style.limits(np.stack(potentials), clip=0.0)
    change = potentials[1] - potentials[0]
    reach = float(np.abs(change).max()) or 1e-12
    looks = [{"cmap": "inferno", "vmin": low, "vmax": high}] * 2
    looks.append({"cmap": style.DIFFERENCE, "vmin": -reach, "vmax": reach})
    titles = ["potential, start", "potential, refined", f"change, ±{reach:.2g} V"]
    for column, (image, title, look) in enumerate(zip([*potentials, change], titles, looks, strict=True)):
        _panel(figure, column, 1, image, title, look)
    foil = result.foil
    text = (
        f"{name}   a = {foil.lattice_parameter:.4g} Å, {number_text(foil.thickness)} Å, {foil.energy / 1e3:g} kV, "
        f"{result.free} free coefficients"
    )
    bottom = float(figure.get_size_inches()[1]) - 0.15
    style.add_text(figure, _MARGIN, bottom, text.strip(), color=style.QUIET, fontsize=7.0)
    return figure


def _panel(figure: Figure, column: int, row: int, image: np.ndarray, title: str, look: dict[str, object]) -> None:
    left, top = _MARGIN + column * (_SIDE + _GAP), _MARGIN + row * (_HEAD + _SIDE) + _HEAD
    style.add_text(figure, left, top - 0.13, title, fontsize=8.0)
    panel = style.add_panel(figure, left, top, _SIDE, _SIDE)
    panel.imshow(image, origin="lower", interpolation="antialiased", aspect="auto", **look)  # type: ignore[arg-type]
