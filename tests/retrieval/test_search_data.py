"""What a search is given: the lattice, beams enough, noise that is known and smoothed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import lacbed
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.experiment.experiment import Experiment
from lacbed.retrieval.comparison import beyond_noise
from lacbed.retrieval.points import FEWEST_BEAMS, SEARCH_REACH, beam_reach, lattice_points, make_points
from lacbed.retrieval.projection_cell import projected_cell
from lacbed.retrieval.sharpen import WIDTHS
from lacbed.retrieval.solve import settled

HKL = ((0, 0, 0), (1, -1, 0), (-1, 1, 0), (0, 0, 2), (0, 0, -2), (1, -1, 2), (-1, 1, -2))
HALF, PIXELS = 0.75, 36


@pytest.fixture(scope="module")
def iron() -> np.ndarray:
    """Iron along [110], 300 Å: (reflection, ky, kx)."""
    grid = lacbed.TiltGrid(PIXELS, k_max=HALF)
    found = lacbed.simulate(
        lacbed.Crystal.named("Fe"), (1, 1, 0), 200e3, (300.0,), grid, HKL, x_direction=(0, 0, 1), tolerance=1e-2
    )
    return np.asarray(found.values[0], dtype=float)


def stack_of(values: np.ndarray, counts: float = 0.0, half: float = HALF) -> Experiment:
    images = np.random.default_rng(1).poisson(counts * values).astype(float) if counts else values
    return make_experiment(images[:, ::-1], HKL, Geometry(200e3, (1, 1, 0), (0, 0, 1), half))


def test_the_lattice_that_leaves_fewest_points_of_the_zone_is_taken(iron: np.ndarray) -> None:
    # Both C and I allow all reflections; h + k = 0 makes C say nothing here.
    found = projected_cell(stack_of(iron), (2.866,))
    assert found.centring == "I"
    assert abs(np.linalg.det(found.basis)) == pytest.approx(math.sqrt(2) * 2 / 2.866**2, rel=1e-6)


@pytest.mark.parametrize("edge", [2.0, 3.0, 12.0])
def test_small_cells_have_beams_further_out(edge: float) -> None:
    basis = np.eye(2) / edge
    reach = beam_reach(basis)
    assert reach >= SEARCH_REACH
    if edge < 10:
        assert reach > SEARCH_REACH
        assert len(lattice_points(basis, reach)) == pytest.approx(FEWEST_BEAMS, rel=0.25)
    else:
        assert reach == SEARCH_REACH


@pytest.mark.parametrize("counts", [300.0, 3000.0])
def test_noise_is_read_off_the_images(iron: np.ndarray, counts: float) -> None:
    """Of smooth images it is by how much noisy and noiseless intensities differ."""
    smooth = np.stack([gaussian_filter(image, 3.0) for image in iron])
    cell = projected_cell(stack_of(iron), (2.866,))
    clean, noisy = (
        make_points(stack, cell.basis, cell.indices, matrices=12, smooth=1e-9)
        for stack in (stack_of(smooth * counts), stack_of(smooth, counts))
    )
    apart = noisy.weight * (noisy.target - clean.target)
    assert clean.noise < 0.02 * noisy.noise
    assert noisy.noise == pytest.approx(apart @ apart, rel=0.6)


def test_noisy_images_are_smoothed(iron: np.ndarray) -> None:
    cell = projected_cell(stack_of(iron), (2.866,))
    clean = make_points(stack_of(iron), cell.basis, cell.indices)
    noisy = make_points(stack_of(iron * 8, 1.0), cell.basis, cell.indices)
    off = noisy.target - clean.target * (noisy.target @ clean.target) / (clean.target @ clean.target)
    plain = np.sqrt(clean.target.clip(1e-4) / 8)  # counting noise of a pixel
    assert np.std(off) < 0.7 * np.sqrt(np.mean(plain**2))


def test_residual_beyond_noise() -> None:
    assert beyond_noise(0.5, 0.0) == 0.5
    assert beyond_noise(0.5, 0.09) == pytest.approx(0.4)
    assert beyond_noise(0.3, 0.2) == pytest.approx(0.1)  # noise is but an estimate


def test_the_half_width_is_settled_before_the_search(iron: np.ndarray) -> None:
    wrong = stack_of(iron, half=1.03 * HALF)
    right, widths = settled(wrong, projected_cell(wrong, (2.866,)))
    assert right.half_width == pytest.approx(HALF, rel=2e-3)
    assert widths == (1.0,)
    alone = wrong.select([(0, 0, 0)])
    assert settled(alone, projected_cell(alone, (2.866,))) == (alone, WIDTHS)


def test_a_solution_tells_the_half_width_and_not_what_it_was_stated_as(iron: np.ndarray) -> None:
    wrong = stack_of(1000 * iron, 1.0, half=1.1 * HALF)
    found = lacbed.solve_structure(
        wrong, (2.866,), lacbed.SolveOptions((1, 1), (200.0, 500.0), seconds=20.0, refined=0)
    )
    assert found.best.half_width == pytest.approx(HALF, rel=3e-3)
    assert any("by the symmetry of the images" in note for note in found.notes)
    assert not any("contradict" in note for note in found.notes)
    assert found.thickness == pytest.approx(300, rel=0.03)
