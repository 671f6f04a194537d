"""TIFF as ImageJ reads it."""

import numpy as np
import pytest
import tifffile
import xarray as xr

from lacbed.errors import FileFormatError
from lacbed.patterns import load_pattern, save_pattern


@pytest.mark.parametrize("disc", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip_to_float32(make_pattern, tmp_path, dtype, disc):
    pattern = make_pattern(dtype=dtype, disc=disc)
    save_pattern(pattern, tmp_path / "p.tif")
    found = load_pattern(tmp_path / "p.tif")
    assert found.dtype == np.float32
    xr.testing.assert_identical(found, pattern.astype(np.float32, keep_attrs=True))


@pytest.mark.parametrize(("thicknesses", "count"), [((300.0,), 1), ((300.0,), 3), ((300.0, 600.0), 1)])
def test_axes_of_length_one_come_back(make_pattern, tmp_path, thicknesses, count):
    hkl = ((0, 0, 0), (2, 0, 0), (0, 2, 0))[:count]
    pattern = make_pattern(dtype=np.float32, thicknesses=thicknesses, hkl=hkl)
    save_pattern(pattern, tmp_path / "p.tiff")
    xr.testing.assert_identical(load_pattern(tmp_path / "p.tiff"), pattern)


def test_what_imagej_sees(make_pattern, tmp_path):
    pattern = make_pattern(thicknesses=(300.0, 600.0, 900.0))
    save_pattern(pattern, tmp_path / "p.tif")
    with tifffile.TiffFile(tmp_path / "p.tif") as tiff:
        assert tiff.is_imagej
        assert tiff.series[0].axes == "TCYX"
        assert tiff.series[0].shape == (3, 3, 12, 12)
        found = tiff.imagej_metadata
        numerator, denominator = tiff.pages[0].tags["XResolution"].value
        first = tiff.asarray()[0, 0]
    pitch = 1 / 12
    assert numerator / denominator == pytest.approx(1 / pitch)
    assert found["unit"] == "1/\\u00C5"  # ImageJ reads \u00C5 as Å
    assert (found["frames"], found["channels"], found["hyperstack"], found["mode"]) == (3, 3, True, "grayscale")
    assert found["finterval"] == 300
    assert found["Labels"][:4] == ["0 0 0  300 Å", "2 0 0  300 Å", "-1 1 0  300 Å", "0 0 0  600 Å"]
    assert len(found["Ranges"]) == 6
    # Row 0, at the top of the screen, is the largest ky: y points up.
    np.testing.assert_array_equal(first[0], pattern.values[0, 0, -1].astype(np.float32))
    # ImageJ: x = (column - xorigin) * pitch, and with inverty y = (yorigin - row) * pitch.
    assert (0 - found["xorigin"]) * pitch == pytest.approx(float(pattern["kx"][0]))
    assert found["inverty"] is True
    assert (found["yorigin"] - 0) * pitch == pytest.approx(float(pattern["ky"][-1]))


def test_complex_amplitudes_are_refused(make_pattern, tmp_path):
    with pytest.raises(FileFormatError, match=r"choose \.nc, \.zarr or \.npz"):
        save_pattern(make_pattern(dtype=np.complex128), tmp_path / "p.tif")


def test_other_tiffs_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "p.tif", np.zeros((3, 3), np.float32))
    with pytest.raises(FileFormatError, match="without the metadata"):
        load_pattern(tmp_path / "p.tif")
    tifffile.imwrite(tmp_path / "q.tif", np.zeros((3, 3), np.float32), imagej=True, metadata={"Info": "{}"})
    with pytest.raises(FileFormatError, match="not written by lacbed"):
        load_pattern(tmp_path / "q.tif")
