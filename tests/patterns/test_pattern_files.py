"""Saving and loading: everything comes back, and a file appears whole or not at all."""

import os
import signal
import subprocess
import sys
import zipfile
from importlib import import_module

import numpy as np
import pytest
import xarray as xr

from lacbed.errors import FileFormatError, MissingExtraError, SettingError
from lacbed.io.atomic import replacing
from lacbed.patterns import check_writable, files, load_array, load_pattern, save_array, save_pattern
from lacbed.patterns.formats import picture

EXACT = (".nc", ".zarr", ".npz")
TYPES = (np.float32, np.float64, np.complex64, np.complex128)


def assert_same(found: xr.DataArray, expected: xr.DataArray) -> None:
    xr.testing.assert_identical(found, expected)
    assert found.dtype == expected.dtype
    assert found.values.tobytes() == expected.values.tobytes()
    assert list(found.coords) == list(expected.coords)
    for name, coordinate in expected.coords.items():
        assert found.coords[name].dtype == coordinate.dtype, name
    assert {k: type(v) for k, v in found.attrs.items()} == {k: type(v) for k, v in expected.attrs.items()}
    assert list(found.attrs) == list(expected.attrs)


@pytest.mark.parametrize("disc", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ending", EXACT)
def test_round_trip_is_exact(make_pattern, tmp_path, ending, dtype, disc):
    pattern = make_pattern(dtype=dtype, disc=disc)
    assert save_pattern(pattern, tmp_path / f"p{ending}") == tmp_path / f"p{ending}"
    assert_same(load_pattern(tmp_path / f"p{ending}"), pattern)
    assert [p.name for p in tmp_path.iterdir()] == [f"p{ending}"]


@pytest.mark.parametrize("ending", [*EXACT, ".tif"])
def test_other_images_round_trip(tmp_path, ending):
    image = xr.DataArray(
        np.arange(6, dtype=np.float32).reshape(2, 3),
        {"v": [0.0, 0.5], "u": [0.0, 0.3, 0.6]},
        ("v", "u"),
        "potential",
    )
    save_array(image, tmp_path / f"v{ending}")
    assert_same(load_array(tmp_path / f"v{ending}"), image)
    with pytest.raises(FileFormatError, match="dims"):
        load_pattern(tmp_path / f"v{ending}")


@pytest.mark.parametrize("ending", [".hspy", ".zspy"])
def test_hyperspy(make_pattern, tmp_path, ending):
    pytest.importorskip("rsciio")
    pattern = make_pattern()
    try:
        save_pattern(pattern, tmp_path / f"p{ending}")
    except MissingExtraError as error:
        assert ending == ".zspy"
        assert "Zarr" in str(error)  # noqa: PT017
        return
    assert_same(load_pattern(tmp_path / f"p{ending}"), pattern)
    import rsciio.hspy

    axes = rsciio.hspy.file_reader(str(tmp_path / f"p{ending}"))[0]["axes"]
    assert [a["navigate"] for a in axes] == [True, True, False, False]
    assert axes[3]["scale"] == pytest.approx(1 / 12)
    assert axes[3]["units"] == "1/Å"


def test_a_missing_extra_names_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rsciio", None)
    monkeypatch.setitem(sys.modules, "rsciio.hspy", None)
    with pytest.raises(MissingExtraError, match=r'pip install "lacbed\[hyperspy\]"'):
        check_writable(tmp_path / "p.hspy")


def test_other_programs_see_native_metadata(make_pattern, tmp_path):
    save_pattern(make_pattern(), tmp_path / "p.nc")
    with xr.open_dataset(tmp_path / "p.nc", engine="h5netcdf") as data:
        assert data["intensity"].dims == ("thickness", "hkl", "ky", "kx")
        assert data["intensity"].attrs["crystal"] == "SrTiO₃"
        assert data["kx"].attrs["units"] == "1/Å"
    save_pattern(make_pattern(), tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz", allow_pickle=False) as data:
        assert {"intensity", "thickness", "hkl", "ky", "kx", "gx", "lacbed_metadata"} <= set(data.files)


def test_png(make_pattern, tmp_path):
    save_pattern(make_pattern(disc=True), tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileFormatError, match="picture"):
        load_pattern(tmp_path / "p.png")


@pytest.mark.parametrize("ending", EXACT)
def test_saving_replaces_the_old_file(make_pattern, tmp_path, ending):
    save_pattern(make_pattern(16), tmp_path / f"p{ending}")
    save_pattern(make_pattern(seed=5), tmp_path / f"p{ending}")
    assert_same(load_pattern(tmp_path / f"p{ending}"), make_pattern(seed=5))


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device"), ValueError])
@pytest.mark.parametrize("ending", [*EXACT, ".tif", ".png"])
def test_a_failed_write_changes_nothing(make_pattern, tmp_path, monkeypatch, ending, error):
    target = tmp_path / f"p{ending}"
    save_pattern(make_pattern(), target)
    module = files._module(target)
    write = module.write

    def fail(array, path):
        write(array, path)
        raise error

    monkeypatch.setattr(module, "write", fail)
    with pytest.raises((KeyboardInterrupt, FileFormatError, ValueError)) as caught:
        save_pattern(make_pattern(seed=9), target)
    if isinstance(error, OSError):
        assert "No space left on device" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == [target.name]
    if ending in EXACT:
        assert_same(load_pattern(target), make_pattern())


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_full_disk_leaves_nothing(tmp_path):
    code = (
        "import resource, signal, sys, numpy as np, xarray as xr\n"
        "from lacbed.patterns import save_pattern\n"
        "from lacbed.errors import FileFormatError\n"
        "import lacbed.patterns.figures\n"
        "d = ('thickness', 'hkl', 'ky', 'kx')\n"
        "r = np.random.default_rng(0)\n"
        "p = xr.DataArray(r.uniform(size=(1, 1, 99, 99)), {'thickness': [1.], 'hkl': ['0,0,0'],"
        " 'ky': np.arange(99.), 'kx': np.arange(99.)}, d, 'intensity')\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n        save_pattern(p, path)\n"
        "    except FileFormatError as e:\n        print(e)\n"
        "    else:\n        print('no error')\n"
    )
    paths = [str(tmp_path / f"p{ending}") for ending in (*EXACT, ".tif", ".png")]
    run = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=False)
    lines = run.stdout.splitlines()
    for path, line in zip(paths, lines, strict=True):
        assert line.startswith(f"cannot write {path!r}"), run.stdout + run.stderr
    assert list(tmp_path.iterdir()) == []


def test_folders_are_replaced_whole(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / ".zgroup").write_text("old")
    with pytest.raises(KeyError), replacing(tmp_path / "a.zarr") as temporary:  # noqa: PT012
        temporary.mkdir()
        raise KeyError
    assert (tmp_path / "a.zarr" / ".zgroup").read_text() == "old"
    with replacing(tmp_path / "a.zarr") as temporary:
        temporary.mkdir()
    assert list((tmp_path / "a.zarr").iterdir()) == []
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="needs symbolic links")
def test_links_are_followed(make_pattern, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "p.nc").symlink_to(tmp_path / "elsewhere" / "q.nc")
    save_pattern(make_pattern(), tmp_path / "p.nc")
    assert (tmp_path / "p.nc").is_symlink()
    assert_same(load_pattern(tmp_path / "elsewhere" / "q.nc"), make_pattern())


def test_check_writable(tmp_path):
    (tmp_path / "folder.nc").mkdir()
    (tmp_path / "full.zarr").mkdir()
    (tmp_path / "full.zarr" / "precious.txt").write_text("mine")
    (tmp_path / "file.zarr").write_text("")
    cases = {
        "p.foo": "ending",
        "p": "no ending",
        "none/p.nc": "no folder",
        "file.zarr/p.nc": "not a folder",
        "folder.nc": "is a folder",
        "full.zarr": "is a folder",
        "file.zarr": "there is a file",
        "nul\0.nc": "cannot write",
        "x" * 300 + ".nc": "cannot write",
    }
    for name, match in cases.items():
        with pytest.raises(FileFormatError, match=match):
            save_array(xr.DataArray([[1.0]], dims=("v", "u")), tmp_path / name)
    for ending in (".tif", ".png"):
        with pytest.raises(FileFormatError, match="complex amplitudes; choose"):
            check_writable(tmp_path / f"p{ending}", complex_values=True)
    assert check_writable(tmp_path / "p.NC") == tmp_path / "p.NC"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.zarr", "folder.nc", "full.zarr"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_protected_folder(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FileFormatError, match="Permission denied"):
        check_writable(tmp_path / "p.nc")


def test_only_patterns_are_saved_as_patterns(make_pattern, tmp_path):
    with pytest.raises(SettingError, match="dims"):
        save_pattern(make_pattern().isel(hkl=0), tmp_path / "p.nc")
    with pytest.raises(SettingError, match="DataArray"):
        save_pattern(np.zeros(3), tmp_path / "p.nc")
    with pytest.raises(SettingError, match="empty"):
        save_pattern(make_pattern().isel(hkl=[]), tmp_path / "p.nc")
    with pytest.raises(FileFormatError, match="JSON"):
        save_pattern(make_pattern().assign_attrs(settings={"a": 1}), tmp_path / "p.nc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".nc", ".npz", ".tif"])
def test_files_cut_short(make_pattern, tmp_path, ending):
    whole = tmp_path / f"p{ending}"
    save_pattern(make_pattern(), whole)
    content = whole.read_bytes()
    for share in (0, 0.01, 0.1, 0.5, 0.8, 0.95, 0.999):
        cut = tmp_path / f"cut{ending}"
        cut.write_bytes(content[: int(share * len(content))])
        with pytest.raises(FileFormatError) as caught:
            load_pattern(cut)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", [".nc", ".npz", ".tif"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_never_escape_as_other_errors(make_pattern, tmp_path, ending):
    whole = tmp_path / f"p{ending}"
    save_pattern(make_pattern(6), whole)
    rng = np.random.default_rng(7)
    for _ in range(25):
        content = bytearray(whole.read_bytes())
        for place in rng.integers(0, len(content), 20):
            content[place] = rng.integers(256)
        (tmp_path / f"bad{ending}").write_bytes(content)
        try:
            load_pattern(tmp_path / f"bad{ending}")  # values may be damaged where a format has no checksum
        except FileFormatError as error:
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("ending", [".nc", ".npz", ".tif", ".zarr"])
def test_foreign_files(tmp_path, ending):
    path = tmp_path / f"p{ending}"
    path.write_bytes(b"hello, I am something else")
    with pytest.raises(FileFormatError, match="cannot read"):
        load_pattern(path)
    with pytest.raises(FileFormatError, match="no such file"):
        load_pattern(tmp_path / f"none{ending}")


def test_well_formed_files_of_others(tmp_path):
    xr.Dataset({"x": ("i", [1.0])}).to_netcdf(tmp_path / "p.nc", engine="h5netcdf")
    np.savez(tmp_path / "p.npz", x=np.zeros(3))
    (tmp_path / "p.zarr").mkdir()
    for ending in EXACT:
        with pytest.raises(FileFormatError, match=r"not written by lacbed|without a Zarr store"):
            load_pattern(tmp_path / f"p{ending}")


def test_an_incomplete_zarr_folder(make_pattern, tmp_path):
    save_pattern(make_pattern(), tmp_path / "p.zarr")
    chunk = next(p for p in (tmp_path / "p.zarr" / "intensity").iterdir() if not p.name.startswith("."))
    chunk.unlink()
    with pytest.raises(FileFormatError, match="missing"):
        load_pattern(tmp_path / "p.zarr")


class Explosive:
    def __reduce__(self):
        return os.kill, (os.getpid(), signal.SIGKILL)


def test_pickles_are_never_loaded(make_pattern, tmp_path):
    save_pattern(make_pattern(), tmp_path / "p.npz")
    np.save(tmp_path / "evil.npy", np.array([Explosive()], dtype=object), allow_pickle=True)
    _replace_member(tmp_path / "p.npz", "intensity.npy", (tmp_path / "evil.npy").read_bytes())
    with pytest.raises(FileFormatError, match="never loaded"):
        load_pattern(tmp_path / "p.npz")


def test_a_header_that_promises_too_much(make_pattern, tmp_path):
    save_pattern(make_pattern(), tmp_path / "p.npz")
    with zipfile.ZipFile(tmp_path / "p.npz") as archive:
        member = archive.read("kx.npy")
    _replace_member(tmp_path / "p.npz", "kx.npy", member.replace(b"(12,), }", b"(9999999999999,), }"[:19]))
    with pytest.raises(FileFormatError):
        load_pattern(tmp_path / "p.npz")


def test_zip_bombs_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "p.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("lacbed_metadata.npy", bytes(80_000_000))
    with pytest.raises(FileFormatError, match="said to take 80 MB"):
        load_pattern(tmp_path / "p.npz")


def _replace_member(path, name, content):
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members[name] = content
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)


@pytest.mark.parametrize(("thicknesses", "reflections", "drawn"), [(29, 47, 8), (5, 300, 1), (3, 5, 3)])
def test_a_picture_shows_as_many_thicknesses_as_it_has_room_for(thicknesses, reflections, drawn):
    hkl = [f"{i},0,0" for i in range(reflections)]
    series = np.arange(1.0, thicknesses + 1)
    pattern = xr.DataArray(
        np.zeros((thicknesses, reflections)), dims=("thickness", "hkl"), coords={"thickness": series, "hkl": hkl}
    )
    chosen = picture._readable(pattern)
    assert chosen.sizes == {"thickness": drawn, "hkl": reflections}
    assert float(chosen["thickness"][-1]) == thicknesses
    assert drawn == 1 or float(chosen["thickness"][0]) == 1.0


def test_a_picture_of_a_part_says_so(make_pattern, monkeypatch, tmp_path):
    whole = make_pattern()
    there = whole.sizes["thickness"]
    monkeypatch.setattr(import_module("lacbed.patterns.figures.montage"), "MAX_PANELS", whole.sizes["hkl"])
    drawn = []
    monkeypatch.setattr("lacbed.patterns.figures.save_figure", lambda figure, path: drawn.append(figure))
    picture.write(whole, tmp_path / "part.png")
    assert there > 1
    assert f"1 of {there} thicknesses" in [text.get_text() for text in drawn[0].texts]
