"""Measured stacks of every kind come back as the images that were put in, or one line says what is wrong."""

import numpy as np
import pytest
import tifffile
from dm_files import write_dm
from hypothesis import given
from hypothesis import strategies as st

from lacbed.errors import FileFormatError, SettingError
from lacbed.experiment.assembly import Geometry, make_experiment
from lacbed.experiment.names import reflection_of
from lacbed.experiment.stack import read_images, read_measured

HKL = ((0, 0, 0), (1, 1, -3), (-2, -2, 10))
IMAGES = np.random.default_rng(0).integers(0, 6000, (3, 12, 12)).astype(np.float32)
NAMES = tuple("GaAs_" + "".join(f"{i:+d}" for i in g) for g in HKL)
INDEX = st.integers(-19, 19)


def write(path, image):
    """One image in the format of the ending."""
    ending = path.suffix
    if ending in (".dm3", ".dm4"):
        write_dm(path, image, int(ending[-1]))
    elif ending == ".tif":
        tifffile.imwrite(path, image, photometric="minisblack")
    elif ending == ".npy":
        np.save(path, image)
    elif ending in (".img", ".bin"):
        path.write_bytes(image.astype("<f8").tobytes())
    else:
        hspy = pytest.importorskip("rsciio.hspy")
        axes = [
            {
                "_type": "UniformDataAxis",
                "name": n,
                "size": s,
                "index_in_array": i,
                "navigate": i < image.ndim - 2,
                "units": "",
                "offset": 0.0,
                "scale": 1.0,
            }
            for i, (n, s) in enumerate(zip("nyx"[-image.ndim :], image.shape, strict=True))
        ]
        general = {"General": {"title": ""}, "Signal": {}}
        empty = {"original_metadata": {}, "learning_results": {}, "models": {}, "tmp_parameters": {}}
        made = {"package": "test", "package_version": "1"}
        flags = {"_lazy": False, "ragged": False}
        signal = {
            "data": image,
            "axes": axes,
            "metadata": general,
            "package_info": made,
            "attributes": flags,
        } | empty
        hspy.file_writer(str(path), signal)


@pytest.mark.parametrize("ending", [".dm3", ".dm4", ".tif", ".npy", ".img", ".bin", ".hspy"])
def test_a_folder_of_images_named_by_reflection(tmp_path, ending):
    for name, image in zip(NAMES, IMAGES, strict=True):
        write(tmp_path / f"{name}{ending}", image)
    stack = read_measured(tmp_path)
    assert set(stack.hkl) == set(HKL)
    for g, image in zip(HKL, IMAGES, strict=True):
        np.testing.assert_array_equal(stack.images[stack.hkl.index(g)], image)


@pytest.mark.parametrize("ending", [".dm3", ".dm4", ".tif", ".npy", ".hspy"])
def test_one_file_with_all_images(tmp_path, ending):
    write(tmp_path / f"all{ending}", IMAGES)
    stack = read_measured(tmp_path / f"all{ending}", HKL)
    np.testing.assert_array_equal(stack.images, IMAGES)
    assert stack.hkl == HKL
    with pytest.raises(FileFormatError, match="give --hkl"):
        read_measured(tmp_path / f"all{ending}")
    with pytest.raises(FileFormatError, match="3 images for 2 reflections"):
        read_measured(tmp_path / f"all{ending}", HKL[:2])


def test_an_archive(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, hkl=np.array(HKL))
    assert read_measured(tmp_path / "a.npz").hkl == HKL
    np.savez(tmp_path / "b.npz", images=IMAGES, hkl=np.array(HKL)[:, :2])
    with pytest.raises(FileFormatError, match="must be"):
        read_measured(tmp_path / "b.npz")


def test_numbered_images_of_felix_are_listed_in_felix_hkl(tmp_path):
    for i, image in enumerate(IMAGES, 1):
        (tmp_path / f"felix.{i:03d}.img").write_bytes(image.astype("<f8").tobytes())
    with pytest.raises(FileFormatError, match="rename the file or give --hkl"):
        read_measured(tmp_path)
    (tmp_path / "felix.hkl").write_text("".join(f"[{h},{k},{l}]\n" for h, k, l in HKL))  # noqa: E741
    stack = read_measured(tmp_path)
    assert stack.hkl == HKL
    np.testing.assert_array_equal(stack.images, IMAGES)


def test_raw_images_of_both_precisions(tmp_path):
    for dtype in ("<f4", "<f8"):
        (tmp_path / "a.bin").write_bytes(IMAGES[0].astype(dtype).tobytes())
        np.testing.assert_array_equal(read_images(tmp_path / "a.bin"), IMAGES[0])
    (tmp_path / "a.bin").write_bytes(b"123")
    with pytest.raises(FileFormatError, match="not a square image"):
        read_images(tmp_path / "a.bin")


@given(INDEX, INDEX, INDEX)
def test_signed_names_are_understood(h, k, l):  # noqa: E741
    assert reflection_of(f"Ge0.95Sn0.05 200kV_{h:+d}{k:+d}{l:+d}") == (h, k, l)
    assert reflection_of(f"{h:+d}{k:+d}{l:+d}") == (h, k, l)


@pytest.mark.parametrize(
    ("name", "hkl"),
    [
        ("GaAs_1_-1_3", (1, -1, 3)),
        ("2 0 0", (2, 0, 0)),
        ("Si (2,-2,10)", (2, -2, 10)),
        ("GaAs_1-13", (1, -1, 3)),
        ("-2-20", (-2, -2, 0)),
        ("disc 004", (0, 0, 4)),
        ("image", None),
        ("felix.001", None),
        ("", None),
    ],
)
def test_other_names(name, hkl):
    assert reflection_of(name) == hkl


def test_images_of_different_sizes(tmp_path):
    for name, size in zip(NAMES, (12, 12, 13), strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.ones((size, size), np.float32))
    with pytest.raises(FileFormatError, match="differ in size"):
        read_measured(tmp_path)


def test_a_square_is_cut_out_of_the_middle(tmp_path):
    image = np.arange(12 * 16, dtype=np.float32).reshape(1, 12, 16)
    tifffile.imwrite(tmp_path / "+0+0+0.tif", image)
    np.testing.assert_array_equal(read_measured(tmp_path, crop=8).images[0], image[0, 2:10, 4:12])
    with pytest.raises(FileFormatError, match="cannot be cut"):
        read_measured(tmp_path, crop=13)


def test_saturation_follows_the_stored_type(tmp_path):
    full = IMAGES.astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", full, photometric="minisblack")
    assert read_measured(tmp_path / "a.tif", HKL).saturation is None
    full[0, 0, :3] = 65535
    tifffile.imwrite(tmp_path / "a.tif", full, photometric="minisblack")
    assert read_measured(tmp_path / "a.tif", HKL).saturation == pytest.approx(0.999 * 65535)


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(FileFormatError, match="no such file"):
        read_measured(tmp_path / "none")
    with pytest.raises(FileFormatError, match="holds no images"):
        read_measured(tmp_path)
    for ending in (".dm3", ".dm4", ".tif", ".npy", ".hspy", ".npz"):
        path = tmp_path / f"a{ending}"
        path.write_bytes(b"junk" * 40)
        with pytest.raises(FileFormatError, match="cannot read"):
            read_measured(path, HKL)
        path.unlink()
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(FileFormatError, match="cannot read"):
        read_measured(tmp_path / "a.npy", HKL)
    np.save(tmp_path / "a.npy", np.ones((2, 2), complex))
    with pytest.raises(FileFormatError, match="of real numbers"):
        read_measured(tmp_path / "a.npy", HKL)
    (tmp_path / "a.xyz").write_text("")
    with pytest.raises(FileFormatError, match="suffix that is not supported"):
        read_measured(tmp_path / "a.xyz", HKL)
    (tmp_path / "b.tif").write_bytes(b"")
    with pytest.raises(FileFormatError, match="several kinds"):
        read_measured(tmp_path)


# -- arrays beside each other ------------------------------------------------------------------------
def write_arrays(folder, name="YIG_", variance=None):
    """Three arrays as PyLARBED writes them."""
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{name}Store_Larbed.npy", IMAGES.astype(np.float64))
    np.save(folder / f"{name}Store_LarbedVariance.npy", IMAGES + 500.0 if variance is None else variance)
    np.save(folder / f"{name}g_vectors.npy", np.array(HKL))
    return folder / f"{name}Store_Larbed.npy"


def test_arrays_with_reflections_and_variances_beside_them(tmp_path):
    file = write_arrays(tmp_path)
    for source in (file, tmp_path):  # the folder is as good as the file
        stack = read_measured(source, crop=10)
        assert stack.hkl == HKL
        np.testing.assert_array_equal(stack.images, IMAGES[:, 1:11, 1:11])
        np.testing.assert_array_equal(stack.variance, IMAGES[:, 1:11, 1:11] + 500.0)


def test_one_set_of_arrays_among_several_goes_by_its_name(tmp_path):
    file = write_arrays(tmp_path, "YIG_")
    write_arrays(tmp_path, "STO_", variance=IMAGES + 700.0)
    np.testing.assert_array_equal(read_measured(file).variance, IMAGES + 500.0)
    with pytest.raises(FileFormatError, match="one array of images"):
        read_measured(tmp_path)
    np.save(tmp_path / "YIG_old_g_vectors.npy", np.array(HKL))
    with pytest.raises(FileFormatError, match="keep one set"):
        read_measured(file)


def test_a_variance_of_nothing_does_not_outweigh_all_others(tmp_path):
    variance = IMAGES + 100.0
    variance[1, 2, 3] = 0.0
    stack = read_measured(write_arrays(tmp_path, variance=variance))
    assert stack.variance[1, 2, 3] == pytest.approx(0.01 * np.median(variance[1]))
    assert any("1 variances below" in note for note in stack.notes)


def test_arrays_without_variance(tmp_path):
    assert read_measured(write_arrays(tmp_path, variance=np.array([]))).variance is None


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("g_vectors", np.array(HKL)[:2], "3 reflections"),
        ("g_vectors", np.array(HKL) + 0.5, "whole numbers"),
        ("Store_LarbedVariance", IMAGES[:2], "variance of every pixel"),
        ("g_vectors", np.array([{}], dtype=object), "pickle"),
    ],
)
def test_arrays_that_do_not_go_together(tmp_path, name, values, says):
    file = write_arrays(tmp_path)
    np.save(tmp_path / f"YIG_{name}.npy", values)
    with pytest.raises(FileFormatError, match=says):
        read_measured(file)


def test_variances_lie_as_their_images_do():
    hkl = ((0, 0, 0), (1, 0, 0), (0, 1, 0))
    geometry = Geometry(200e3, (0, 0, 1), (1, 0, 0), 0.5, orientation="+x-y")
    found = make_experiment(IMAGES, hkl, geometry, variance=IMAGES + 500.0)
    np.testing.assert_array_equal(found.variance, found.images + 500.0)
    with pytest.raises(SettingError, match="shape of the images"):
        make_experiment(IMAGES, hkl, geometry, variance=IMAGES[:2])
