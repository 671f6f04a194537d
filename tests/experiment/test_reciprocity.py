"""Images are symmetric about the middles of their Bragg lines, and that tells where they lie."""

from dataclasses import replace

import numpy as np
import pytest
from experiment_helpers import GAAS, HALF_WIDTH, PIXELS, exact_stack, experiment_of
from scipy.ndimage import map_coordinates

from lacbed.experiment.bragg import fit_bragg
from lacbed.experiment.reciprocity import reciprocity_geometry

CENTER = (0.011, -0.006)


@pytest.fixture(scope="module")
def stack():
    return exact_stack(center=CENTER)


@pytest.mark.parametrize("wrong", [0.93, 1.0, 1.05])
def test_half_width_and_centre_of_a_polar_crystal_are_found(stack, wrong):
    stated = experiment_of(stack).on_grid(wrong * HALF_WIDTH, (0.0, 0.0))
    found = reciprocity_geometry(stated, GAAS)
    assert found.is_sure
    assert found.factor * wrong == pytest.approx(1, abs=2e-3)
    assert found.center == pytest.approx(CENTER, abs=5e-4)
    assert found.rotation == pytest.approx(0, abs=0.15)
    right = found.applied(stated)
    assert right.half_width == pytest.approx(HALF_WIDTH, rel=2e-3)
    assert right.center == pytest.approx(found.center)
    assert "by the symmetry of the images" in right.notes[-1]


def test_noise_is_within_the_uncertainty(stack):
    stated = experiment_of(stack, counts=400).on_grid(1.02 * HALF_WIDTH)
    found = reciprocity_geometry(stated, GAAS)
    assert found.is_sure
    assert abs(1.02 * found.factor - 1) < 3 * found.uncertainty < 0.02


def test_a_turn_of_the_images_is_found(stack):
    angle = np.radians(1.5)
    middle = (PIXELS - 1) / 2
    row, column = np.mgrid[:PIXELS, :PIXELS] - middle
    back = (
        np.cos(angle) * row - np.sin(angle) * column + middle,
        np.cos(angle) * column + np.sin(angle) * row + middle,
    )
    turned = np.stack([map_coordinates(image, back, order=3, mode="nearest") for image in stack])
    found = reciprocity_geometry(experiment_of(turned), GAAS)
    assert found.rotation == pytest.approx(1.5, abs=0.2)
    assert found.factor == pytest.approx(1, abs=4e-3)


def test_what_does_not_tell_is_not_believed(stack):
    experiment = experiment_of(stack)
    assert reciprocity_geometry(experiment.select([(0, 0, 0)]), GAAS) is None
    noise = experiment_of(np.random.default_rng(0).random(stack.shape))
    found = reciprocity_geometry(noise, GAAS)
    assert found is None or not found.is_sure


def test_bragg_lines_begin_and_symmetry_ends(stack):
    stated = experiment_of(stack).on_grid(0.8 * HALF_WIDTH)
    found = fit_bragg(stated, GAAS, half_width=True, orientation=False)
    assert found.half_width == pytest.approx(HALF_WIDTH, rel=2e-3)
    assert found.center == pytest.approx(CENTER, abs=5e-4)


@pytest.mark.parametrize(
    "hkl", [[(2, 2, 0)], [(0, 0, 2)], [(1, 1, 1), (1, 1, -1)]], ids=["one", "another", "two without 000"]
)
def test_too_few_images_determine_nothing(stack, hkl):
    """Each image gives the place of one point; place of k = 0, width and turn are four numbers."""
    stated = experiment_of(stack).on_grid(0.96 * HALF_WIDTH).select(hkl)
    found = reciprocity_geometry(stated, GAAS)
    if len(hkl) == 1:
        assert found is None
    else:
        assert found is None or abs(0.96 * found.factor - 1) < max(3 * found.uncertainty, 3e-3)


def test_images_without_overlap_or_light_determine_nothing(stack):
    narrow = experiment_of(stack).on_grid(0.12)
    found = reciprocity_geometry(narrow.select([(0, 0, 0), (2, 2, 0)]), GAAS)
    assert found is None or not found.is_sure
    dark = np.zeros_like(stack)
    dark[:, 3, 4] = 1.0
    assert reciprocity_geometry(experiment_of(dark), GAAS) is None


def test_a_turn_that_is_not_put_right_is_told(stack):
    found = replace(reciprocity_geometry(experiment_of(stack), GAAS), rotation=-2.0)
    assert "turned by -2.0°" in found.applied(experiment_of(stack)).notes[-1]
