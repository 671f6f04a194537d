"""experiment.json and images.npz: whatever is wrong is named in one line, before anything large is read."""

import copy
import io
import json
import os
import zipfile

import numpy as np
import pytest
from experiment_helpers import HALF_WIDTH, HKL, ZONE, experiment_of

from lacbed.errors import FileFormatError, SettingError
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.experiment.experiment import Experiment
from lacbed.experiment.folder import load_experiment
from lacbed.experiment.stack import read_measured

STACK = np.random.default_rng(0).uniform(1, 9, (len(HKL), 12, 12))
GEOMETRY = {
    "accelerating_voltage_kV": 200,
    "zone_axis_uvw_direct": list(ZONE),
    "x_direction_hkl_reciprocal": [1, 1, 0],
    "surface_normal_uvw_direct": list(ZONE),
    "half_width_inv_A": HALF_WIDTH,
    "orientation": "-x+y",
    "n_pixels": 12,
    "pixel_size_inv_A": HALF_WIDTH / 6,
}
IMAGES = {"n": len(HKL), "shape": [12, 12], "hkl": [list(g) for g in HKL], "raw_dtype": "uint16"}
WHOLE = {"material": "GaAs", "geometry": GEOMETRY, "images": IMAGES, "crystal": {"file": "crystal.cif"}}


@pytest.fixture
def folder(tmp_path):
    np.savez(tmp_path / "images.npz", images=STACK, hkl=np.array(HKL))
    (tmp_path / "experiment.json").write_text(json.dumps(WHOLE))
    return tmp_path


def refused(folder, match):
    with pytest.raises(FileFormatError, match=match) as caught:
        load_experiment(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_whole_description_is_read(folder):
    experiment = load_experiment(folder)
    assert (experiment.hkl, experiment.name) == (HKL, "GaAs")
    assert "names the crystal 'crystal.cif', which is not in the folder" in experiment.notes[0]


NUMBERS = ["null", "true", '"200"', "[]", "{}", "0", "-1", "NaN", "Infinity", "1e999", "9" * 400, "1e300"]
VECTORS = [
    "null",
    "true",
    "1",
    '"001"',
    "[]",
    "[0,0]",
    "[0,0,0]",
    "[1,2,3,4]",
    "[true,true,true]",
    '["1","0","0"]',
    "[null,1,1]",
    "[NaN,1,1]",
    "[1e300,1,1]",
    "[[0,0,1]]",
]
TEXTS = ["null", "true", "3", "[]", "{}", '"a\\nb"', '"\\u0000"', '"\\ud800"']
PARTS = ["null", "true", "3", "[]", '"x"']
BAD_FIELDS = [
    *(("geometry.accelerating_voltage_kV", v) for v in [*NUMBERS, "0.2", "200000"]),
    *(("geometry.half_width_inv_A", v) for v in NUMBERS),
    *(("geometry.pixel_size_inv_A", v) for v in NUMBERS),
    *(("geometry.n_pixels", v) for v in [*NUMBERS, "13", "12.5"]),
    *(("geometry.zone_axis_uvw_direct", v) for v in [*VECTORS, "[0.5,0,1]"]),
    *(("geometry.x_direction_hkl_reciprocal", v) for v in VECTORS),
    *(("geometry.surface_normal_uvw_direct", v) for v in VECTORS),
    *(("geometry.orientation", v) for v in [*TEXTS, '"up"', '""']),
    *(("images.n", v) for v in [*NUMBERS, "3"]),
    *(("images.shape", v) for v in ["null", "12", "[12]", "[12,13]", "[12,12,12]", '["12","12"]', "[true,12]"]),
    *(("images.hkl", v) for v in ["null", "3", "[]", "[[0,0,0]]", '"hkl"', "[1,2,3]", "[[true,0,0]]"]),
    *(("images.raw_dtype", v) for v in [*TEXTS, '"O"', '"V8"', '"complex64"', '"f8,(1000,)f8"', '"<M8[s]"']),
    *((name, v) for name in ("geometry", "images", "crystal") for v in PARTS),
    *(("crystal.file", v) for v in TEXTS),
    *(("material", v) for v in TEXTS),
]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=[f"{f}={v[:20]}" for f, v in BAD_FIELDS])
def test_a_field_that_is_wrong_is_named(folder, field, value):
    described = copy.deepcopy(WHOLE)
    *parts, last = field.split(".")
    place = described
    for part in parts:
        place = place[part]
    place[last] = "@"
    (folder / "experiment.json").write_text(json.dumps(described).replace('"@"', value))
    refused(folder, last if field != "geometry.half_width_inv_A" else "half.width")


@pytest.mark.parametrize("field", [*list(GEOMETRY)[:3], "half_width_inv_A"])
def test_a_field_that_is_missing_is_named(folder, field):
    described = copy.deepcopy(WHOLE)
    del described["geometry"][field]
    (folder / "experiment.json").write_text(json.dumps(described))
    refused(folder, f"{field} .* got nothing")
    (folder / "experiment.json").write_text("{}")
    refused(folder, "has no geometry; expected an object with accelerating_voltage_kV")


def test_descriptions_that_are_no_file_or_without_end(folder):
    path = folder / "experiment.json"
    with path.open("r+b") as stream:
        stream.truncate(8 * 10**9)
    refused(folder, "it has 8 GB, more than the 50 MB")
    path.unlink()
    path.symlink_to("/dev/zero")
    refused(folder, "it is a device")
    path.unlink()
    os.mkfifo(path)
    refused(folder, "named pipe")
    path.unlink()
    path.mkdir()
    refused(folder, "it is a folder")


def test_texts_that_are_no_json(folder):
    path = folder / "experiment.json"
    deep = '{"geometry": ' + "[" * 100_000
    for text in (
        deep,
        deep + "]" * 100_000 + "}",
        '{"geometry": {}, "geometry": {}}',
        "null",
        "3",
        '"x"',
        "{",
        "",
    ):
        path.write_text(text)
        refused(folder, r"experiment\.json")
    path.write_bytes(json.dumps(WHOLE).encode("utf-16"))
    refused(folder, "UTF-8")
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(WHOLE).encode())
    assert load_experiment(folder).hkl == HKL


def test_a_crystal_that_cannot_be_read_is_noted(folder):
    os.mkfifo(folder / "crystal.cif")
    assert "the crystal beside the images cannot be used: " in load_experiment(folder).notes[0]
    (folder / "experiment.json").write_text(json.dumps({"geometry": GEOMETRY}))
    (folder / "crystal.cif").unlink()
    assert load_experiment(folder).notes == ()


def header(shape, descr="<f8"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


def archive(path, images, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("images.npy", images)
        stream = io.BytesIO()
        np.save(stream, np.array(HKL))
        file.writestr("hkl.npy", stream.getvalue())


def test_archives_that_announce_more_than_there_is(folder):
    path = folder / "images.npz"
    archive(path, header((3, 100_000, 100_000)))
    refused(folder, "it announces 30000000000 pixels, which need about 960 GB of memory")
    archive(path, header((8, 1000, 1000)))
    refused(folder, "does not have the size that it announces")
    archive(path, header((8, 3000, 1500), "|u1") + bytes(36_000_000), zipfile.ZIP_DEFLATED)
    refused(folder, "n_pixels is 12")  # small enough to be looked at
    archive(path, header((8, 6000, 1500), "|u1") + bytes(72_000_000), zipfile.ZIP_DEFLATED)
    refused(folder, "is said to take 72 MB in a file of")
    archive(path, header((-8, -12, 12)) + STACK.tobytes())
    refused(folder, "damaged")
    path.unlink()
    os.mkfifo(path)
    refused(folder, "named pipe")
    path.unlink()
    refused(folder, "no such file")


BAD_ARRAYS = {
    "no stack": ({"images": STACK[0]}, r"its images are an array \(12, 12\)"),
    "a number": ({"images": np.array(3)}, "its images are an array"),
    "no image": ({"images": STACK[:0]}, "its images are an array"),
    "complex": ({"images": STACK.astype(complex)}, "not numbers but complex128"),
    "yes and no": ({"images": STACK > 5}, "not numbers but bool"),
    "words": ({"images": STACK.astype(str)}, "not numbers but <U"),
    "half an index": ({"hkl": np.array(HKL) + 0.5}, "whole numbers"),
    "NaN": ({"hkl": np.array(HKL) * np.nan}, "whole numbers"),
    "infinite": ({"hkl": np.full((len(HKL), 3), np.inf)}, "whole numbers"),
    "huge": ({"hkl": np.array(HKL) * 1e300}, "whole numbers up to 10000"),
    "not 64 bits": ({"hkl": np.array(HKL).astype(np.uint64)}, "whole numbers up to 10000"),
    "texts": ({"hkl": np.array(HKL).astype(str)}, "whole numbers"),
    "too few": ({"hkl": np.array(HKL)[:3]}, f"expected {len(HKL)} reflections"),
    "twice": ({"hkl": np.array(HKL)[[0, 0, *range(2, len(HKL))]]}, "has two images"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_that_are_no_stack(folder, name):
    arrays, match = BAD_ARRAYS[name]
    np.savez(folder / "images.npz", **({"images": STACK, "hkl": np.array(HKL)} | arrays))
    (folder / "experiment.json").write_text(json.dumps({"geometry": {**GEOMETRY, "n_pixels": 12}}))
    refused(folder, match)


def test_an_archive_says_itself_which_reflections_it_holds(folder):
    assert read_measured(folder / "images.npz", HKL).files[1] == "images.npz, image 2"
    with pytest.raises(FileFormatError, match="--hkl contradicts them"):
        read_measured(folder / "images.npz", HKL[::-1])


BAD_GEOMETRIES = [
    ({"energy": True}, "energy"),
    ({"energy": np.nan}, "energy"),
    ({"half_width": -1.0}, "half_width"),
    ({"half_width": 1e300}, "the limit is 350 mrad"),
    ({"zone_axis": (0, 0, 0)}, "zone_axis"),
    ({"zone_axis": (0, 0.5, 1)}, "zone_axis"),
    ({"x_direction": (np.inf, 0, 0)}, "x_direction"),
    ({"foil_normal": (0, 0, 0)}, "foil_normal"),
    ({"center": (50.0, 0.0)}, "the limit is 350 mrad"),
]


@pytest.mark.parametrize(("changes", "match"), BAD_GEOMETRIES)
def test_impossible_geometries(changes, match):
    stated = {"energy": 200e3, "zone_axis": ZONE, "x_direction": (1, 1, 0), "half_width": HALF_WIDTH}
    with pytest.raises(SettingError, match=match):
        Geometry(**(stated | changes))


BAD_METADATA = [
    ("energy", "high"),
    ("energy", -1.0),
    ("energy", float("nan")),
    ("energy", True),
    ("zone_axis", [0, 0, 0]),
    ("zone_axis", "001"),
    ("zone_axis", [0.5, 0, 0]),
    ("x_direction", [1, 2]),
    ("x_direction", [float("inf"), 0, 0]),
    ("foil_normal", [0, 0, 0]),
    ("orientation", "up"),
    ("orientation", 3),
    ("notes", 3),
    ("crystal_cif", 3),
]


@pytest.mark.parametrize(("name", "value"), BAD_METADATA)
def test_impossible_metadata(name, value):
    pattern = experiment_of(STACK).pattern.copy()
    pattern.attrs = pattern.attrs | {name: value}
    with pytest.raises(SettingError, match=name):
        Experiment(pattern)


def test_impossible_labels():
    pattern = experiment_of(STACK).pattern
    for spoilt, match in (
        (pattern.drop_vars("k"), "Miller index k"),
        (pattern.assign_coords(l=("hkl", np.full(len(HKL), 0.5))), "Miller index l"),
        (pattern.assign_coords(kx=pattern["kx"].values[::-1]), "kx of an experiment"),
        (pattern.assign_coords(ky=("ky", pattern["ky"].values * np.nan)), "ky of an experiment"),
        (pattern.astype(complex), "complex"),
    ):
        with pytest.raises(SettingError, match=match):
            Experiment(spoilt)


def test_files_stay_with_their_reflections():
    geometry = Geometry(200e3, ZONE, (1, 1, 0), HALF_WIDTH)
    names = [f"DF_{i}.tif" for i in range(len(HKL))]
    experiment = make_experiment(STACK, HKL, geometry, files=names)
    assert experiment.select([HKL[3], HKL[1]]).files == ("DF_3.tif", "DF_1.tif")
    assert make_experiment(STACK, HKL, geometry).files == ()
