"""A CBED pattern as it looks on the camera."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from lacbed.errors import SettingError
from lacbed.io.numbers import number
from lacbed.patterns.figures import style
from lacbed.patterns.labels import axis_step, caption, number_text

_SIZE, _MARGIN, _GAP, _HEAD, _FOOT = 5.2, 0.14, 0.08, 0.24, 0.34


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
    number("gamma", gamma, above=0)
    count = cbed.sizes["thickness"]
    if count > 12:
        raise SettingError(f"a figure of {count} CBED patterns is not readable; select at most 12 thicknesses")
    across = 1 if count == 1 else 2 if count <= 4 else 3
    down = -(-count // across)
    side = _SIZE if count == 1 else _SIZE / 1.6
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
    _caption(figure, cbed)
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


def _caption(figure: Figure, cbed: xr.DataArray) -> None:
    parts = [caption(cbed.attrs)]
    if "semi_angle" in cbed.attrs:
        parts.append(f"α = {number_text(float(cbed.attrs['semi_angle']))} mrad")
    if cbed.sizes["thickness"] == 1:
        parts.append(f"{number_text(float(cbed['thickness'][0]))} Å")
    bottom = float(figure.get_size_inches()[1]) - 0.17
    style.add_text(figure, _MARGIN, bottom, "   ".join(parts), color=style.QUIET, fontsize=7.0)
