"""Comparing two patterns reflection by reflection."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lacbed.errors import SettingError
from lacbed.patterns.metrics import max_difference, r_factor, relative_l2, zncc_loss
from lacbed.patterns.schema import axis_step, check_pattern, intensities

_SAME_GRID = 0.01  # pixel; two grids whose pixels are closer than this are one grid
_SAME_THICKNESS = 1e-6


def compare_patterns(a: xr.DataArray, b: xr.DataArray, intersect: bool = False) -> xr.Dataset:
    """How far pattern a is from pattern b, for each thickness and reflection.

    Reflections are matched by their indices and thicknesses by their values, in any order. Amplitudes are
    compared as intensities. Pixels that are NaN in either pattern are left out.

    Args:
        a: a pattern (thickness, hkl, ky, kx).
        b: the reference, on the same grid.
        intersect: compare what both have; otherwise a reflection or thickness that one lacks is an error.

    Returns:
        (thickness, hkl) in the order of `a`: Z, r_factor, relative_l2, max_difference, mean_a, mean_b; see
        `lacbed.patterns.metrics`.

    Raises:
        SettingError: if the grids differ, or reflections or thicknesses do not match.
    """
    first, second = align_patterns(a, b, intersect)
    scores = {
        "Z": zncc_loss(first.values, second.values),
        "r_factor": r_factor(first.values, second.values),
        "relative_l2": relative_l2(first.values, second.values),
        "max_difference": max_difference(first.values, second.values),
        "mean_a": _mean(first.values, second.values),
        "mean_b": _mean(second.values, first.values),
    }
    coords = {key: first.coords[key] for key in ("thickness", "hkl")}
    return xr.Dataset({key: (("thickness", "hkl"), values) for key, values in scores.items()}, coords)


def align_patterns(a: xr.DataArray, b: xr.DataArray, intersect: bool = False) -> tuple[xr.DataArray, xr.DataArray]:
    """Both as intensities with the same reflections and thicknesses in the order of `a`.

    Raises:
        SettingError: see `compare_patterns`.
    """
    first, second = intensities(check_pattern(a)), intensities(check_pattern(b))
    _check_grid(first, second)
    hkl_a, hkl_b = _match_reflections(first, second, intersect)
    row_a, row_b = _match_thicknesses(first, second, intersect)
    return first.isel(hkl=hkl_a, thickness=row_a), second.isel(hkl=hkl_b, thickness=row_b)


def _mean(of: np.ndarray, shared_with: np.ndarray) -> np.ndarray:
    shared = ~(np.isnan(of) | np.isnan(shared_with))
    count = shared.sum(axis=(-2, -1))
    total = np.where(shared, of, 0.0).sum(axis=(-2, -1))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _check_grid(a: xr.DataArray, b: xr.DataArray) -> None:
    for axis in ("ky", "kx"):
        size_a, size_b = a.sizes[axis], b.sizes[axis]
        if size_a != size_b:
            raise SettingError(
                f"the grids differ: {axis} has {size_a} pixels in the first and {size_b} in the second pattern; "
                "simulate both with the same number of pixels"
            )
        off = float(np.max(np.abs(a[axis].values - b[axis].values)))
        if off > _SAME_GRID * axis_step(a[axis]):
            raise SettingError(
                f"the grids differ: {axis} runs from {_range(a, axis)} 1/Å in the first and from "
                f"{_range(b, axis)} 1/Å in the second pattern; simulate both with the same half-width and centre"
            )


def _range(pattern: xr.DataArray, axis: str) -> str:
    return f"{float(pattern[axis][0]):.5g} to {float(pattern[axis][-1]):.5g}"


def _match_reflections(a: xr.DataArray, b: xr.DataArray, intersect: bool) -> tuple[list[int], list[int]]:
    names_a, names_b = ([str(name) for name in p["hkl"].values] for p in (a, b))
    places = {name: i for i, name in enumerate(names_b)}
    common = [name for name in names_a if name in places]
    _report("reflections", names_a, names_b, common, intersect)
    return [names_a.index(name) for name in common], [places[name] for name in common]


def _match_thicknesses(a: xr.DataArray, b: xr.DataArray, intersect: bool) -> tuple[list[int], list[int]]:
    values_a, values_b = (np.asarray(p["thickness"].values, dtype=float) for p in (a, b))
    if len(values_a) == len(values_b) == 1 and np.isnan([*values_a, *values_b]).any():
        return [0], [0]  # a measured pattern whose thickness is not known
    pairs = []
    for i, value in enumerate(values_a):
        near = int(np.argmin(np.abs(values_b - value)))
        if abs(values_b[near] - value) <= _SAME_THICKNESS * max(1.0, abs(value)):
            pairs.append((i, near))
    text_a, text_b = ([f"{v:g} Å" for v in values] for values in (values_a, values_b))
    _report("thicknesses", text_a, text_b, [text_a[i] for i, _ in pairs], intersect)
    return [i for i, _ in pairs], [j for _, j in pairs]


def _report(what: str, a: list[str], b: list[str], common: list[str], intersect: bool) -> None:
    if not common:
        raise SettingError(f"the patterns have no {what} in common: {_few(a)} and {_few(b)}")
    only_a, only_b = ([v for v in values if v not in common] for values in (a, b))
    if (only_a or only_b) and not intersect:
        where = " and ".join(
            f"only the {name} has {_few(values)}"
            for name, values in (("first", only_a), ("second", only_b))
            if values
        )
        raise SettingError(f"the {what} differ: {where}; intersect=True (--intersect) compares what both have")


def _few(values: list[str]) -> str:
    shown = "; ".join(values[:4])
    return shown if len(values) <= 4 else f"{shown}; and {len(values) - 4} more"
