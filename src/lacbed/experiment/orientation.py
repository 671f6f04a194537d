"""How the rows and columns of an image lie in the plane of the tilts: eight ways, and changes between them.

A name such as "-x+y" says where k goes along the rows (downwards), then where it goes along the columns (to the
right): here kx falls from the top row to the bottom one and ky grows from left to right. An ordinary picture with
x to the right and y up is "-y+x".
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from lacbed.errors import SettingError

ORIENTATIONS = ("-y+x", "-y-x", "+y+x", "+y-x", "-x+y", "-x-y", "+x+y", "+x-y")
"""All ways an image can lie, the usual picture first."""


def check_orientation(name: Any) -> str:
    """The name of an orientation without blanks and commas.

    Raises:
        SettingError: if it is none of the eight.
    """
    text = re.sub(r"[\s,]", "", str(name)).lower().replace("\N{MINUS SIGN}", "-")
    if text not in ORIENTATIONS:
        raise SettingError(
            "the orientation of an image is the direction of k down the rows and along the columns, one of "
            f"{', '.join(ORIENTATIONS)}; got {name!r}"
        )
    return text


def images_to_pattern(images: np.ndarray, orientation: str) -> np.ndarray:
    """Images as they are stored, (..., row, column), to a pattern with both axes ascending, (..., ky, kx)."""
    transposed, rows, columns = _moves(orientation)
    turned = np.swapaxes(images, -1, -2) if transposed else images
    return np.ascontiguousarray(turned[..., rows, columns])


def pattern_to_images(values: np.ndarray, orientation: str) -> np.ndarray:
    """The way back: (..., ky, kx) to (..., row, column)."""
    transposed, rows, columns = _moves(orientation)
    turned = values[..., rows, columns]
    return np.ascontiguousarray(np.swapaxes(turned, -1, -2) if transposed else turned)


def _moves(orientation: str) -> tuple[bool, slice, slice]:
    """Whether x runs down the rows, and the slices that make ky and kx ascend."""
    name = check_orientation(orientation)
    transposed = name[1] == "x"
    sign_y, sign_x = (name[2], name[0]) if transposed else (name[0], name[2])
    forward, backward = slice(None), slice(None, None, -1)
    return transposed, backward if sign_y == "-" else forward, backward if sign_x == "-" else forward
