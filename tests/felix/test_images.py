"""Images of Felix become patterns that compare with ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from felix_folder import HKL, make_folder, write_images

import lacbed
from lacbed.errors import FileFormatError

GAAS = lacbed.Crystal.named("GaAs")
GRID = lacbed.TiltGrid(12, k_max=0.3)


@pytest.fixture(scope="module")
def pattern() -> object:
    """What Felix would have computed; GaAs has no centre, so that every mirror image differs."""
    return lacbed.simulate(
        GAAS, thicknesses=(300, 400), grid=GRID, hkl=HKL, refraction=False, beams=40, x_direction=(1, 0, 0)
    )


def _folders(
    folder: Path, pattern, names=("GaAs_Sim_0300A_012x012", "GaAs_Sim_0400A_012x012"), dtype="<f8"
) -> Path:
    make_folder(folder, GAAS)
    for name, images in zip(names, pattern.values, strict=True):
        write_images(folder / name, images, dtype)
    return folder


@pytest.mark.parametrize(("dtype", "tolerance"), [("<f8", 0.0), ("<f4", 1e-7)])
def test_images_come_back_as_the_pattern_that_they_are(
    tmp_path: Path, pattern, dtype: str, tolerance: float
) -> None:
    read = lacbed.load_pattern(_folders(tmp_path, pattern, dtype=dtype))
    np.testing.assert_allclose(read.kx, pattern.kx, rtol=0, atol=1e-12)
    np.testing.assert_allclose(read.gx, pattern.gx, rtol=0, atol=1e-12)
    assert list(read.hkl.values) == ["0,0,0", "2,0,0", "0,2,0", "-2,-2,0"]
    scores = lacbed.compare_patterns(read, pattern)
    assert float(scores["max_difference"].max()) <= tolerance
    # A mirror image, the likely mistake, is another pattern.
    mirrored = pattern.copy(data=pattern.values[..., ::-1])
    assert float(lacbed.compare_patterns(read, mirrored)["max_difference"].max()) > 1e-2


def test_the_last_iteration_of_a_refinement_counts(tmp_path: Path, pattern) -> None:
    names = ("GaAs_I0001_030nm_012x012", "GaAs_I0001_040nm_012x012")
    folder = _folders(tmp_path, pattern, names)
    write_images(folder / "GaAs_I0000_030nm_012x012", np.zeros((4, 12, 12)))
    read = lacbed.load_pattern(folder)
    assert list(read.thickness.values) == [300.0, 400.0]
    np.testing.assert_array_equal(read.values, pattern.values)


def test_one_folder_of_images(tmp_path: Path, pattern) -> None:
    folder = _folders(tmp_path, pattern)
    read = lacbed.load_pattern(folder / "GaAs_Sim_0400A_012x012")
    assert list(read.thickness.values) == [400.0]
    np.testing.assert_array_equal(read.values[0], pattern.values[1])


def test_measured_images_have_no_thickness(tmp_path: Path, pattern) -> None:
    folder = make_folder(tmp_path, GAAS)
    write_images(folder / "LR_12x12", 1000 * pattern.values[0], ending=".img")
    read = lacbed.load_pattern(folder / "LR_12x12")
    assert read.attrs["kind"] == "measured"
    assert np.isnan(read.thickness.values).all()
    np.testing.assert_array_equal(read.values[0], 1000 * pattern.values[0])


def test_what_cannot_be_read_is_said(tmp_path: Path, pattern) -> None:
    folder = _folders(tmp_path / "a", pattern)
    images = folder / "GaAs_Sim_0300A_012x012"
    (images / "GaAs_+2+0+0.bin").write_bytes(b"\0" * 99)
    with pytest.raises(FileFormatError, match=r"GaAs_\+2\+0\+0.bin: 99 bytes are not a square image"):
        lacbed.load_pattern(folder)
    np.zeros((5, 5)).tofile(images / "GaAs_+2+0+0.bin")
    with pytest.raises(FileFormatError, match="differ in size"):
        lacbed.load_pattern(folder)
    folder = _folders(tmp_path / "b", pattern)
    make_folder(folder, GAAS, radius=7)
    with pytest.raises(FileFormatError, match=r"12 pixels per side, but felix\.inp gives 2 x 7"):
        lacbed.load_pattern(folder)
    folder = _folders(tmp_path / "c", pattern, ("one_folder", "other"))
    with pytest.raises(FileFormatError, match="does not give the thickness"):
        lacbed.load_pattern(folder / "other")
    (folder / "felix.inp").unlink()
    with pytest.raises(FileFormatError, match=r"no felix\.inp in it or above it"):
        lacbed.load_pattern(folder / "other")


def test_a_folder_without_images_is_no_pattern(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="without Felix images"):
        lacbed.load_pattern(tmp_path)
