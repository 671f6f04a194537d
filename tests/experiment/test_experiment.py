"""An experiment is a pattern: it keeps its images, its geometry and its masks, or says what is wrong."""

import json
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from experiment_helpers import GAAS, HALF_WIDTH, HKL, ZONE, X, experiment_of, write_folder

from lacbed.errors import FileFormatError, SettingError
from lacbed.experiment.assembly import Geometry, geometry_of, make_experiment, with_geometry
from lacbed.experiment.experiment import (
    ORIENTATIONS,
    Experiment,
    check_orientation,
    crystal_of,
    images_to_pattern,
    pattern_to_images,
)
from lacbed.experiment.folder import load_experiment
from lacbed.patterns import compare_patterns, montage, save_pattern

STACK = np.random.default_rng(0).uniform(1, 9, (len(HKL), 12, 12))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientations_go_there_and_back(orientation):
    np.testing.assert_array_equal(pattern_to_images(images_to_pattern(STACK, orientation), orientation), STACK)


def test_orientations_are_the_eight_ways_an_image_can_lie():
    rows, columns = np.indices((3, 3))
    for name in ORIENTATIONS:
        ky, kx = images_to_pattern(rows, name), images_to_pattern(columns, name)
        down = kx if name[1] == "x" else ky  # what the row number became, read along the axis that is named
        along_rows = images_to_pattern(rows, name)
        axis = 1 if name[1] == "x" else 0
        step = int(np.diff(along_rows, axis=axis).flat[0])
        assert step == (1 if name[0] == "+" else -1)
        assert down.shape == (3, 3)
    assert len({images_to_pattern(STACK[0], name).tobytes() for name in ORIENTATIONS}) == 8


def test_orientation_names_are_checked():
    assert check_orientation(" -X, +Y ") == "-x+y"
    for bad in ("+x+x", "xy", "", None):
        with pytest.raises(SettingError, match="one of"):
            check_orientation(bad)


@pytest.mark.parametrize("ending", [".nc", ".npz", ".tif", ".zarr"])
def test_files_keep_an_experiment(tmp_path, ending):
    experiment = experiment_of(STACK.astype(np.float32)).masked(STACK[0] > 2)
    save_pattern(experiment.pattern, tmp_path / f"e{ending}")
    found = load_experiment(tmp_path / f"e{ending}")
    xr.testing.assert_identical(found.pattern, experiment.pattern)
    assert (found.hkl, found.zone_axis, found.x_direction, found.orientation) == (HKL, ZONE, X, "-x+y")
    assert found.half_width == pytest.approx(HALF_WIDTH)
    assert np.isnan(found.images[:, ~(images_to_pattern(STACK[:1], "+y+x")[0] > 2)]).all()
    crystal = crystal_of(found)
    assert crystal is not None
    assert crystal.formula == GAAS.formula


def test_a_folder_is_an_experiment(tmp_path):
    experiment = load_experiment(write_folder(tmp_path / "e", STACK))
    np.testing.assert_array_equal(pattern_to_images(experiment.images, "-x+y"), STACK)
    assert experiment.energy == 200e3
    assert experiment.grid.pixels == 12
    kx, ky = experiment.grid.axes(experiment.frame(GAAS), 200e3)
    np.testing.assert_allclose(kx, experiment.pattern["kx"])
    np.testing.assert_allclose(ky, experiment.pattern["ky"])


def test_the_convention_of_the_folder_puts_images_where_the_bragg_lines_are(tmp_path):
    # Row r is kx = (N/2 - 0.5 - r) pixel, column c is ky = (c + 0.5 - N/2) pixel.
    image = np.zeros((len(HKL), 12, 12))
    image[:, 2, 9] = 1.0
    experiment = load_experiment(write_folder(tmp_path / "e", image))
    place = experiment.pattern[0, 0].stack(pixel=("ky", "kx"))
    ky, kx = place["pixel"].values[int(np.argmax(place.values))]
    pixel = 2 * HALF_WIDTH / 12
    assert kx == pytest.approx((6 - 0.5 - 2) * pixel)
    assert ky == pytest.approx((9 + 0.5 - 6) * pixel)


BAD_FOLDERS = {
    "voltage": ({"accelerating_voltage_kV": "high"}, "accelerating_voltage_kV"),
    "half-width": ({"half_width_inv_A": -1}, "half_width_inv_A"),
    "zone": ({"zone_axis_uvw_direct": [0, 0]}, "zone_axis_uvw_direct"),
    "zone of zero": ({"zone_axis_uvw_direct": [0, 0, 0]}, "zone_axis_uvw_direct"),
    "fractional zone": ({"zone_axis_uvw_direct": [0, 0.5, 0]}, "whole numbers"),
    "another zone": ({"zone_axis_uvw_direct": [0, 0, 1]}, "Laue zone"),
    "pixels": ({"n_pixels": 13}, "n_pixels is 13"),
    "pixel size": ({"pixel_size_inv_A": 0.01}, "contradicts itself"),
    "orientation": ({"orientation": "up"}, "orientation"),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_bad_descriptions(tmp_path, name):
    geometry, match = BAD_FOLDERS[name]
    with pytest.raises(FileFormatError, match=match):
        load_experiment(write_folder(tmp_path / "e", STACK, **geometry))


def test_descriptions_that_do_not_fit_the_images(tmp_path):
    folder = write_folder(tmp_path / "e", STACK)
    described = json.loads((folder / "experiment.json").read_text())
    for part, match in (({"n": 7}, "images.n is 7"), ({"hkl": [[0, 0, 0]]}, "images.hkl")):
        (folder / "experiment.json").write_text(json.dumps(described | {"images": part}))
        with pytest.raises(FileFormatError, match=match):
            load_experiment(folder)
    for text in ("", "[1]", "{"):
        (folder / "experiment.json").write_text(text)
        with pytest.raises(FileFormatError, match=r"experiment\.json"):
            load_experiment(folder)


def test_folders_without_their_files(tmp_path):
    with pytest.raises(FileFormatError, match=r"experiment\.json"):
        load_experiment(tmp_path)
    folder = write_folder(tmp_path / "e", STACK)
    (folder / "images.npz").write_bytes(b"junk")
    with pytest.raises(FileFormatError, match="damaged"):
        load_experiment(folder)
    np.savez(folder / "images.npz", pictures=STACK)
    with pytest.raises(FileFormatError, match="images is missing"):
        load_experiment(folder)
    np.savez(folder / "images.npz", images=np.array([{}], dtype=object), hkl=np.zeros((1, 3)))
    with pytest.raises(FileFormatError, match="pickle"):
        load_experiment(folder)


GEOMETRY = Geometry(200e3, ZONE, X, HALF_WIDTH)
BAD_STACKS = {
    "flat array": (np.zeros((4, 4)), HKL, "shape"),
    "not square": (np.ones((len(HKL), 12, 13)), HKL, "squares"),
    "tiny": (np.ones((len(HKL), 4, 4)), HKL, "too few"),
    "ragged": ([[1.0], [1.0, 2.0]], HKL, "differ in size"),
    "words": ("abc", HKL, "not numbers"),
    "too few reflections": (STACK, HKL[:-1], "one for each image"),
    "half indices": (STACK, [(0.5, 0, 0)] * len(HKL), "one for each image"),
    "twice": (STACK, [*HKL[:-1], HKL[0]], "two images"),
    "outside the zone": (STACK, [*HKL[:-1], (1, 0, 0)], "Laue zone"),
    "all zero": (0 * STACK, HKL, "no image has any contrast"),
    "all NaN": (np.nan * STACK, HKL, "no image has any contrast"),
}


@pytest.mark.parametrize("name", BAD_STACKS)
def test_bad_stacks(name):
    images, hkl, match = BAD_STACKS[name]
    with pytest.raises(SettingError, match=match):
        make_experiment(images, hkl, GEOMETRY)


def test_pixels_that_cannot_be_used_are_masked_and_named():
    images = STACK.copy()
    images[1] = 0.0
    images[2, 3, 4] = np.inf
    images[3, 5, 6] = 65535.0
    experiment = make_experiment(images, HKL, GEOMETRY, saturation=65000.0)
    notes = " ".join(experiment.notes)
    assert "without contrast" in notes
    assert "0,0,2" in notes
    assert "saturated" in notes
    assert "not numbers" in notes
    assert int((~experiment.mask).sum()) == 2


def test_geometry_can_be_restated_without_touching_the_images():
    experiment = experiment_of(STACK)
    other = replace(geometry_of(experiment), orientation="+y-x", half_width=0.5, energy=300e3)
    changed = with_geometry(experiment, other)
    np.testing.assert_array_equal(
        pattern_to_images(changed.images, "+y-x"), pattern_to_images(experiment.images, "-x+y")
    )
    assert (changed.half_width, changed.energy) == (pytest.approx(0.5), 300e3)
    back = with_geometry(changed, geometry_of(experiment))
    np.testing.assert_array_equal(back.images, experiment.images)


def test_binning_keeps_counts_geometry_and_masks():
    whole = experiment_of(np.random.default_rng(1).uniform(1, 2, (len(HKL), 22, 22)))
    mask = np.ones((22, 22), bool)
    mask[5, 8] = False
    masked = whole.masked(mask)
    small = masked.binned(2)
    assert small.pixels == 11
    assert small.half_width == pytest.approx(whole.half_width, rel=1e-12)
    assert small.center == pytest.approx(whole.center, abs=1e-12)
    assert (small.hkl, small.pattern.attrs["zone_axis"]) == (whole.hkl, whole.pattern.attrs["zone_axis"])
    gone = np.isnan(small.images[0])
    assert np.argwhere(gone).tolist() == [[2, 4]]
    np.testing.assert_allclose(whole.binned(2).images.mean(), whole.images.mean())
    np.testing.assert_allclose(small.images[:, 0, 0], whole.images[:, :2, :2].mean(axis=(1, 2)))
    with pytest.raises(SettingError, match=r"22 pixels per side cannot be binned by 3"):
        whole.binned(3)


def test_selection_by_reflection():
    experiment = experiment_of(STACK)
    some = experiment.select([(1, 1, 1), (0, 0, 0)])
    assert some.hkl == ((1, 1, 1), (0, 0, 0))
    np.testing.assert_array_equal(some.images[1], experiment.images[0])
    with pytest.raises(SettingError, match="was not measured"):
        experiment.select([(9, 9, 9)])


def test_what_is_no_experiment_is_refused():
    pattern = experiment_of(STACK).pattern
    with pytest.raises(SettingError, match="square"):
        Experiment(pattern.isel(kx=slice(0, 5)))
    bare = pattern.copy()
    bare.attrs = {}
    with pytest.raises(SettingError, match="energy"):
        Experiment(bare)


def test_figures_and_metrics_take_an_experiment():
    pattern = experiment_of(STACK).pattern
    assert montage(pattern).get_figwidth() > 1
    assert float(compare_patterns(pattern, pattern)["Z"].max()) == 0.0
