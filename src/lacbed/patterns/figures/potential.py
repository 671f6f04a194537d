"""The projected potential as a picture: true shape of the cell, its edges, a scale bar."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.transforms import Affine2D

from lacbed.errors import SettingError
from lacbed.io.numbers import number
from lacbed.patterns.figures import style
from lacbed.patterns.labels import caption, number_text

_SIZE, _MARGIN, _FOOT, _KEY = 4.6, 0.22, 0.34, 0.75


def potential_figure(potential: xr.DataArray, repeat: int = 2, colours: str = "inferno") -> Figure:
    """Draw the projected potential with the shape that the cell has in the crystal.

    The image is in fractional coordinates of the projected cell; the 2 x 2 matrix in its metadata carries it to
    Å in the microscope frame (x right, y up), so that a hexagonal cell is a rhombus. One cell is outlined.

    Args:
        potential: (v, u) as `lacbed.projected_potential` returns it.
        repeat: cells drawn along each edge.
        colours: a matplotlib colour map.

    Raises:
        SettingError: if it is not a projected potential.
    """
    if potential.dims != ("v", "u") or "cell" not in potential.attrs:
        raise SettingError(f"expected a projected potential with dims ('v', 'u'), got {potential.dims}")
    number("repeat", repeat, 1, 20)
    cell = np.asarray(potential.attrs["cell"], dtype=float).reshape(2, 2)
    corners = repeat * np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) @ cell.T
    span = np.ptp(corners, axis=0)
    size = _SIZE * span / span.max()
    figure = style.new_figure(size[0] + 2 * _MARGIN + _KEY, size[1] + _MARGIN + _FOOT)
    panel = style.add_panel(figure, _MARGIN, _MARGIN, size[0], size[1])
    low, high = _draw_cells(panel, potential.values, cell, repeat, colours)
    panel.set_xlim(corners[:, 0].min(), corners[:, 0].max())
    panel.set_ylim(corners[:, 1].min(), corners[:, 1].max())
    _outline(panel, cell, repeat)
    style.scale_bar(panel, float(span[0]), "Å", size=7.5)
    _key(figure, _MARGIN + float(size[0]) + 0.1, float(size[1]), (low, high), colours)
    _caption(figure, potential)
    return figure


def _draw_cells(
    panel: Axes, values: np.ndarray, cell: np.ndarray, repeat: int, colours: str
) -> tuple[float, float]:
    """The image, repeated, under the affine map from pixels to Å."""
    tiled = np.tile(values, (repeat, repeat))
    low, high = style.limits(values, clip=0.0)
    rows, columns = values.shape
    # Pixel (0, 0) lies at the corner of the cell, so its centre is moved there.
    to_fraction = Affine2D().translate(0.0, 0.0).scale(1.0 / columns, 1.0 / rows)
    to_angstrom = Affine2D(np.block([[cell, np.zeros((2, 1))], [np.zeros((1, 2)), np.ones((1, 1))]]))
    image = panel.imshow(
        tiled,
        origin="lower",
        extent=(-0.5, tiled.shape[1] - 0.5, -0.5, tiled.shape[0] - 0.5),
        cmap=colours,
        vmin=low,
        vmax=high,
        interpolation="bilinear",
        aspect="auto",
    )
    image.set_transform(to_fraction + to_angstrom + panel.transData)
    return low, high


def _outline(panel: Axes, cell: np.ndarray, repeat: int) -> None:
    """The edges of one cell, the middle one, and its two lattice vectors."""
    start = (repeat - 1) // 2
    corners = (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) + start) @ cell.T
    edge = Polygon(corners, closed=True, fill=False, ec=style.INK, lw=0.9, ls=(0, (4, 3)), clip_on=False)
    edge.set_path_effects(style.outlined(2.0))
    panel.add_patch(edge)


def _key(figure: Figure, left: float, height: float, limits: tuple[float, float], colours: str) -> None:
    panel = style.add_panel(figure, left, _MARGIN, 0.09, height)
    panel.imshow(np.linspace(0, 1, 256)[:, None], origin="lower", cmap=colours, aspect="auto")
    for value, at in ((limits[1], _MARGIN + 0.06), (limits[0], _MARGIN + height - 0.06)):
        style.add_text(figure, left + 0.15, at, number_text(value, 3), fontsize=6.5, color=style.QUIET)
    style.add_text(figure, left + 0.15, _MARGIN + height / 2, "V Å", fontsize=7.0)


def _caption(figure: Figure, potential: xr.DataArray) -> None:
    mean = potential.attrs.get("mean_inner_potential")
    text = caption(potential.attrs)
    if isinstance(mean, int | float):
        text += f"   V₀ = {mean:.2f} V"
    bottom = float(figure.get_size_inches()[1]) - 0.17
    style.add_text(figure, _MARGIN, bottom, text, color=style.QUIET, fontsize=7.0)
