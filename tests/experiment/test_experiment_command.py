"""lacbed experiment and lacbed fit as a user runs them."""

import json
import os

import numpy as np
import pytest
import tifffile
from experiment_helpers import GAAS, HALF_WIDTH, HKL, PIXELS, ZONE, write_folder

from lacbed.experiment.experiment import pattern_to_images
from lacbed.experiment.folder import load_experiment
from lacbed.geometry.frame import make_frame

GRID = np.meshgrid(*[(np.arange(PIXELS) - PIXELS / 2 + 0.5) * 2 * HALF_WIDTH / PIXELS] * 2)
TAKEN = ("-V", "200", "--zone", "-1,1,0", "--x-direction", "1,1,0")


def bands() -> np.ndarray:
    vectors = make_frame(GAAS, ZONE, None, (1, 1, 0)).vectors(np.array(HKL))[:, :2]
    s = np.stack([(GRID[0] * g[0] + GRID[1] * g[1] + g @ g / 2) / 40 for g in vectors])
    return 1000 * np.sinc(300 * s) ** 2 + 5 * np.sin(40 * GRID[0]) ** 2


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def tiffs(folder, orientation="-y+x"):
    folder.mkdir()
    for g, image in zip(HKL, pattern_to_images(bands(), orientation), strict=True):
        name = "".join(f"{i:+d}" for i in g)
        tifffile.imwrite(folder / f"GaAs_{name}.tif", image.astype(np.float32), photometric="minisblack")


def test_import_of_images_whose_geometry_is_not_known(lacbed, tmp_path):
    tiffs(tmp_path / "tif", "+x-y")
    fit = ("--half-width", "fit", "--orientation", "fit", "--crystal", "GaAs")
    code, out, err = lacbed("experiment", "import", "tif", *TAKEN, *fit, "-o", "e.nc", "-o", "e.png")
    assert (code, err) == (0, "")
    assert "orientation +x-y fitted" in out
    experiment = load_experiment(tmp_path / "e.nc")
    assert experiment.orientation == "+x-y"
    assert experiment.half_width == pytest.approx(HALF_WIDTH, rel=0.08)
    for g, image in zip(experiment.hkl, experiment.images, strict=True):
        np.testing.assert_allclose(image, bands()[HKL.index(g)], rtol=1e-6)
    code, out, _ = lacbed("experiment", "info", "e.nc", "--json")
    assert code == 0
    assert json.loads(out)["bragg"]["correlation"] > 0.3


def test_a_folder_with_a_wrong_geometry_is_contradicted(lacbed, tmp_path):
    write_folder(tmp_path / "e", pattern_to_images(bands(), "-x+y"), orientation="+x+y")
    code, out, _ = lacbed("experiment", "info", "e", "--crystal", "GaAs", "--png", "e.png")
    assert code == 0
    assert "warning: the Bragg lines contradict the stated orientation +x+y" in out
    assert (tmp_path / "e.png").stat().st_size > 1000
    code, out, _ = lacbed("experiment", "import", "e", "--crystal", "GaAs", "--orientation", "fit", "-o", "e.nc")
    assert code == 0
    assert load_experiment(tmp_path / "e.nc").orientation == "-x+y"


def test_fit_of_one_thickness(lacbed, tmp_path):
    write_folder(tmp_path / "e", pattern_to_images(bands(), "-x+y"))
    words = (
        "--thickness",
        "300,320",
        "--beams",
        "40",
        "--geometry",
        "none",
        "--align",
        "none",
        "--hkl",
        "1,1,1 2,2,0",
    )
    code, out, err = lacbed("fit", "e", "GaAs", *words, "-o", "found", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [row["hkl"] for row in found["reflections"]] == ["1,1,1", "2,2,0"]
    assert found["mean_Z"] == found["mean_Z_aligned"]
    assert (tmp_path / "found" / "report.md").is_file()


def test_the_table_of_files_and_reflections_is_printed(lacbed, tmp_path):
    tiffs(tmp_path / "tif")
    for i, path in enumerate(sorted((tmp_path / "tif").iterdir()), 1):
        path.rename(tmp_path / "tif" / f"DF_{i + 3}.tif")
    order = [sorted(HKL, key=lambda g: "".join(f"{i:+d}" for i in g)).index(g) for g in HKL]
    names = [f"DF_{i + 4}.tif" for i in range(len(HKL))]  # DF_4 to DF_11
    words = ("tif", *TAKEN, "--half-width", "0.34", "-o", "e.nc")
    code, _, err = lacbed("experiment", "import", *words)
    assert (code, "rename the file or give --hkl" in err) == (2, True)
    listed = " ".join(",".join(map(str, HKL[order.index(i)])) for i in range(len(HKL)))
    code, out, err = lacbed("experiment", "import", *words, "--hkl", listed)
    assert (code, err) == (0, "")
    stack = bands()
    for text in (out, lacbed("experiment", "info", "e.nc")[1]):
        for g, place in zip(HKL, order, strict=True):
            mean = stack[HKL.index(g)].astype(np.float32).mean()
            row = next(line for line in text.splitlines() if line.split()[0] == names[place])
            assert row.split()[1:3] == ["->", ",".join(map(str, g))]
            assert float(row.split()[-1].rstrip(")")) == pytest.approx(mean, rel=1e-4)
    found = json.loads(lacbed("experiment", "info", "e.nc", "--json")[1])["images"]
    assert [row["file"] for row in found] == names
    twice = " ".join([listed.split()[0], *listed.split()[:-1]])
    check(lacbed("experiment", "import", *words, "--hkl", twice), "has two images")


def test_pipes_and_numbers_end_in_one_line(lacbed, tmp_path):
    (tmp_path / "e").mkdir()
    os.mkfifo(tmp_path / "e" / "experiment.json")
    os.mkfifo(tmp_path / "a.tif")
    for words, match in (
        (("info", "e"), "named pipe"),
        (("import", "e", "-o", "e.nc"), "named pipe"),
        (("import", "a.tif", *TAKEN, "--half-width", "0.4", "--hkl", "0,0,0", "-o", "e.nc"), "named pipe"),
    ):
        check(lacbed("experiment", *words), match)
    (tmp_path / "padded").mkdir()
    for i, image in enumerate(bands()):
        tifffile.imwrite(tmp_path / "padded" / f"LACBED_{i:03d}.tif", image.astype(np.float32))
    check(lacbed("experiment", "import", "padded", *TAKEN, "--half-width", "0.4", "-o", "e.nc"), "running numbers")


BAD_IMPORTS = [
    (("tif", "-o", "e.nc"), "give --voltage, --zone, --x-direction, --half-width"),
    (("none", *TAKEN, "--half-width", "0.4", "-o", "e.nc"), "no such file"),
    (("tif", *TAKEN, "--half-width", "wide", "-o", "e.nc"), "--half-width"),
    (("tif", *TAKEN, "--half-width", "-1", "-o", "e.nc"), "half_width"),
    (("tif", *TAKEN, "--half-width", "fit", "-o", "e.nc"), "--crystal"),
    (("tif", *TAKEN, "--half-width", "0.4", "--orientation", "up", "-o", "e.nc"), "one of"),
    (("tif", *TAKEN, "--half-width", "0.4", "--orientation", "fit", "-o", "e.nc"), "--crystal"),
    (("tif", *TAKEN, "--half-width", "0.4", "--hkl", "0,0,0", "-o", "e.nc"), "reflections were given"),
    (("tif", *TAKEN, "--half-width", "0.4", "--crop", "99", "-o", "e.nc"), "cannot be cut"),
    (("tif", *TAKEN, "--half-width", "0.4", "-o", "e.foo"), "ending"),
    (("tif", "-V", "200", "--zone", "0,0,1", *TAKEN[4:], "--half-width", "0.4", "-o", "e.nc"), "Laue zone"),
    (("tif", "-V", "0", *TAKEN[2:], "--half-width", "0.4", "-o", "e.nc"), "--voltage"),
]


@pytest.mark.parametrize(("words", "match"), BAD_IMPORTS, ids=[m for _, m in BAD_IMPORTS])
def test_bad_imports(lacbed, tmp_path, words, match):
    tiffs(tmp_path / "tif")
    check(lacbed("experiment", "import", *words), match)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tif"]


BAD_FITS = [
    (("--thickness", "-5"), "--thickness"),
    (("--geometry", "focus"), "focus"),
    (("--align", "best"), "--align"),
    (("--no-align",), "--no-align is now --align none"),
    (("--align", "--robust"), "--align alone is now --align shift"),
    (("--blur", "nan"), "blur"),
    (("--max-shift", "0"), "max_shift"),
    (("--background", "curved"), "background"),
    (("--beams", "few"), "--beams"),
    (("--absorption", "some"), "--absorption"),
    (("--hkl", "9,9,9"), "was not measured"),
    (("--hkl", "all"), "--hkl"),
    (("--dtype", "int8"), "dtype"),
    (("--factors", "guess"), "factors"),
    (("-o", "mine"), "not a fit written by lacbed"),
    (("-o", "no/where"), "no such folder"),
]


@pytest.mark.parametrize(("words", "match"), BAD_FITS, ids=[" ".join(w) for w, _ in BAD_FITS])
def test_bad_fits(lacbed, tmp_path, words, match):
    write_folder(tmp_path / "e", pattern_to_images(bands(), "-x+y"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    check(lacbed("fit", "e", "GaAs", *words), match)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e", "mine"]


def test_crystals_that_cannot_be_it(lacbed, tmp_path):
    write_folder(tmp_path / "e", pattern_to_images(bands(), "-x+y"))
    check(lacbed("fit", "e", "Fe", "--thickness", "300"), "different cell or setting")
    check(lacbed("fit", "e", "Unobtainium"), "no built-in crystal")
    check(lacbed("fit", "nowhere", "GaAs"), "nowhere")
    check(lacbed("experiment", "info", "nowhere.nc"), "nowhere.nc")


def check(outcome, match):
    code, out, err = outcome
    assert code == 2, outcome
    assert out == ""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert match in err
