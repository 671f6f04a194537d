"""The commands, from a crystal to files and back."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import lacbed as package
from lacbed.cli.console import columns, size_text
from lacbed.patterns import load_array, load_pattern
from lacbed.report import finite

SMALL = ("--pixels", "16", "--extent", "2", "--beams", "21")


def test_simulate_writes_every_file(lacbed, tmp_path):
    files = ["a.nc", "a.npz", "a.tif", "a.png", "a.zarr"]
    words = [word for name in files for word in ("-o", name)]
    done = lacbed("simulate", "Si", *SMALL, "-t", "300,600", "--hkl", "0,0,0 2,-2,0", *words)
    assert (done.code, done.err) == (0, "")
    assert all(f"wrote {name}" in done.out for name in files)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)
    pattern = load_pattern("a.nc")
    expected = package.simulate(
        package.Crystal.named("Si"),
        energy=200e3,
        thicknesses=(300, 600),
        grid=package.TiltGrid(pixels=16, extent=2.0),
        hkl=((0, 0, 0), (2, -2, 0)),
        beams=21,
    )
    np.testing.assert_array_equal(pattern.values, expected.values)
    assert pattern.attrs == expected.attrs
    np.testing.assert_array_equal(load_pattern("a.tif").values, expected.values.astype(np.float32))


def test_block_of_a_cif_with_several(lacbed, tmp_path):
    blocks = [package.Crystal.named(name).to_cif() for name in ("MgO", "Si")]
    (tmp_path / "two.cif").write_text("\n".join(blocks))
    refused = lacbed("simulate", "two.cif", *SMALL, "-o", "a.npz")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "2 data blocks hold atoms (MgO, Si); choose one with --block MgO" in refused.err
    done = lacbed("simulate", "two.cif", "--block", "Si", *SMALL, "-o", "a.npz")
    assert (done.code, load_pattern("a.npz").attrs["formula"]) == (0, "Si")
    done = lacbed("potential", "two.cif", "--block", "MgO", "-o", "b.npz", "--json")
    assert json.loads(done.out)["formula"] == "MgO"
    assert "built-in crystal; --block" in lacbed("simulate", "Si", "--block", "x", "-o", "a.npz").err
    assert (
        "--block Si" in lacbed("predict", "two.cif", "--block", "Si", "--zone", "1,1,0", "--model", "default").err
    )


@pytest.mark.parametrize(
    "command", ["simulate", "potential", "convergence", "predict", "fit", "refine", "experiment import"]
)
def test_every_command_that_takes_a_crystal_takes_a_block(lacbed, command):
    assert "--block" in lacbed(*command.split(), "--help").out


def test_options_reach_the_simulation(lacbed):
    done = lacbed(
        "simulate",
        "Si",
        "-o",
        "a.nc",
        "--json",
        "--zone",
        "1,1,0",
        "--voltage",
        "120",
        "-t",
        "100:300:100",
        "--hkl",
        "all:0.4",
        "--pixels",
        "8",
        "--semi-angle",
        "5",
        "--shape",
        "disc",
        "--factors",
        "lobato",
        "--absorption",
        "proportional:5",
        "--g-max",
        "0.9",
        "--sg-max",
        "0.05",
        "--weak",
        "3",
        "--foil-normal",
        "1,1,0.1",
        "--x-direction",
        "0,0,2",
        "--no-refraction",
        "--device",
        "cpu",
        "--dtype",
        "float64",
        "--output",
        "amplitude",
        "--center",
        "1,0",
    )
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert found["files"] == ["a.nc"]
    assert found["thickness"] == [100, 200, 300]
    assert found["zone_axis"] == [1, 1, 0]
    assert found["energy"] == 120e3
    assert found["factors"] == "lobato"
    assert found["refraction"] is False
    assert json.loads(found["absorption"]) == ["proportional", 5.0]
    assert json.loads(found["grid"])["center"] == [1.0, 0.0]
    pattern = load_pattern("a.nc")
    assert pattern.dtype == np.complex128
    assert np.isnan(pattern.values[..., 0, 0]).all()


def test_a_cif_is_a_crystal(lacbed, tmp_path):
    (tmp_path / "my.cif").write_text(package.Crystal.named("Si").to_cif())
    assert lacbed("simulate", "my.cif", *SMALL, "-o", "a.nc", "-q").code == 0
    assert lacbed("simulate", "Si", *SMALL, "-o", "b.nc", "-q").code == 0
    done = lacbed("compare", "a.nc", "b.nc", "--json")
    assert json.loads(done.out)["max_difference"] < 1e-6


def test_quiet_says_nothing(lacbed):
    done = lacbed("simulate", "Si", *SMALL, "-o", "a.nc", "--quiet")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert lacbed("info", "a.nc", "-q").out == ""


@pytest.fixture
def two(lacbed):
    assert lacbed("simulate", "Si", *SMALL, "-t", "300", "--hkl", "0,0,0 2,2,0", "-o", "a.nc", "-q").code == 0
    words = ["--absorption", "proportional:10", "-t", "300,600", "--hkl", "2,2,0 0,0,0", "-o", "b.npz", "-q"]
    assert lacbed("simulate", "Si", *SMALL, *words).code == 0
    return lacbed


def test_compare(two, tmp_path):
    refused = two("compare", "a.nc", "b.npz")
    assert refused.code == 2
    assert "--intersect" in refused.err
    done = two("compare", "a.nc", "b.npz", "--intersect", "-o", "d.png")
    assert (done.code, done.err) == (0, "")
    assert "Z: mean" in done.out
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(two("compare", "a.nc", "b.npz", "--intersect", "--json").out)
    assert [row["hkl"] for row in found["patterns"]] == ["0,0,0", "2,2,0"]
    assert 0 < found["Z_max"] < 1
    assert two("compare", "a.nc", "a.nc", "-o", "d.nc").code == 2
    refused = two("compare", "a.nc", "a.nc", "--thickness", "300")
    assert refused.code == 2
    assert "-o FILE.png" in refused.err


def test_info(two):
    done = two("info", "a.nc")
    assert done.code == 0
    assert all(text in done.out for text in ("16 ky x 16 kx", "mrad", "crystal: Si", "beams: ", "solver: "))
    assert two("info", "a.nc", "--cif").out.startswith("data_")
    found = json.loads(two("info", "a.nc", "--json").out)
    assert found["sizes"] == {"thickness": 1, "hkl": 2, "ky": 16, "kx": 16}
    assert found["attrs"]["energy"] == 200e3


def test_cbed(two):
    done = two("cbed", "a.nc", "--semi-angle", "3", "-o", "c.nc", "-o", "c.png")
    assert (done.code, done.err) == (0, "")
    assert load_array("c.nc").dims == ("thickness", "qy", "qx")
    assert json.loads(two("cbed", "b.npz", "-t", "600", "-o", "c.nc", "--json").out)["sizes"]["thickness"] == 1
    assert two("cbed", "a.nc", "--semi-angle", "99", "-o", "d.nc").code == 2


def test_potential(lacbed):
    done = lacbed("potential", "Si", "--zone", "1,1,0", "--pixels", "16", "-o", "v.nc", "-o", "v.png", "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["sizes"] == {"v": 16, "u": 16}
    assert load_array("v.nc").attrs["zone_axis"] == [1, 1, 0]
    assert "mean inner potential" in lacbed("potential", "Si", "--pixels", "16", "-o", "v.npz").out
    assert "projected_potential" in lacbed("info", "v.nc").out


def test_crystals(lacbed):
    done = lacbed("crystals")
    assert done.code == 0
    assert done.out.splitlines()[0].startswith("name")
    assert len(done.out.splitlines()) > 30
    found = json.loads(lacbed("crystals", "perov", "--json").out)["crystals"]
    everything = json.loads(lacbed("crystals", "--json").out)["crystals"]
    assert len(everything) >= 30
    assert all(row in everything for row in found)
    assert {"name", "formula", "space_group", "cell", "b_iso", "source"} <= set(everything[0])
    assert "no built-in crystal" in lacbed("crystals", "unobtainium").out


def test_convergence(lacbed):
    words = ("--pixels", "6", "--extent", "1", "--z", "5", "--intensity", "0.3")
    done = lacbed("convergence", "Si", *words)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("beams")
    found = json.loads(lacbed("convergence", "Si", *words, "--json").out)
    assert found["converged"] is True
    assert found["beams"] == found["steps"][-2]["beams"]
    assert found["steps"][-1]["z"] is None  # NaN is not JSON


def test_faults_of_the_program(lacbed, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("oh\nno")

    monkeypatch.setattr(package, "simulate", fail)
    done = lacbed("simulate", "Si", "-o", "a.nc")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "ZeroDivisionError: oh no" in done.err
    monkeypatch.setenv("LACBED_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        lacbed("simulate", "Si", "-o", "a.nc")


def test_ctrl_c(lacbed, monkeypatch, tmp_path):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(package, "simulate", stop)
    done = lacbed("simulate", "Si", "-o", "a.nc")
    assert done.code == 130
    assert done.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_termination_while_writing_leaves_nothing(two, tmp_path):
    before = sorted(tmp_path.iterdir())
    code = (
        "import sys, time, lacbed.patterns.formats.npz as npz\nfrom lacbed.cli import main\n"
        "def slow(array, path):\n    path.write_bytes(b'half')\n"
        "    print('writing', flush=True)\n    time.sleep(60)\n"
        "npz.write = slow\n"
        "sys.exit(main(['cbed', 'a.nc', '--semi-angle', '3', '-o', 'c.npz']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert len(list(tmp_path.iterdir())) == len(before) + 1
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143
    assert errors.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_the_progress_bar_comes_late(monkeypatch):
    from lacbed.cli import console

    class Terminal:
        text = ""

        def isatty(self):
            return True

        def write(self, text):
            self.text += text
            return len(text)

        def flush(self):
            pass

    for wait, expected in ((5.0, False), (0.01, True)):
        terminal = Terminal()
        monkeypatch.setattr(console.sys, "stderr", terminal)
        monkeypatch.setattr(console, "SHOW_AFTER", wait)
        with console.Reporter(False, False).progress("Simulating") as tick:
            tick(0.25)
            until = time.monotonic() + (30.0 if expected else 0.2)
            while time.monotonic() < until and "Simulating" not in terminal.text:
                time.sleep(0.02)
            tick(0.5)
        assert ("Simulating" in terminal.text) is expected
    with console.Reporter(True, False).progress("Simulating") as tick:
        assert tick is None


def test_helpers(tmp_path):
    assert columns([("a", "bb"), ("ccc", "d")]) == ["a    bb", "ccc  d"]
    assert finite({"a": float("nan"), "b": (np.float64(1), np.array([1, 2]))}) == {"a": None, "b": [1.0, [1, 2]]}
    (tmp_path / "x").write_bytes(bytes(1500))
    assert size_text(tmp_path / "x") == "1.5 kB"
    assert size_text(tmp_path) == "1.5 kB"
