"""A reflection is taken from a name only where it can be nothing else; running numbers are refused."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from lacbed.errors import FileFormatError
from lacbed.experiment.names import natural_key, reflections_of
from lacbed.experiment.stack import read_measured

IMAGE = np.arange(144, dtype=np.uint16).reshape(12, 12)


def of(*names):
    return reflections_of([Path("/nowhere") / f"{name}.tif" for name in names])


def numbers(template, *values):
    return [template.format(v) for v in values]


def folder(path, *names):
    """Images whose mean grows by 100 from one name to the next."""
    for i, name in enumerate(names, 1):
        tifffile.imwrite(path / name, IMAGE + np.uint16(100 * i), photometric="minisblack")
    return path


RUNNING = {
    "padded": numbers("LACBED_{:03d}", 1, 2, 3, 4),
    "from zero": numbers("LACBED_{:03d}", 0, 1, 2, 3),
    "two": numbers("img_{:03d}", 1, 2),
    "one": ["img_001"],
    "one without zeros": ["img_112"],
    "anywhere": numbers("frame {}", 110, 111, 112, 113),
    "over a hundred": numbers("a{:03d}", *range(96, 105)),
    "every other": numbers("DF_{:03d}", 1, 3, 5, 7),
    "tens": numbers("DF_{:03d}", 10, 20, 30, 40),
    "hundreds": numbers("DF_{}", 100, 200, 300, 400),
    "some missing": numbers("DF_{:03d}", 1, 2, 5, 7, 11),
    "far apart and of no zone": numbers("DF_{:03d}", 12, 145, 313, 647),
    "bare": numbers("{:03d}", 1, 2, 3),
    "after a hyphen": numbers("img-{:03d}", 1, 2, 3),
    "hyphen without zeros": numbers("scan-{}", 111, 113, 220),
    "session and number": numbers("scan_1-{}", 10, 11, 12, 13),
    "prefixes": ["BF_001", "DF_002", "DF_003"],
    "separated counter": numbers("grid_1_1_{}", 1, 2, 3),
    "counter in front": numbers("run {} 1 1", 1, 2, 3, 5),
    "counter with hyphens": numbers("scan-1-1-{}", 1, 2, 3),
    "hyphens between": ["GaAs-0-0-0", "GaAs-1-1-1", "GaAs-2-2-0"],
    "hyphens in front": ["GaAs-1-1-1", "GaAs-2-2-2"],
    "signed and numbered": ["GaAs_+0+0+0", "GaAs_+1+1+1", "overview_003"],
    "separated and numbered": ["GaAs_0_0_0", "GaAs_1_-1_1", "GaAs_113"],
    "four digits": numbers("{:04d}", 1, 2, 3),
    "two digits": numbers("scan-{}", 12, 13),
    "one digit": ["frame 3", "frame 4"],
    "date": ["a_2024_11_29_12_30_45", "a_2024_11_29_12_31_15"],
    "padded with separators": ["a_01_02_03", "a_01_02_05"],
    "day": ["2024-11-29-1", "2024-11-29-2"],
    "bars": ["GaAs_bar111", "GaAs_111", "GaAs_000"],
    "bars behind": ["GaAs_1bar1bar1", "GaAs_000"],
    "five": ["GaAs+1+1+1+1+1"],
}


@pytest.mark.parametrize("name", RUNNING)
def test_running_numbers_are_no_reflections(name):
    with pytest.raises(FileFormatError, match="--hkl") as caught:
        of(*RUNNING[name])
    assert "\n" not in str(caught.value)


REFLECTIONS = {
    "signed": (["GaAs_+0+0+0", "GaAs_+1+1-3", "GaAs_-2-2+10"], [(0, 0, 0), (1, 1, -3), (-2, -2, 10)]),
    "signed and all negative": (["GaAs_+0+0+0", "GaAs_-1-1-1"], [(0, 0, 0), (-1, -1, -1)]),
    "joined": (["GaAs+0+0+0", "GaAs-1-1-1"], [(0, 0, 0), (-1, -1, -1)]),
    "one signed": (["+1+1+1"], [(1, 1, 1)]),
    "a signed row": (numbers("a_+0+0+{}", 1, 2, 3), [(0, 0, 1), (0, 0, 2), (0, 0, 3)]),
    "separated": (["a_0_0_0", "a_1_-1_1", "a_2_0_0"], [(0, 0, 0), (1, -1, 1), (2, 0, 0)]),
    "blanks and brackets": (["Si (2 -2 10)", "Si (0 0 0)"], [(2, -2, 10), (0, 0, 0)]),
    "a row of even indices": (numbers("a 0 0 {}", 0, 2, 4, 6), [(0, 0, 0), (0, 0, 2), (0, 0, 4), (0, 0, 6)]),
    "compact with signs": (["000", "-111", "1-1-1", "-1-1-1"], [(0, 0, 0), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)]),
    "other minus signs": (["a_000", "a_\N{MINUS SIGN}111"], [(0, 0, 0), (-1, 1, 1)]),
    "three digits that no counter makes": (
        ["a_000", "a_111", "a_002", "a_220", "a_113"],
        [(0, 0, 0), (1, 1, 1), (0, 0, 2), (2, 2, 0), (1, 1, 3)],
    ),
    "number and reflection": (["1_0_0_0", "2_1_-1_1"], [(0, 0, 0), (1, -1, 1)]),
    "four indices": (["+0+0+0+0", "+1+1-2+0", "-1+0+1-2"], [(0, 0, 0), (1, 1, 0), (-1, 0, -2)]),
    "four indices with separators": (["0_0_0_0", "1_1_-2_3"], [(0, 0, 0), (1, 1, 3)]),
}


@pytest.mark.parametrize("name", REFLECTIONS)
def test_names_that_are_reflections(name):
    names, hkl = REFLECTIONS[name]
    assert of(*names) == hkl


def test_two_files_of_one_reflection_are_both_named():
    with pytest.raises(FileFormatError, match=r"'a_\+1\+1\+1.tif' and 'b_\+1\+1\+1.tif' are named by the same"):
        of("a_+1+1+1", "b_+1+1+1")


def test_natural_order():
    names = ["DF_10.tif", "df_9.tif", "DF_2b.tif", "DF_2.tif", "DF_02.tif", "BF.tif", "DF_2_10.tif", "DF_2_9.tif"]
    ordered = [path.name for path in sorted(map(Path, names), key=natural_key)]
    assert ordered == [
        "BF.tif",
        "DF_02.tif",
        "DF_2.tif",
        "DF_2_9.tif",
        "DF_2_10.tif",
        "DF_2b.tif",
        "df_9.tif",
        "DF_10.tif",
    ]


def test_reflections_are_given_in_natural_order(tmp_path):
    folder(tmp_path, *(f"DF_{i}.tif" for i in range(1, 13)))
    hkl = [(0, 0, i) for i in range(1, 13)]
    stack = read_measured(tmp_path, hkl)
    assert stack.files == tuple(f"DF_{i}.tif" for i in range(1, 13))
    np.testing.assert_allclose(stack.images.mean(axis=(1, 2)), IMAGE.mean() + 100 * np.arange(1, 13))
    with pytest.raises(FileFormatError, match="give --hkl"):
        read_measured(tmp_path)


def test_two_files_of_one_number_have_no_order(tmp_path):
    folder(tmp_path, "DF_1.tif", "DF_2.tif", "DF_02.tif")
    with pytest.raises(FileFormatError, match=r"'DF_02.tif' and 'DF_2.tif' have the same number"):
        read_measured(tmp_path, [(0, 0, 0), (1, 1, 1), (2, 2, 0)])


def test_reflections_given_against_the_names_are_noted(tmp_path):
    folder(tmp_path, "a_+0+0+0.tif", "a_+1+1+1.tif")
    assert read_measured(tmp_path, [(0, 0, 0), (1, 1, 1)]).notes == ()
    notes = read_measured(tmp_path, [(1, 1, 1), (0, 0, 0)]).notes
    assert notes == ("a_+0+0+0.tif is taken as 1,1,1, as given, although its name says 0,0,0",)


def test_one_numbered_file_is_no_reflection(tmp_path):
    folder(tmp_path, "LACBED_001.tif", "a_+1+1+1.tif")
    with pytest.raises(FileFormatError, match="running numbers"):
        read_measured(tmp_path / "LACBED_001.tif")
    assert read_measured(tmp_path / "LACBED_001.tif", [(0, 0, 2)]).hkl == ((0, 0, 2),)
    assert read_measured(tmp_path / "a_+1+1+1.tif").hkl == ((1, 1, 1),)


def test_the_case_of_natural_order(shared):
    hkl = [(0, 0, 0), (1, 1, 1), (-1, -1, -1), (2, 2, 0), *((0, 0, i) for i in range(1, 9))]
    stack = read_measured(shared("cases/numbered_files_natural_order/natural"), hkl)
    mean = dict(zip(stack.hkl, stack.images.mean(axis=(1, 2)), strict=True))
    assert dict(zip(stack.hkl, stack.files, strict=True))[1, 1, 1] == "DF_2.tif"
    assert mean[1, 1, 1] == pytest.approx(1150, abs=1)
    assert mean[2, 2, 0] == pytest.approx(1350, abs=1)


def test_the_case_of_numbers_read_as_reflections(shared):
    with pytest.raises(FileFormatError, match=r"running numbers.*--hkl"):
        read_measured(shared("cases/numbered_files_read_as_hkl/padded"))
