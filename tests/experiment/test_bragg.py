"""The Bragg lines find the orientation and the half-width, and contradict wrong ones."""

import numpy as np
import pytest
from experiment_helpers import GAAS, HKL
from experiment_helpers import experiment_of as make

import lacbed
from lacbed.errors import SettingError
from lacbed.experiment.bragg import check_bragg, fit_bragg
from lacbed.experiment.experiment import ORIENTATIONS
from lacbed.geometry.frame import make_frame

HALF_WIDTH, PIXELS = 0.42, 28
GRID = np.meshgrid(*[(np.arange(PIXELS) - PIXELS / 2 + 0.5) * 2 * HALF_WIDTH / PIXELS] * 2)


def experiment_of(stack, orientation="-x+y", counts=0.0):
    return make(stack, orientation, HALF_WIDTH, counts)


def banded():
    """Bands with fringes along the Bragg lines, no dynamical theory."""
    vectors = make_frame(GAAS, (-1, 1, 0), None, (1, 1, 0)).vectors(np.array(HKL))[:, :2]
    out = []
    for g in vectors:
        s = (GRID[0] * g[0] + GRID[1] * g[1] + g @ g / 2) / 40
        out.append(np.sinc(300 * s) ** 2 + 1e-3 * np.sin(40 * GRID[0]) ** 2)
    return np.stack(out)


STACK = banded()


def test_right_geometry_is_not_contradicted():
    experiment = experiment_of(STACK, counts=1e3)
    check = check_bragg(experiment, GAAS)
    assert check.orientation == "-x+y"
    assert check.scale == pytest.approx(1, abs=0.06)
    assert check.warnings(experiment) == []


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_and_half_width_are_found(orientation):
    right = experiment_of(STACK, orientation)
    wrong = right.turned("+x-y" if orientation != "+x-y" else "-y+x").on_grid(1.3 * HALF_WIDTH)
    warnings = " ".join(check_bragg(wrong, GAAS).warnings(wrong))
    assert f"{orientation} fits better" in warnings
    assert "contradict the stated half-width" in warnings
    fitted = fit_bragg(wrong, GAAS, half_width=True, orientation=True)
    assert fitted.orientation == orientation
    assert fitted.half_width == pytest.approx(HALF_WIDTH, rel=0.06)
    np.testing.assert_array_equal(fitted.images, right.images)


def test_another_cell_shows_as_another_half_width():
    experiment = experiment_of(STACK)
    check = check_bragg(experiment, lacbed.Crystal.named("LiF"))  # a = 4.03 Å for 5.65 Å
    assert "the crystal has another cell" in " ".join(check.warnings(experiment))


def test_images_without_bragg_lines():
    noise = experiment_of(np.random.default_rng(0).uniform(size=STACK.shape))
    assert "do not fit the images in any orientation" in " ".join(check_bragg(noise, GAAS).warnings(noise))
    with pytest.raises(SettingError, match="cannot be fitted"):
        fit_bragg(noise, GAAS, True, True)
    one = experiment_of(STACK).select([(0, 0, 0), (1, 1, 1)])
    assert "too few reflections" in " ".join(check_bragg(one, GAAS).warnings(one))
