"""lacbed convert: command, Python and patterns, the same three ways."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from felix_folder import FORTRAN, make_folder, write_images

import lacbed
from lacbed.cli import main
from lacbed.felix.input import read_felix
from lacbed.felix.recipe import python_text, settings_of, shell_text

GAAS = lacbed.Crystal.named("GaAs")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_command_python_and_result_are_one(tmp_path: Path, capsys) -> None:
    make_folder(tmp_path / "in", GAAS, absorption=1, factors=1, radius=2)
    assert main(["convert", "in/felix.inp", "-o", "direct.npz", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert main(shlex.split(said["shell"])[1:]) == 0
    direct, shell = lacbed.load_pattern("direct.npz"), lacbed.load_pattern("pattern.nc")
    Path("pattern.nc").unlink()
    exec(compile(said["python"], "recipe", "exec"), {})
    python = lacbed.load_pattern("pattern.nc")
    for other in (shell, python):
        np.testing.assert_array_equal(direct.values, other.values)
    assert direct.attrs["refraction"] is False or direct.attrs["refraction"] == 0
    assert direct.attrs["factors"] == "lobato"


def test_a_tilted_foil_and_the_b_of_all_atoms_are_said(tmp_path: Path) -> None:
    felix = read_felix(make_folder(tmp_path, GAAS, normal="[1,0,9]"))
    settings, _ = settings_of(felix, GAAS)
    words = shlex.split(shell_text("felix.cif", settings, 0.7, "auto"))
    assert words[words.index("--foil-normal") + 1] == "1,0,9"
    assert words[words.index("--b-iso") + 1] == "0.7"
    python = python_text("felix.cif", settings, 0.7, "auto")
    assert "foil_normal=(1.0, 0.0, 9.0)," in python
    assert ".with_b_iso(0.7)" in python


def test_compare_takes_the_folder_of_felix(tmp_path: Path, capsys) -> None:
    folder = make_folder(tmp_path / "in", GAAS)
    assert main(["convert", "in", "--solver", "fast", "-o", "ours.nc"]) == 0
    pattern = lacbed.load_pattern("ours.nc")
    for name, images in zip(("A_Sim_0300A_012x012", "A_Sim_0400A_012x012"), pattern.values, strict=True):
        write_images(folder / name, images)
    capsys.readouterr()
    assert main(["compare", "ours.nc", "in", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["max_difference"] == 0.0
    assert main(["convert", "in", "--images", "-o", "felix.nc"]) == 0
    np.testing.assert_array_equal(lacbed.load_pattern("felix.nc").values, pattern.values)


def test_bad_input_is_one_line(tmp_path: Path, capsys) -> None:
    folder = make_folder(tmp_path / "in", GAAS)
    cases = (
        (["convert", "nothing"], "no such file"),
        (["convert", "in", "--unit", "cm"], "--unit must be"),
        (["convert", "in", "--images"], "--images needs -o"),
        (["convert", "in", "--solver", "magic"], "solver must be one of"),
        (["convert", "in", "--images", "-o", "x.nc"], "is a folder without Felix images"),
    )
    for words, says in cases:
        assert main(words) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
    (folder / "felix.cif").unlink()
    assert main(["convert", "in"]) == 2
    assert "holds no felix.cif" in capsys.readouterr().err


def test_a_published_run_of_felix(reference_folder: Path, tmp_path: Path, capsys) -> None:
    source = reference_folder / "felix" / "Si_K_noabs"
    parameters = json.loads((source / "params.json").read_text())
    silicon = lacbed.Crystal.from_cif(source / "crystal.cif")
    folder = make_folder(
        tmp_path / "in", silicon, FORTRAN, radius=64, half_width=parameters["convergence_radius_invA"], last=900.0
    )
    (folder / "felix.hkl").write_text("[0,0,0]\n[2,2,0]\n", encoding="utf-8")
    patterns = np.load(source / "lacbed.npy", allow_pickle=False)
    for t, images in zip((300, 600, 900), patterns[:3], strict=True):
        place = folder / f"Si_Sim_{t:04d}A_128x128"
        place.mkdir()
        for name, image in zip(("+0+0+0", "+2+2+0"), images[[0, 3]], strict=True):
            image.astype("<f8").tofile(place / f"Si_{name}.bin")
    assert main(["convert", "in", "--solver", "fast", "-o", "ours.nc", "-q"]) == 0
    capsys.readouterr()
    assert main(["compare", "ours.nc", "in", "--intersect", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["Z_max"] <= 2e-3


def test_a_data_block_of_felix_cif(tmp_path: Path, capsys) -> None:
    folder = make_folder(tmp_path / "in", GAAS)
    other = lacbed.Crystal.named("GaP").to_cif()
    cif = folder / "felix.cif"
    cif.write_text(
        cif.read_text("utf-8").replace("data_", "data_one_", 1) + other.replace("data_", "data_two_", 1)
    )
    names = [line[5:] for line in cif.read_text("utf-8").splitlines() if line.startswith("data_")]
    assert main(["convert", "in"]) == 2
    assert f"choose one with --block {names[0]}" in capsys.readouterr().err
    assert main(["convert", "in", "--block", names[0], "--solver", "fast", "-o", "ours.nc", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert f"--block {names[0]}" in said["shell"]
    assert f"block={names[0]!r}" in said["python"]
    ours = lacbed.load_pattern("ours.nc")
    assert ours.attrs["formula"] == GAAS.formula
    for name, images in zip(("A_Sim_0300A_012x012", "A_Sim_0400A_012x012"), ours.values, strict=True):
        write_images(folder / name, images)
    assert main(["compare", "ours.nc", "in"]) == 2
    assert "lacbed convert --images takes --block" in capsys.readouterr().err
    assert main(["convert", "in", "--images", "--block", names[0], "-o", "felix.nc"]) == 0
    assert lacbed.load_pattern("felix.nc").attrs["formula"] == GAAS.formula
