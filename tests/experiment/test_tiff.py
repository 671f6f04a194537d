"""A TIFF gives the counts that were stored, or the true reason why it does not."""

import re
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from lacbed.errors import FileFormatError
from lacbed.experiment.stack import read_images, read_measured, read_noted

STACK = np.random.default_rng(0).integers(0, 60000, (3, 12, 12)).astype(np.uint16)
BYTES = STACK.astype(np.uint8)


def save(path, image, **options):
    tifffile.imwrite(path, image, **({"photometric": "minisblack"} | options))


def several(path, images, options=None):
    with tifffile.TiffWriter(path) as file:
        for i, image in enumerate(images):
            file.write(image, **({"photometric": "minisblack"} | (options[i] if options else {})))


def with_levels(path, _):
    with tifffile.TiffWriter(path) as file:
        file.write(STACK, photometric="minisblack", subifds=1, tile=(16, 16))
        file.write(STACK[:, ::2, ::2], photometric="minisblack", subfiletype=1, tile=(16, 16))


def with_thumbnail(path, image):
    several(path, [image, image[::2, ::2]], [{"metadata": None}, {"metadata": None, "subfiletype": 1}])


READ = {
    "plain": save,
    "BigTIFF": lambda p, a: save(p, a, bigtiff=True),
    "other byte order": lambda p, a: save(p, a, byteorder=">"),
    "tiles": lambda p, a: save(p, a, tile=(16, 16)),
    "strips": lambda p, a: save(p, a, rowsperstrip=5),
    "deflated": lambda p, a: save(p, a, compression="zlib", predictor=True),
    "ImageJ": lambda p, a: tifffile.imwrite(p, a, imagej=True),
    "OME": lambda p, a: save(p, a, ome=True, metadata={"axes": "ZYX"}),
    "one by one": several,
    "five axes": lambda p, a: save(p, a[None, None]),
    "levels": with_levels,
}


@pytest.mark.parametrize("name", READ)
def test_stacks_as_they_are_saved(tmp_path, name):
    READ[name](tmp_path / "a.tif", STACK)
    images, notes = read_noted(tmp_path / "a.tif")
    np.testing.assert_array_equal(images, STACK)
    assert (images.dtype, notes) == (STACK.dtype, [])


def test_a_thumbnail_is_passed_over(tmp_path):
    with_thumbnail(tmp_path / "a.tif", STACK[0])
    np.testing.assert_array_equal(read_images(tmp_path / "a.tif"), STACK[0])


def picture(mode, kind="TIFF"):
    return lambda path: Image.fromarray(BYTES[0]).convert(mode).save(path, format=kind)


def compressed(name):
    return lambda path: Image.fromarray(BYTES[0]).save(path, compression=name)


COLOUR = "colour image .*save as grey"
REFUSED = {
    "RGB": (lambda p: tifffile.imwrite(p, np.moveaxis(BYTES, 0, -1), photometric="rgb"), COLOUR),
    "RGB in planes": (lambda p: save(p, BYTES, photometric="rgb", planarconfig="separate"), "minisblack"),
    "RGBA": (picture("RGBA"), COLOUR),
    "palette": (picture("P"), COLOUR),
    "CMYK": (picture("CMYK"), COLOUR),
    "grey with transparency": (picture("LA"), "save as grey"),
    "black or white": (picture("1"), "1 bit per pixel"),
    "two sizes": (lambda p: several(p, [STACK[0], STACK[1, :9, :9]]), "2 series of different images"),
    "two types": (lambda p: several(p, [STACK[0], BYTES[0]]), "2 series of different images"),
    "hyperstack": (
        lambda p: tifffile.imwrite(p, np.stack([STACK, STACK]), imagej=True, metadata={"axes": "TZYX"}),
        "hyperstack of 2 x 3 images",
    ),
    "complex": (lambda p: save(p, STACK.astype(complex)), "of real numbers"),
    "PNG": (picture("L", "PNG"), "it is a PNG picture"),
    "JPEG": (picture("L", "JPEG"), "it is a JPEG picture"),
    "NumPy": (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00"), "it is a NumPy array"),
    "nothing": (lambda p: p.write_bytes(b""), "it is empty"),
    "text": (lambda p: p.write_bytes(b"sample 1, 200 kV, exposure 2 s"), "it is no TIFF"),
    "white and black": (
        lambda p: several(p, STACK[:2], [{"photometric": "miniswhite"}, {}]),
        "in some of its pages the smallest value is white",
    ),
    "white of floating-point numbers": (lambda p: save(p, STACK / 7, photometric="miniswhite"), "MinIsWhite"),
    "white of signed numbers": (lambda p: save(p, STACK.astype(np.int32), photometric="miniswhite"), "MinIsWhite"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_reason_is_the_true_one(tmp_path, name):
    make, match = REFUSED[name]
    make(tmp_path / "a.tif")
    with pytest.raises(FileFormatError, match=match) as caught:
        read_images(tmp_path / "a.tif")
    assert "damaged" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "shown"), [("tiff_lzw", "LZW"), ("jpeg", "JPEG"), ("zstd", "ZSTD")])
def test_compression_is_named(tmp_path, name, shown):
    compressed(name)(tmp_path / "a.tif")
    try:
        images = read_images(tmp_path / "a.tif")
    except FileFormatError as error:
        assert f"compressed ({shown}); pip install imagecodecs, or save uncompressed" in str(error)  # noqa: PT017
    else:  # with imagecodecs
        assert images.shape == (12, 12)


def test_compressed_images_that_are_damaged_and_unknown_methods(tmp_path):
    path = tmp_path / "a.tif"
    save(path, STACK, compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        at, entry = file.pages[0].dataoffsets[0], file.pages[0].tags["Compression"].valueoffset
    content[at : at + 8] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(
        FileFormatError, match=r"compressed \(ADOBE_DEFLATE\), and its compressed data are damaged"
    ):
        read_images(path)
    content[entry : entry + 2] = struct.pack("<H", 999)
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"compressed \(method 999\)"):
        read_images(path)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_white_as_the_smallest_value_is_turned_over(tmp_path, dtype):
    stack = STACK.astype(dtype)
    save(tmp_path / "a.tif", stack, photometric="miniswhite")
    images, notes = read_noted(tmp_path / "a.tif")
    top = np.iinfo(dtype).max
    np.testing.assert_array_equal(images, top - stack)
    assert images.dtype == dtype
    assert notes == [f"the smallest value is white (photometric MinIsWhite); counts are taken as {top} - value"]


def test_white_in_some_files_of_a_folder_is_noted_with_their_number(tmp_path):
    for i, kind in enumerate(["minisblack", "miniswhite", "minisblack"]):
        save(tmp_path / f"a_+{i}+{i}+0.tif", STACK[i], photometric=kind)
    stack = read_measured(tmp_path)
    np.testing.assert_array_equal(stack.images[1], 65535 - STACK[1])
    np.testing.assert_array_equal(stack.images[2], STACK[2])
    assert stack.notes[0].endswith("65535 - value (1 of 3 files)")


def test_a_picture_to_be_shown_turned_is_noted(tmp_path):
    save(tmp_path / "a.tif", STACK, extratags=[(274, 3, 1, 3, True)])
    images, notes = read_noted(tmp_path / "a.tif")
    np.testing.assert_array_equal(images, STACK)
    assert "orientation tag (3)" in notes[0]


@pytest.mark.parametrize("name", ["plain", "BigTIFF", "strips", "tiles", "deflated", "ImageJ", "one by one"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.98])
def test_a_file_that_is_cut_short_says_so(tmp_path, name, part):
    READ[name](tmp_path / "a.tif", STACK)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: int(part * len(content))])
    with pytest.raises(FileFormatError, match=r"it is cut short: .* file has \d+ bytes"):
        read_images(tmp_path / "a.tif")


def test_a_list_of_pages_without_end(tmp_path):
    save(tmp_path / "a.tif", STACK[0])
    content = bytearray((tmp_path / "a.tif").read_bytes())
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * count, first)
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(FileFormatError, match="has no end after page 1"):
        read_images(tmp_path / "a.tif")


def test_images_that_expand_beyond_reason(tmp_path):
    save(tmp_path / "a.tif", np.zeros((20, 1500, 1500), np.uint16), compression="zlib")
    with pytest.raises(FileFormatError, match=r"its images is said to take 90 MB in a file of .* kB"):
        read_images(tmp_path / "a.tif")


def test_bytes_changed_by_chance_end_in_one_line_or_in_images(tmp_path, capfd):
    generator = np.random.default_rng(5)
    path = tmp_path / "a.tif"
    for name in ("plain", "deflated", "ImageJ", "tiles"):
        READ[name](path, STACK)
        whole = path.read_bytes()
        for _ in range(60):
            content = bytearray(whole)
            for place in generator.integers(0, min(600, len(whole)), 2):
                content[place] = generator.integers(0, 256)
            path.write_bytes(content)
            try:
                assert read_images(path).ndim in (2, 3)
            except FileFormatError as error:
                assert "\n" not in str(error)  # noqa: PT017
    assert capfd.readouterr().err == ""


def test_a_folder_of_pictures(tmp_path):
    picture("L", "PNG")(tmp_path / "a_+1+1+1.png")
    with pytest.raises(FileFormatError, match="the 1 pictures in it hold no counts; save them as TIFF"):
        read_measured(tmp_path)
    with pytest.raises(FileFormatError, match="a picture holds no counts"):
        read_measured(tmp_path / "a_+1+1+1.png")


def test_the_cases(shared):
    for part, match in (
        ("tiff_compressed/lzw", r"compressed \(LZW\); pip install imagecodecs, or save uncompressed"),
        ("tiff_compressed/jpeg_tif", r"compressed \(JPEG\); pip install imagecodecs, or save uncompressed"),
        ("tiff_rgb/rgb", r"colour image \(RGB\).*save as grey"),
    ):
        try:
            images = read_measured(shared(f"cases/{part}")).images
        except FileFormatError as error:
            assert re.search(match, str(error)), error  # noqa: PT017
        else:  # with imagecodecs
            assert part != "tiff_rgb/rgb"
            assert images.shape == (3, 32, 32)
    white = read_measured(shared("cases/tiff_min_is_white/white.tif"), [(0, 0, 0), (1, 1, 1), (2, 2, 0)])
    np.testing.assert_allclose(white.images.mean(axis=(1, 2)), [1050, 1150, 1250], atol=1)
    assert "65535 - value" in white.notes[0]
