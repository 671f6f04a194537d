"""Refinement: truth found again and written, images that lie otherwise, bad input refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from gaas_stack import FAST, HKL, measured

from lacbed import Crystal
from lacbed.errors import SettingError
from lacbed.geometry.frame import make_frame
from lacbed.refinement.objective import make_target, z_of
from lacbed.refinement.options import RefinementOptions
from lacbed.refinement.problem import Measured, usable
from lacbed.refinement.refine import refine
from lacbed.refinement.report import refined_cif, summary


def test_truth_is_found_again(finished):
    crystal, thickness, result = finished.crystal, finished.thickness, finished.result
    values = dict(zip((p.name for p in result.parameters), result.values, strict=True))
    assert abs(values["thickness"] - thickness) < 2.0
    assert abs(values["tilt_x"] - 0.004) < 5e-4
    assert abs(values["half_width"] - 0.33) < 1e-3
    for site, name in zip(crystal.sites, ("B:Ga1", "B:As2"), strict=True):
        assert abs(values[name] / site.b_iso - 1.0) < 0.05
    chi_square = result.fit.cost / result.fit.residual.numel()
    assert 0.8 < chi_square < 1.25


def test_cif_and_numbers(finished):
    crystal, first, result = finished.crystal, finished.first, finished.result
    text = refined_cif(first, result)
    assert "(" in text.split("_atom_site_")[-1]
    back = Crystal.from_cif_text(text)
    assert back.sites[0].u_iso == pytest.approx(float(result.state.u[0, 0]), rel=2e-2)
    assert len(back.atoms) == len(crystal.atoms)
    numbers = summary(result, finished.options)
    assert {"mean_Z_aligned", "mean_Z", "thickness", "free", "correlation"} <= set(numbers)
    assert set(numbers["free"]["thickness"]) >= {"value", "uncertainty"}
    json.dumps(numbers)


def test_lbfgs_finds_it_too_and_images_are_aligned():
    crystal, data, thickness = measured()
    images = data.images.copy()
    images[1] = np.roll(images[1], 1, axis=1)  # one pixel along x
    options = RefinementOptions(("thickness",), (630.0,), method="lbfgs", **FAST)
    result = refine(replace(data, images=images), crystal, options)
    assert abs(result.values[0] - thickness) < 2.0
    np.testing.assert_allclose(result.shifts[1], [1.0, 0.0], atol=0.15)
    np.testing.assert_allclose(result.shifts[[0, 2, 3]], 0.0, atol=0.05)
    target = make_target(torch.as_tensor(images))
    aligned, plain = z_of(result.fit_aligned.images, target), z_of(result.fit.images, target)
    assert float(aligned[1]) < 0.5 * float(plain[1])


def test_affine_moves_and_a_plane_are_options_of_the_refinement():
    crystal, data, thickness = measured()
    images = data.images + 0.01 * np.arange(20)
    images[1] = np.roll(images[1], 1, axis=0)  # one pixel along y
    options = RefinementOptions(
        ("thickness",), (635.0,), align="affine", background="plane", **FAST | {"steps": 3}
    )
    result = refine(replace(data, images=images), crystal, options)
    assert abs(result.values[0] - thickness) < 2.0
    assert result.moves.shape == (4, 6)
    np.testing.assert_allclose(result.shifts[1], [0.0, 1.0], atol=0.15)
    np.testing.assert_allclose(result.fit_aligned.tilted.numpy(), [[0.01, 0.0]] * 4, atol=1e-3)
    assert float(np.abs(result.moves[[0, 2, 3]]).max()) < 0.05


def test_what_cannot_be_seen_is_refused_or_left_out():
    quartz = Crystal.named("SiO2")
    frame = make_frame(quartz, (0, 0, 1))
    images = np.random.default_rng(0).random((1, 6, 6))
    data = Measured(images, ((0, 0, 0),), frame, 200e3, 0.15)
    options = RefinementOptions(("x:O2",), (300.0,), **(FAST | {"beams": 30}))
    with pytest.raises(SettingError, match="z:O2 cannot be free"):
        refine(data, quartz, options)


def test_images_without_contrast():
    _, data, _ = measured()
    dark = data.images.copy()
    dark[2] = 7.0
    kept, notes = usable(replace(data, images=dark))
    assert len(kept.hkl) == 3
    assert "1,-1,-1" in notes[0]
    with pytest.raises(SettingError, match="contrast"):
        usable(replace(data, images=np.zeros_like(dark)))


def test_reflections_of_another_zone():
    crystal, data, _ = measured()
    with pytest.raises(SettingError, match="Laue zone"):
        refine(replace(data, hkl=(*HKL[:3], (2, 0, 0))), crystal, RefinementOptions(**FAST))
