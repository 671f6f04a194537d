"""Bad input: exit code 2, one clear line on stderr, no traceback, nothing written."""

import os

import pytest

import lacbed as package

ATOMS = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
CELL = "".join(f"_cell_length_{a} 4\n" for a in "abc") + "".join(
    f"_cell_angle_{n} 90\n" for n in ("alpha", "beta", "gamma")
)
BAD_CIFS = {
    "empty": ("", "empty"),
    "not a CIF": ("hello\nworld\n", "not a CIF"),
    "binary": ("\0\1\2", "binary"),
    "two blocks": (f"data_a\n{CELL}{ATOMS}Si 0 0 0\ndata_b\n{CELL}{ATOMS}Si 0 0 0\n", "2 data blocks"),
    "no atoms": (f"data_a\n{CELL}", "no atoms"),
    "unknown element": (f"data_a\n{CELL}{ATOMS}Qq 0 0 0\n", "Qq"),
    "no cell": (f"data_a\n{ATOMS}Si 0 0 0\n", "no unit cell"),
    "cell of zero": (f"data_a\n{CELL.replace('a 4', 'a 0', 1)}{ATOMS}Si 0 0 0\n", ""),
    "collision": (f"data_a\n{CELL}{ATOMS}Si 0 0 0\nO 0.01 0 0\n", ""),
    "occupancy": (f"data_a\n{CELL}{ATOMS[:-1]}\n_atom_site_occupancy\nSi 0 0 0 1.5\n", "occupanc"),
}
BAD_OPTIONS = [
    (["--thickness", "-300"], "positive numbers in Å"),
    (["--thickness", "0"], "positive numbers in Å"),
    (["--thickness", "nan"], "positive numbers in Å"),
    (["--thickness", "1e9"], "thickness"),
    (["--voltage", "0"], "--voltage must be between"),
    (["--voltage", "-200"], "--voltage must be between"),
    (["--voltage", "nan"], "--voltage must be between"),
    (["--voltage", "high"], "--voltage"),
    (["--voltage", "200000"], "write 200"),
    (["--zone", "0,0,0"], "zone axis is (0, 0, 0)"),
    (["--zone", "0,0"], "--zone must be 3"),
    (["--zone", "0,0,0.5"], "whole numbers"),
    (["--zone", "nan,0,1"], "--zone must be 3"),
    (["--foil-normal", "1,0,0"], "90.0 degrees"),
    (["--foil-normal", "0,0,0"], "foil normal"),
    (["--x-direction", "0,0,1"], "x_direction"),
    (["--hkl", "1,0,0"], "forbidden"),
    (["--hkl", "0.5,0,0"], "whole numbers h,k,l"),
    (["--hkl", "0,0,4"], ""),
    (["--hkl", "everything"], "--hkl"),
    (["--pixels", "0"], "between 1 and"),
    (["--pixels", "-5"], "between 1 and"),
    (["--pixels", "1000000"], "between 1 and"),
    (["--pixels", "12.5"], "--pixels"),
    (["--extent", "0"], "positive"),
    (["--extent", "nan"], "positive"),
    (["--k-max", "50"], "mrad"),
    (["--extent", "2", "--k-max", "0.5"], "once"),
    (["--shape", "star"], "shape"),
    (["--center", "x,y"], "--center"),
    (["--factors", "guess"], "factors"),
    (["--absorption", "strong"], "--absorption"),
    (["--absorption", "proportional:-5"], "percent"),
    (["--absorption", "proportional:nan"], "--absorption"),
    (["--beams", "many"], "--beams"),
    (["--beams", "0"], "beams"),
    (["--beams", "-5"], "beams"),
    (["--g-max", "nan"], "g_max"),
    (["--sg-max", "-1"], "sg_max"),
    (["--weak", "-1"], "weak"),
    (["--b-iso", "-1"], "B must be between"),
    (["--laue-zones", "-1"], "laue"),
    (["--solver", "magic"], "solver"),
    (["--device", "abacus"], "device"),
    (["--dtype", "float16"], "dtype"),
    (["--output", "phase"], "output"),
    (["--bogus"], "--bogus"),
    (["-o", "b.foo"], "ending '.foo'"),
    (["-o", "ending"], "no ending"),
    (["-o", "no/such/folder/a.nc"], "no folder"),
    (["--output", "amplitude", "-o", "b.tif"], "complex amplitudes"),
    (["--output", "amplitude", "-o", "b.png"], "complex amplitudes"),
]


def check_failure(outcome, match, folder, before=()):
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("lacbed: ")
    assert outcome.err.count("\n") == 1, outcome.err
    assert "Traceback" not in outcome.err
    assert match in outcome.err
    assert len(outcome.err) < 350
    assert sorted(p.name for p in folder.iterdir()) == sorted(before)


@pytest.mark.parametrize(("words", "match"), BAD_OPTIONS, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_bad_options(lacbed, tmp_path, monkeypatch, words, match):
    grid = [] if {"--extent", "--k-max", "--pixels"} & set(words) else ["--pixels", "4", "--extent", "1"]
    beams = [] if "--beams" in words else ["--beams", "9"]
    check_failure(lacbed("simulate", "Si", "-o", "a.nc", *grid, *beams, *words), match, tmp_path)


@pytest.mark.parametrize("name", BAD_CIFS)
@pytest.mark.parametrize("command", ["simulate", "potential"])
def test_bad_cifs(lacbed, tmp_path, command, name):
    text, match = BAD_CIFS[name]
    (tmp_path / "bad.cif").write_text(text)
    check_failure(lacbed(command, "bad.cif", "-o", "a.nc"), match, tmp_path, ["bad.cif"])


@pytest.mark.parametrize("command", ["simulate", "potential", "convergence"])
def test_no_such_crystal(lacbed, tmp_path, command):
    words = [] if command == "convergence" else ["-o", "a.nc"]
    check_failure(lacbed(command, "none.cif", *words), "no such file", tmp_path)
    check_failure(lacbed(command, "Unobtainium", *words), "no built-in crystal", tmp_path)
    check_failure(lacbed(command, str(tmp_path) + os.sep, *words), "directory", tmp_path)


def test_the_output_is_checked_before_the_work(lacbed, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("computed although the result cannot be written")

    monkeypatch.setattr(package, "simulate", fail)
    (tmp_path / "folder.nc").mkdir()
    check_failure(lacbed("simulate", "Si", "-o", "folder.nc"), "is a folder", tmp_path, ["folder.nc"])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_protected_folder(lacbed, tmp_path):
    tmp_path.chmod(0o500)
    check_failure(lacbed("simulate", "Si", "-o", "a.nc"), "Permission denied", tmp_path)


def test_no_output_asked_for(lacbed, tmp_path):
    check_failure(lacbed("simulate", "Si"), "--out", tmp_path)
    check_failure(lacbed("simulate"), "CRYSTAL", tmp_path)
    check_failure(lacbed("simulat"), "simulat", tmp_path)


@pytest.mark.parametrize("ending", [".nc", ".npz", ".tif", ".foo", ".png"])
def test_bad_pattern_files(lacbed, tmp_path, ending):
    name = f"bad{ending}"
    (tmp_path / name).write_bytes(b"junk")
    for words in (["info", name], ["compare", name, name], ["cbed", name, "-o", "c.nc"]):
        check_failure(lacbed(*words), name, tmp_path, [name])
    check_failure(lacbed("info", f"none{ending}"), f"none{ending}", tmp_path, [name])


def test_folders_where_files_of_patterns_are_wanted(lacbed, tmp_path):
    names = ["folder", "folder.nc"]
    for name in names:
        (tmp_path / name).mkdir()
    for name in names:
        check_failure(lacbed("info", name), "is a folder", tmp_path, names)
    check_failure(lacbed("info", "nowhere"), "no such file or folder", tmp_path, names)


@pytest.mark.parametrize("ending", [".nc", ".npz", ".tif"])
def test_pattern_files_cut_short(lacbed, tmp_path, ending):
    assert lacbed("simulate", "Si", "--pixels", "16", "--beams", "9", "-o", f"a{ending}", "-q").code == 0
    content = (tmp_path / f"a{ending}").read_bytes()
    for share in (0.1, 0.5, 0.9):
        (tmp_path / f"a{ending}").write_bytes(content[: int(share * len(content))])
        check_failure(lacbed("info", f"a{ending}"), "cannot read", tmp_path, [f"a{ending}"])


def test_no_partial_file_after_a_failed_write(lacbed, tmp_path, monkeypatch):
    from lacbed.patterns.formats import npz

    def fail(_, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(npz, "write", fail)
    words = ("--pixels", "4", "--beams", "9", "-o", "a.npz")
    check_failure(lacbed("simulate", "Si", *words), "No space left on device", tmp_path)


def test_bad_potential_options(lacbed, tmp_path):
    for words in (["--pixels", "0"], ["--pixels", "1000000"], ["--g-max", "nan"], ["--zone", "0,0,0"]):
        check_failure(lacbed("potential", "Si", "-o", "v.nc", *words), "", tmp_path)


def test_bad_convergence_options(lacbed, tmp_path):
    for words in (["--z", "0"], ["--intensity", "nan"], ["--z", "-1"]):
        check_failure(lacbed("convergence", "Si", "--pixels", "4", *words), "tolerance", tmp_path)
