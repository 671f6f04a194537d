"""The axes of a signal say which of them counts the images; what leaves that open is refused."""

import shutil

import h5py
import numpy as np
import pytest
import zarr
from dm_files import write_dm
from numcodecs import LZ4, Blosc, GZip, Zstd

from lacbed.errors import FileFormatError
from lacbed.experiment.signals import check_folder
from lacbed.experiment.stack import read_measured, read_noted

hspy = pytest.importorskip("rsciio.hspy")
STACK = np.random.default_rng(0).integers(0, 60000, (3, 12, 12)).astype(np.uint16)
LAST, MIDDLE = np.moveaxis(STACK, 0, -1).copy(), np.moveaxis(STACK, 0, 1).copy()


@pytest.fixture(autouse=True)
def _without_another_process(monkeypatch):
    """HDF5 does not crash on these files, and to start Python for each of them would take its time."""
    monkeypatch.setattr("lacbed.patterns.formats.hdf5._first_reader", lambda *_: "")


def write(path, data, navigate, names="abcdef", stored=None, **axis):
    """A HyperSpy signal; `navigate` has one letter for each axis: n (navigation) or s (signal)."""
    axes = [
        {
            "_type": "UniformDataAxis",
            "name": names[i],
            "size": data.shape[i],
            "index_in_array": i,
            "navigate": letter == "n",
            "units": "1/nm",
            "offset": -1.0,
            "scale": 0.1,
        }
        | axis
        for i, letter in enumerate(navigate)
    ]
    signal = {
        "data": data,
        "axes": [axes[i] for i in stored] if stored else axes,
        "metadata": {"General": {"title": "stack"}, "Signal": {}},
        "package_info": {"package": "test", "package_version": "1"},
        "attributes": {"_lazy": False, "ragged": False},
    }
    signal |= {name: {} for name in ("original_metadata", "learning_results", "models", "tmp_parameters")}
    hspy.file_writer(str(path), signal)
    return path


READ = {
    "first": (STACK, "nss", None),
    "last": (LAST, "ssn", None),
    "in the middle": (MIDDLE, "sns", None),
    "axes in another order": (LAST, "ssn", (2, 0, 1)),
    "one of two of one step": (STACK[None], "nnss", None),
    "signal axis counts": (LAST, "nns", None),
    "no navigation": (STACK, "sss", None),
    "no navigation and last": (LAST, "sss", None),
}


@pytest.mark.parametrize("name", READ)
def test_the_axis_that_counts_the_images_comes_first(tmp_path, name):
    data, navigate, stored = READ[name]
    images, notes = read_noted(write(tmp_path / "a.hspy", data, navigate, stored=stored))
    np.testing.assert_array_equal(images, STACK)
    assert bool(notes) == (navigate.count("n") != 1 and data.ndim == 3)


def test_a_stack_of_as_many_images_as_pixels_needs_its_axes(tmp_path):
    cube = np.random.default_rng(1).uniform(0, 1, (12, 12, 12))
    images, _ = read_noted(write(tmp_path / "a.hspy", cube, "ssn"))
    np.testing.assert_array_equal(images, np.moveaxis(cube, -1, 0))
    for navigate in ("sss", "nns", "nnn"):
        (tmp_path / "a.hspy").unlink()
        with pytest.raises(FileFormatError, match=r"do not show which of them numbers.*s\.transpose"):
            read_noted(write(tmp_path / "a.hspy", cube, navigate))


def test_more_than_one_axis_of_images(tmp_path):
    path = write(tmp_path / "a.hspy", np.zeros((2, 3, 12, 12)), "nnss")
    with pytest.raises(FileFormatError, match=r"2 x 3 x 12 x 12 .*\(navigation axes: a, b\).*s\.inav"):
        read_measured(path, [(0, 0, i) for i in range(6)])


def test_axes_of_the_images_that_are_doubtful_are_noted(tmp_path):
    _, notes = read_noted(write(tmp_path / "a.hspy", STACK, "nss", names=("n", "kx", "ky")))
    assert "the images are transposed" in notes[0]
    _, notes = read_noted(write(tmp_path / "b.hspy", STACK, "nss", names=("n", "ky", "kx")))
    assert notes == []
    path = write(tmp_path / "c.hspy", STACK, "nss")
    with h5py.File(path, "a") as file:
        file["Experiments/stack/axis-1"].attrs["scale"] = 0.2
    assert read_noted(path)[1] == ["the pixels are not square: 0.2 down the rows and 0.1 along them"]


def replace(path, **options):
    with h5py.File(path, "a") as file:
        del file["Experiments/stack/data"]
        file.create_dataset("Experiments/stack/data", dtype="u2", **options)


def copy_signal(path):
    with h5py.File(path, "a") as file:
        file.copy("Experiments/stack", "Experiments/other")


def drop_axes(path):
    with h5py.File(path, "a") as file:
        file["Experiments/stack/axis-0"].attrs["size"] = 5


def leave_a_hole(path):
    replace(path, shape=STACK.shape, chunks=(1, 12, 12))
    with h5py.File(path, "a") as file:
        file["Experiments/stack/data"][0] = STACK[0]
        file["Experiments/stack/data"][2] = STACK[2]


SPOILT = {
    "a chunk is missing": (leave_a_hole, "parts of its images are missing"),
    "nothing was written": (lambda p: replace(p, shape=STACK.shape), "parts of its images are missing"),
    "8 GB announced": (lambda p: replace(p, shape=(4, 32000, 32000), chunks=(1, 500, 500)), "missing"),
    "two signals": (copy_signal, "2 signals of the same size"),
    "axes of another size": (drop_axes, "its 3 axes do not fit its array"),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:2000]), "cannot read"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_spoilt_files(tmp_path, name):
    spoil, match = SPOILT[name]
    path = write(tmp_path / "a.hspy", STACK, "nss")
    spoil(path)
    with pytest.raises(FileFormatError, match=match) as caught:
        read_noted(path)
    assert "\n" not in str(caught.value)


def test_colours_and_what_are_no_numbers(tmp_path):
    colour = np.zeros((12, 12), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for i, (data, match) in enumerate([(colour, "colour image"), (STACK[0] > 3, "real numbers")]):
        with pytest.raises(FileFormatError, match=match):
            read_noted(write(tmp_path / f"{i}.hspy", data, "ss"))


@pytest.mark.parametrize("version", [3, 4])
def test_a_dm_file_that_is_cut_short_says_so(tmp_path, version):
    path = tmp_path / f"a.dm{version}"
    write_dm(path, STACK, version)
    content = path.read_bytes()
    for part in (0.3, 0.9):
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(FileFormatError, match="it is cut short: it announces"):
            read_noted(path)
    path.write_bytes(b"GIF89a" + content[6:])
    with pytest.raises(FileFormatError, match="it is a GIF picture"):
        read_noted(path)


def test_a_zarr_folder_with_a_pipe_or_a_pickle_is_refused(tmp_path):
    import os

    (tmp_path / ".zarray").write_text('{"filters": [{"id": "zlib"}]}')
    check_folder(tmp_path)
    (tmp_path / ".zarray").write_text('{"filters": [{"id": "pickle"}]}')
    with pytest.raises(FileFormatError, match="never loaded"):
        check_folder(tmp_path)
    (tmp_path / ".zarray").unlink()
    os.mkfifo(tmp_path / "0.0")
    with pytest.raises(FileFormatError, match="not a regular file"):
        check_folder(tmp_path)


@pytest.mark.parametrize("ending", [".dm3", ".dm4", ".hspy"])
def test_bytes_changed_by_chance_end_in_one_line_or_in_images(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    if ending == ".hspy":
        write(path, STACK, "nss")
    else:
        write_dm(path, STACK, int(ending[-1]))
    whole, generator = path.read_bytes(), np.random.default_rng(2)
    for _ in range(40):
        content = bytearray(whole)
        for place in generator.integers(0, min(900, len(whole)), 2):
            content[place] = generator.integers(0, 256)
        path.write_bytes(content)
        try:
            assert read_noted(path)[0].ndim in (2, 3)
        except FileFormatError as error:
            assert "\n" not in str(error)  # noqa: PT017


def write_zspy(path, data, navigate="nss", original=None, compressors="auto"):
    """What HyperSpy 2.5 writes, by Zarr alone."""
    signal = zarr.open_group(path, mode="w", zarr_format=2).create_group("Experiments/__unnamed__")
    for i, letter in enumerate(navigate):
        axis = {"_type": "UniformDataAxis", "name": "abcdef"[i], "navigate": letter == "n", "offset": 0.0}
        signal.create_group(f"axis-{i}").attrs.update(
            axis | {"scale": 1.0, "size": data.shape[i], "units": "_None_"}
        )
    for name in ("attributes", "metadata", "learning_results", "original_metadata"):
        signal.create_group(name).attrs.update(original or {} if name == "original_metadata" else {})
    chunks = (1, *data.shape[1:])
    stored = signal.create_array(
        "data", shape=data.shape, chunks=chunks, dtype=data.dtype, fill_value=0, compressors=compressors
    )
    stored[...] = data
    return path


def test_zspy_is_read_without_hyperspy(tmp_path):
    for name in ("first", "last", "in the middle"):
        data, navigate, _ = READ[name]
        images, notes = read_noted(write_zspy(tmp_path / f"{name}.zspy", data, navigate))
        np.testing.assert_array_equal(images, STACK)
        assert notes == []


@pytest.mark.parametrize(
    "codec", [Blosc(), Blosc("zstd", shuffle=2), Blosc(clevel=0), Zstd(), GZip(), LZ4(), None]
)
def test_a_chunk_that_is_not_whole(tmp_path, codec):
    data = np.random.default_rng(0).poisson(3.0, STACK.shape).astype("f4")
    path = write_zspy(tmp_path / "s.zspy", data, compressors=codec)
    chunk = path / "Experiments" / "__unnamed__" / "data" / "1.0.0"
    whole = chunk.read_bytes()
    np.testing.assert_array_equal(read_noted(path)[0], data)
    others = [whole[:20], whole[: len(whole) // 2], whole[:-8]]
    if isinstance(codec, Blosc):
        others += [whole[:-1], whole[:15], whole + bytes(7), whole + whole]
        # a bit of the number of bytes of the values, or of that of the chunk
        others += [
            whole[:i] + bytes([whole[i] ^ 1 << k]) + whole[i + 1 :] for i in (4, 5, 7, 12, 13, 15) for k in (0, 6)
        ]
    for content in others:
        chunk.write_bytes(content)
        with pytest.raises(FileFormatError, match="damaged") as caught:
            read_noted(path)
        assert "\n" not in str(caught.value)


def test_damaged_zspy(tmp_path):
    def hurt(change):
        path = write_zspy(tmp_path / "s.zspy", STACK)
        change(path / "Experiments" / "__unnamed__")
        return path

    def chunk(signal):
        return next(p for p in sorted((signal / "data").rglob("*")) if p.is_file() and not p.name.startswith("."))

    for change, words in (
        (lambda s: chunk(s).unlink(), "chunks of its array are missing"),
        (lambda s: chunk(s).write_bytes(b""), "damaged or cut short"),
        (lambda s: (s / "data" / ".zarray").unlink(), "the array of its signal '__unnamed__' is missing"),
        (lambda s: (s / "data" / ".zarray").write_text("{"), "damaged, cut short"),
        (lambda s: (s / "axis-1" / ".zattrs").unlink(), "metadata of its signal .*: axis-1"),
        (lambda s: shutil.rmtree(s / "axis-0"), "metadata of its signal .*: axis-0"),
        (lambda s: shutil.rmtree(s.parent), "not have the groups of a HyperSpy signal"),
        (shutil.rmtree, "holds no HyperSpy signal"),
        (lambda s: (s.parent.parent / ".zgroup").unlink(), "without a Zarr store"),
    ):
        with pytest.raises(FileFormatError, match=words) as caught:
            read_noted(hurt(change))
        assert "\n" not in str(caught.value)
    (tmp_path / "file.zspy").write_bytes(b"abc")
    with pytest.raises(FileFormatError, match=r"a \.zspy is a folder, but this is a file"):
        read_noted(tmp_path / "file.zspy")
