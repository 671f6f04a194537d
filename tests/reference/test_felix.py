"""Patterns of Felix, the reference program: converged ones agree, and the others differ by Felix's few beams."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from felix_like import FelixLike

import lacbed

SETS = (
    "Si_K_noabs",
    "NaCl_K_noabs",
    "Au_K_noabs",
    "SrTiO3_K_noabs",
    "SrTiO3_K_noabs_150",
    "SrTiO3_DT_noabs_150",
    "Si_K_prop10",
    "SrTiO3_K_prop10",
    "SrTiO3_K_BirdKing",
)
LIMIT = {"Si_K_noabs": 0.002, "NaCl_K_noabs": 0.002, "SrTiO3_K_noabs": 0.01, "Si_K_prop10": 0.002}
"""Z asked for at 900 Å and below. The other sets were computed with too few beams to be compared directly."""

STRIDE, KEPT = 9, 14  # every ninth pixel: an odd stride keeps the pixel centres of the 128 x 128 grid


def _inputs(folder: Path) -> tuple[dict[str, Any], np.ndarray, str, Any]:
    parameters = json.loads((folder / "params.json").read_text())
    patterns = np.load(folder / "lacbed.npy", allow_pickle=False).astype(float)
    factors = "doyle-turner" if "_DT_" in folder.name else "kirkland"
    absorption = None
    if "prop10" in folder.name:
        absorption = ("proportional", 10.0)
    elif "BirdKing" in folder.name:
        absorption = "thomas"
    return parameters, patterns, factors, absorption


@pytest.mark.parametrize("name", SETS)
def test_felix(name: str, reference_folder: Path, felix_table: list[str]) -> None:
    folder = reference_folder / "felix" / name
    parameters, patterns, factors, absorption = _inputs(folder)
    kept = np.arange(KEPT) * STRIDE + 5
    ours = _ours(
        (folder / "crystal.cif").read_text(encoding="utf-8"),
        tuple(parameters["thickness_A"]),
        KEPT // 2 * STRIDE * parameters["dk_invA_per_px"],
        tuple(tuple(g) for g in parameters["hkl"]),
        factors,
        absorption,
    )
    np.testing.assert_allclose(ours.kx, (kept - 63.5) * parameters["dk_invA_per_px"], rtol=1e-9)
    felix = patterns[:, :, kept[:, None], kept[None, :]]
    z = lacbed.zncc_loss(ours.values, felix)
    z[ours.values.mean(axis=(2, 3)) < 1e-3] = np.nan
    worst = np.nanmax(z, axis=1)
    change, beams, flat = _felix_like(folder, parameters, patterns, factors, absorption)
    felix_table.append(
        f"{name:20s} {ours.attrs['beams']:5d} "
        + " ".join(f"{100 * v:7.3f}" for v in worst)
        + f"   {beams:4d} ({flat:3d}) "
        + " ".join(f"{v:8.5f}" for v in change)
    )
    thin = np.array(parameters["thickness_A"]) <= 900
    if name in LIMIT:
        assert worst[thin].max() <= LIMIT[name]
    # On Felix's own beams the physics is the same; what is left is its formula for s_g and its constants.
    tolerance = 0.03 if name.startswith("Au") else 0.01
    assert change[thin].max() <= tolerance
    # Where Z is large, taking Felix's beams in place of enough beams brings the answer to Felix's.
    if worst[thin].max() > 0.01:
        full = np.abs(ours.values - felix)[thin, 0].max()
        assert change[thin].max() < 0.2 * full


@cache
def _ours(
    cif: str, thicknesses: tuple[float, ...], k_max: float, hkl: tuple[Any, ...], factors: str, absorption: Any
) -> Any:
    """Sets that differ in Felix's number of beams alone have one pattern of ours."""
    return lacbed.simulate(
        lacbed.Crystal.from_cif_text(cif),
        thicknesses=thicknesses,
        grid=lacbed.TiltGrid(KEPT, k_max=k_max),
        hkl=hkl,
        factors=factors,
        absorption=absorption,
        refraction=False,  # as in Felix
    )


def _felix_like(
    folder: Path, parameters: dict[str, Any], patterns: np.ndarray, factors: str, absorption: Any
) -> tuple[np.ndarray, int, int]:
    """Largest |dI| of 000 at each thickness over ten pixels, number of beams, and of those in the zone."""
    kind = "none" if absorption is None else "einstein" if absorption == "thomas" else "proportional"
    felix = FelixLike.read(folder, parameters, factors, kind)
    pixels = np.random.default_rng(1).integers(0, 128, (10, 2))
    found = [felix.intensity(row, col) for row, col in pixels]
    change = [np.abs(f[0] - patterns[:, 0, row, col]) for f, (row, col) in zip(found, pixels, strict=True)]
    return np.max(change, axis=0), found[-1][1], found[-1][2]
