"""Files that are damaged, malicious, or somebody else's."""

import contextlib
import json
import os
import subprocess
import sys
import time
import warnings
import zipfile
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tifffile
import xarray as xr
import zarr

from lacbed.errors import FileFormatError
from lacbed.io.atomic import replacing
from lacbed.io.sizes import check_size
from lacbed.patterns import check_writable, load_pattern, save_pattern, schema
from lacbed.patterns.formats import hdf5, zarr_folder

FILES = (".nc", ".npz", ".tif", ".hspy")
ALL = (*FILES, ".zarr")


@pytest.fixture
def small(make_pattern):
    pattern = make_pattern(6, dtype=np.float32, disc=True)
    return pattern.assign_attrs(crystal_cif="data_x")


def saved(pattern, path):
    if path.suffix == ".hspy":
        pytest.importorskip("rsciio")
    save_pattern(pattern, path)
    return path


def refused(path, match):
    with pytest.raises(FileFormatError, match=match) as caught:
        load_pattern(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ALL)
def test_no_flipped_bit_goes_unnoticed(small, tmp_path, ending):
    whole = saved(small, tmp_path / f"p{ending}")
    files = [whole] if whole.is_file() else sorted(p for p in whole.rglob("*") if p.is_file())
    rng = np.random.default_rng(1)
    noticed = 0
    for file in files:
        content = file.read_bytes()
        for place in sorted(set(rng.integers(0, len(content), 40 if len(files) == 1 else 1).tolist())):
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(8))
            file.write_bytes(changed)
            try:
                xr.testing.assert_identical(load_pattern(whole), small)
            except FileFormatError as error:
                noticed += 1
                assert "\n" not in str(error)  # noqa: PT017
        file.write_bytes(content)
    assert noticed > 10
    xr.testing.assert_identical(load_pattern(whole), small)


@pytest.mark.parametrize("ending", ALL)
def test_files_without_a_checksum_are_still_read(small, tmp_path, ending, monkeypatch):
    monkeypatch.setattr(schema, "_digest", lambda *_: None)
    real = json.dumps
    monkeypatch.setattr(schema.json, "dumps", lambda header, **k: real(_without_seal(header), **k))
    whole = saved(small, tmp_path / f"p{ending}")
    monkeypatch.undo()
    assert not any(
        b'"sha256"' in f.read_bytes() for f in (whole.rglob("*") if whole.is_dir() else [whole]) if f.is_file()
    )
    xr.testing.assert_identical(load_pattern(whole), small)


def _without_seal(header):
    return {k: v for k, v in header.items() if k != "sha256"} if isinstance(header, dict) else header


def test_values_changed_by_another_program_are_named(small, tmp_path):
    saved(small, tmp_path / "p.nc")
    with h5py.File(tmp_path / "p.nc", "r+") as file:
        file["kx"][0] += 1e-9
    refused(tmp_path / "p.nc", r"checksum .* changed by another program; .*lacbed.save_pattern")


def test_imagej_may_have_saved_other_pixels(small, tmp_path):
    saved(small, tmp_path / "p.tif")
    content = (tmp_path / "p.tif").read_bytes().replace(b"ImageJ=1.11a", b"ImageJ=1.54f")
    with tifffile.TiffFile(tmp_path / "p.tif") as tiff:
        start = tiff.pages[0].dataoffsets[0]
    changed = content[:start] + np.float32(0.25).tobytes() + content[start + 4 :]
    (tmp_path / "p.tif").write_bytes(changed)
    assert float(load_pattern(tmp_path / "p.tif")[0, 0, -1, 0]) == 0.25


# -- more than there is --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fill values", "compressed"])
@pytest.mark.parametrize("ending", [".nc", ".hspy"])
def test_hdf5_that_announces_gigabytes(small, tmp_path, ending, kind):
    path = saved(small, tmp_path / f"p{ending}")
    name = "intensity" if ending == ".nc" else "Experiments/SrTiO₃/data"
    with h5py.File(path, "r+") as file:
        del file[name]
        if kind == "fill values":
            file.create_dataset(name, (3, 3, 10_000, 6_000), "f8")
        else:
            array = file.create_dataset(
                name, (3, 3, 2000, 20_000), "f8", chunks=(1, 1, 500, 20_000), compression=9
            )
            array[0, 0, :500] = 0.0
    assert path.stat().st_size < 400_000
    start = time.monotonic()
    refused(path, r"said to take .* GB|missing")
    assert time.monotonic() - start < 5


def test_values_that_hdf5_never_stored_are_missing(small, tmp_path):
    path = saved(small, tmp_path / "p.nc")
    with h5py.File(path, "r+") as file:
        shape = file["intensity"].shape
        del file["intensity"]
        file.create_dataset("intensity", shape, "f4", chunks=shape)
    refused(path, "values of intensity are missing")


def test_hdf5_with_values_in_another_file(small, tmp_path):
    path = saved(small, tmp_path / "p.nc")
    save_pattern(small, tmp_path / "q.nc")
    with h5py.File(path, "r+") as file:
        del file["kx"]
        file["kx"] = h5py.ExternalLink(str(tmp_path / "q.nc"), "kx")
    refused(path, "lies in another file")


# -- HDF5 without our checksum -------------------------------------------------------------------------


def unsealed(pattern, path):
    """A file as earlier versions wrote it."""
    content = saved(pattern, path).read_bytes()
    path.write_bytes(content[: content.index(b"\nlacbed-sha256 ")])
    return path


def look(monkeypatch, end):
    """Let the process that reads first end with a line of Python, and be tried on files that were tried."""
    monkeypatch.setattr(hdf5, "_LOOK", hdf5._LOOK.rpartition("    pass")[0] + f"    {end}\n")
    hdf5._first_reader.cache_clear()


CRASH = "import os; os.kill(os.getpid(), 11)"


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("ending", [".nc", ".hspy"])
def test_a_file_without_a_checksum_is_first_read_by_another_process(small, tmp_path, monkeypatch, ending):
    path = unsealed(small, tmp_path / f"p{ending}")
    look(monkeypatch, CRASH)  # on an error; this proves that it reads all of a good file without one
    assert load_pattern(path).identical(small)
    monkeypatch.setattr(hdf5, "_LOOK", CRASH)
    assert load_pattern(path).identical(small)  # it is not read twice
    hdf5._first_reader.cache_clear()
    refused(path, "damaged: HDF5 crashes on it, or does not come to an end")
    path.unlink()
    save_pattern(small, path)
    assert load_pattern(path).identical(small)  # the checksum is enough


def test_a_first_reader_that_does_not_end(small, tmp_path, monkeypatch):
    path = unsealed(small, tmp_path / "p.nc")
    monkeypatch.setattr(hdf5, "_LOOK", "while True: pass")
    monkeypatch.setattr(hdf5, "_PATIENCE", 0.1)
    hdf5._first_reader.cache_clear()
    refused(path, "does not come to an end")


@pytest.mark.parametrize("program", ["", "/there/is/none"])
def test_where_no_process_can_be_started_files_are_read_nevertheless(small, tmp_path, monkeypatch, program):
    path = unsealed(small, tmp_path / "p.nc")
    hdf5._first_reader.cache_clear()
    monkeypatch.setattr("sys.executable", program)
    assert load_pattern(path).identical(small)


def test_flipped_bits_in_files_without_a_checksum(small, tmp_path):
    generator = np.random.default_rng(3)
    for number in range(6):
        path = unsealed(small, tmp_path / f"{number}{('.nc', '.hspy')[number % 2]}")
        content = bytearray(path.read_bytes())
        for place in generator.integers(0, len(content), 5):
            content[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(content)
        try:
            assert load_pattern(path).dims == small.dims
        except FileFormatError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_npz_that_expands_thirtyfold(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.npz", "w") as archive:
        info = zipfile.ZipInfo("noise.npy")
        archive.writestr(info, np.random.default_rng(0).bytes(3_000_000))
        archive.writestr("lacbed_metadata.npy", bytes(90_000_000), zipfile.ZIP_DEFLATED)
    refused(tmp_path / "p.npz", "said to take 93 MB")


def test_zarr_that_announces_terabytes(small, tmp_path):
    path = saved(small, tmp_path / "p.zarr")
    for shape, chunks in (([3, 3, 10**6, 10**6], [3, 3, 6, 6]), ([3, 3, 6, 6], [3, 3, 10**5, 10**5])):
        record = json.loads((path / "intensity" / ".zarray").read_text())
        (path / "intensity" / ".zarray").write_text(json.dumps({**record, "shape": shape, "chunks": chunks}))
        refused(path, "said to take .* [GT]B")


def test_what_does_not_fit_into_the_free_memory(monkeypatch):
    check_size("it", 10**9, 10**9)
    monkeypatch.setattr("lacbed.io.sizes.free_memory", lambda: 10**9)
    with pytest.raises(FileFormatError, match="takes 1 GB, and 1 GB of memory are free"):
        check_size("it", 10**9, 10**9)


# -- what is no file -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", FILES)
def test_pipes_and_devices_are_refused_at_once(tmp_path, ending):
    os.mkfifo(tmp_path / f"pipe{ending}")
    (tmp_path / f"device{ending}").symlink_to("/dev/zero")
    refused(tmp_path / f"pipe{ending}", "named pipe")
    refused(tmp_path / f"device{ending}", "device")
    for name in ("pipe", "device"):
        if ending == ".hspy":
            pytest.importorskip("rsciio")
        with pytest.raises(FileFormatError, match="pipe or a device"):
            check_writable(tmp_path / f"{name}{ending}")


@pytest.mark.parametrize("name", ["intensity/0.0.0.0", "kx/.zarray", "kx/.zattrs"])
def test_a_pipe_inside_a_zarr_folder(small, tmp_path, name):
    path = saved(small, tmp_path / "p.zarr")
    (path / name).unlink()
    os.mkfifo(path / name)
    refused(path, "named pipe")


def test_codecs_that_load_python_objects(small, tmp_path):
    path = saved(small, tmp_path / "p.zarr")
    record = json.loads((path / "kx" / ".zarray").read_text())
    record |= {"filters": [{"id": "pickle"}], "compressor": None}
    (path / "kx" / ".zarray").write_text(json.dumps(record))
    (path / "kx" / "0").write_bytes(b"cos\nmkdir\n(S'" + str(tmp_path / "opened").encode() + b"'\ntR.")
    refused(path, "cannot read")
    assert not (tmp_path / "opened").exists()
    codec = SimpleNamespace(codec_id="pickle")
    metadata = SimpleNamespace(zarr_format=2, filters=[codec], compressor=None)
    for dtype in (np.dtype("f8"), np.dtype(object)):
        with pytest.raises(FileFormatError, match="kx is stored as pickle, which is never loaded"):
            zarr_folder.check_codecs(SimpleNamespace(metadata=metadata, dtype=dtype), "kx")


def test_nothing_is_printed_about_damaged_hdf5(small, tmp_path, capfd):
    path, before = saved(small, tmp_path / "p.nc"), sys.excepthook
    content = path.read_bytes()
    for place in range(0, len(content), 397):
        path.write_bytes(content[:place] + bytes(48) + content[place + 48 :])
        with contextlib.suppress(FileFormatError):
            load_pattern(path)
    assert capfd.readouterr().err == ""
    with hdf5.quiet():
        assert sys.unraisablehook is not sys.__unraisablehook__
    assert sys.excepthook is before


# -- somebody else's -----------------------------------------------------------------------------------


def stay(path):
    before = path.read_bytes() if path.is_file() else {p: p.is_file() and p.read_bytes() for p in path.rglob("*")}
    with pytest.raises(FileFormatError, match=r"not a pattern or picture written by lacbed; choose another name"):
        check_writable(path)
    after = path.read_bytes() if path.is_file() else {p: p.is_file() and p.read_bytes() for p in path.rglob("*")}
    assert after == before


def test_only_our_own_zarr_folders_are_replaced(small, tmp_path):
    xr.Dataset({"intensity": ("kx", [1.0])}).to_zarr(tmp_path / "theirs.zarr", zarr_format=2)
    xr.Dataset({"intensity": ("kx", [1.0])}).to_zarr(tmp_path / "three.zarr", zarr_format=3, consolidated=False)
    zarr.open_group(tmp_path / "empty.zarr", mode="w")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.open_array(tmp_path / "array.zarr", mode="w", shape=3, dtype="f8", zarr_format=2)
    for name in ("theirs", "three", "empty", "array"):
        stay(tmp_path / f"{name}.zarr")
    save_pattern(small, tmp_path / "p.zarr")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "theirs.zarr")
    stay(tmp_path / "link.zarr")
    (tmp_path / "p.zarr" / "intensity" / "0.0.0.0").unlink()
    save_pattern(small, tmp_path / "p.zarr")  # ours, although damaged
    (tmp_path / "p.zarr" / "notes.txt").write_text("mine")
    stay(tmp_path / "p.zarr")


def test_only_our_own_files_are_replaced(small, tmp_path):
    pytest.importorskip("rsciio")
    xr.Dataset({"x": ("i", [1.0])}).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    np.savez(tmp_path / "a.npz", intensity=np.zeros(3))
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 3), np.float32))
    with h5py.File(tmp_path / "a.hspy", "w") as file:
        file.create_group("Experiments/mine/original_metadata")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n a photograph")
    for name in ("a.nc", "a.npz", "a.tif", "a.hspy", "a.png"):
        stay(tmp_path / name)
    for ending in (*FILES, ".png"):
        for _ in range(2):
            save_pattern(small, tmp_path / f"p{ending}")
        (tmp_path / f"free{ending}").touch()
        check_writable(tmp_path / f"free{ending}")


# -- what a process leaves that was killed -------------------------------------------------------------


def _dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return f"{process.pid:06x}abcdef"


@pytest.mark.skipif(os.name != "posix", reason="elsewhere only age tells")
@pytest.mark.parametrize("ending", [".nc", ".zarr"])
def test_leftovers_of_killed_processes_go(small, tmp_path, ending):
    dead, alive = _dead_process(), f"{os.getppid():06x}abcdef"
    for token in (dead, alive):
        save_pattern(small, tmp_path / f"q{ending}")
        os.replace(tmp_path / f"q{ending}", tmp_path / f".p.{token}{ending}")
    (tmp_path / f".p.notes{ending}").write_text("mine")
    save_pattern(small, tmp_path / f"p{ending}")
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == sorted([f".p.{alive}{ending}", f".p.notes{ending}", f"p{ending}"])
    os.utime(tmp_path / f".p.{alive}{ending}", (0, 0))
    save_pattern(small, tmp_path / f"p{ending}")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f".p.notes{ending}", f"p{ending}"])


@pytest.mark.skipif(os.name != "posix", reason="elsewhere only age tells")
def test_a_folder_put_aside_by_a_killed_process_comes_back(tmp_path):
    aside = tmp_path / f".p.{_dead_process()}.zarr.old"
    aside.mkdir()
    (aside / "kept").touch()
    with pytest.raises(KeyError), replacing(tmp_path / "p.zarr"):
        raise KeyError
    assert (tmp_path / "p.zarr" / "kept").exists()
    assert not aside.exists()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("write", [0, 1, 9])
def test_a_zarr_folder_that_fails_on_the_way_leaves_nothing(small, tmp_path, monkeypatch, write, error):
    count = 0
    path_type = type(tmp_path)
    real = path_type.write_bytes

    def failing(self, content):
        nonlocal count
        count += 1
        if count > write:
            raise error
        return real(self, content)

    monkeypatch.setattr(path_type, "write_bytes", failing)
    with pytest.raises((FileFormatError, KeyboardInterrupt)) as caught:
        save_pattern(small, tmp_path / "p.zarr")
    assert isinstance(error, KeyboardInterrupt) or "No space left on device" in str(caught.value)
    assert list(tmp_path.iterdir()) == []
