"""A CBED pattern as it looks on the camera, and the projected potential of a cell."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.transforms import Affine2D

from lacbed.errors import SettingError
from lacbed.io.numbers import check_number
from lacbed.patterns.figures import style
from lacbed.patterns.schema import axis_step, caption, number_text

_CBED, _GAP, _HEAD = 5.2, 0.08, 0.24


def cbed_figure(cbed: xr.DataArray, gamma: float = 0.5, clip: float = 0.02) -> Figure:
    """Draw the diffraction plane, one image for each thickness, x to the right and y up.

    Args:
        cbed: (thickness, qy, qx) as `assemble_cbed` returns it.
        gamma: grey = (I / I_max) ** gamma; 1 is linear, below 1 lifts the weak discs.
        clip: percentage of the pixels that may saturate.

    Raises:
        SettingError: if it is not a CBED pattern, has more than 12 thicknesses, or gamma is not positive.
    """
    if cbed.dims != ("thickness", "qy", "qx"):
        raise SettingError(f"expected a CBED pattern (thickness, qy, qx), got {cbed.dims}; see assemble_cbed")
    check_number("gamma", gamma, above=0)
    count = cbed.sizes["thickness"]
    if count > 12:
        raise SettingError(f"a figure of {count} CBED patterns is not readable; select at most 12 thicknesses")
    across = 1 if count == 1 else 2 if count <= 4 else 3
    down = -(-count // across)
    side = _CBED if count == 1 else _CBED / 1.6
    height = side * cbed.sizes["qy"] / cbed.sizes["qx"]
    head = _HEAD if count > 1 else 0.0
    size = (2 * _MARGIN + across * (side + _GAP) - _GAP, _MARGIN + down * (height + head) + _FOOT)
    figure = style.new_figure(*size)
    for index in range(count):
        line, column = divmod(index, across)
        left, top = _MARGIN + column * (side + _GAP), _MARGIN + line * (height + head)
        if head:
            text = f"{number_text(float(cbed['thickness'][index]))} Å"
            style.add_text(figure, left, top + 0.1, text, color=style.ACCENT)
        _draw(figure, (left, top + head, side, height), cbed, index, gamma, clip)
    _describe(figure, cbed)
    return figure


def _draw(
    figure: Figure,
    place: tuple[float, float, float, float],
    cbed: xr.DataArray,
    index: int,
    gamma: float,
    clip: float,
) -> None:
    panel = style.add_panel(figure, *place)
    values = np.maximum(cbed.values[index], 0.0)
    brightest = style.limits(values[values > 0], clip)[1] if np.any(values > 0) else 1.0
    grey = np.where(values > 0, np.minimum(values / brightest, 1.0) ** gamma, 0.0)
    panel.imshow(
        grey,
        origin="lower",
        cmap="gray",
        vmin=0.0,
        vmax=1.0,
        interpolation="antialiased",
        aspect="auto",
    )
    if index == 0:
        mrad = style.mrad_per_length(cbed, "qx")
        span = axis_step(cbed["qx"]) * cbed.sizes["qx"]
        style.scale_bar(panel, span, "mrad" if mrad else "Å⁻¹", mrad or 1.0, size=7.0)


def _describe(figure: Figure, cbed: xr.DataArray) -> None:
    parts = [caption(cbed.attrs)]
    if "semi_angle" in cbed.attrs:
        parts.append(f"α = {number_text(float(cbed.attrs['semi_angle']))} mrad")
    if cbed.sizes["thickness"] == 1:
        parts.append(f"{number_text(float(cbed['thickness'][0]))} Å")
    style.add_foot(figure, "   ".join(parts))


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
    check_number("repeat", repeat, 1, 20)
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
    mean = potential.attrs.get("mean_inner_potential")
    more = f"   V₀ = {mean:.2f} V" if isinstance(mean, int | float) else ""
    style.add_foot(figure, caption(potential.attrs) + more)
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
