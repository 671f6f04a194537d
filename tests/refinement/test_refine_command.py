"""lacbed refine as a user runs it: results, stop and resume, bad input."""

import json
import re

import numpy as np
import pytest
from experiment_helpers import HALF_WIDTH, exact_stack, write_folder

from lacbed.experiment.experiment import pattern_to_images
from lacbed.io.lock import claimed
from lacbed.refinement import files, minimise, refine

QUICK = ("--free", "thickness,B,blur", "-t", "420:500:40", "--beams", "30", "--starts", "1", "--steps", "3")
QUICK = (*QUICK, "--absorption", "none")  # Hermitian matrices are solved ten times faster


def small_images(**options) -> np.ndarray:
    """Images of 12 x 12 pixels around the axis; the fit has as many beams."""
    return pattern_to_images(1e3 * exact_stack(beams=30, finer=1, **options)[:, 5:17, 5:17], "-x+y")


def write_small(folder, images, **geometry):
    write_folder(folder, images, half_width_inv_A=HALF_WIDTH * 12 / 22, **geometry)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return small_images(absorption=None)


def test_results_and_one_page(lacbed, tmp_path):
    write_small(tmp_path / "e", small_images())
    absorbing = (*QUICK[:-1], "thomas")
    code, out, err = lacbed("refine", "e", "GaAs", *absorbing, "-o", "out", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert abs(found["thickness"] - 460.0) < 10.0
    assert found["mean_Z_aligned"] <= found["mean_Z"] < 0.01
    for row in found["free"].values():
        assert row["uncertainty"] >= abs(row["model_error"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.png",
        "correlation.png",
        "refined.cif",
        "report.html",
        "report.md",
        "result.json",
        "simulated.nc",
        "state.json",
        "thickness.png",
    }
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert len(re.findall(r"(?:src|href|url)\b", page)) == page.count('src="data:')
    assert "light-dark(" in page
    assert not re.search(r"https?://", page)
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert f"| {found['reflections'][0]['hkl'].replace(',', ' ')} |" in text
    for words in ("| thickness |", "Bloch waves", "each image shifted"):
        assert words in text
    code, _, err = lacbed("refine", "e", "GaAs", *QUICK, "-o", "out")
    assert code == 2
    assert "not empty" in err


def test_stop_and_resume(lacbed, tmp_path, images, monkeypatch):
    write_small(tmp_path / "e", images)
    save, calls = files.save_progress, []

    def stop(*words):
        save(*words)
        calls.append(words)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(files, "save_progress", stop)
    code, _, err = lacbed("refine", "e", "GaAs", *QUICK, "-o", "out", "--quiet")
    assert code == 130
    assert "--resume" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["state.json"]
    stopped = json.loads((tmp_path / "out" / "state.json").read_text())
    monkeypatch.setattr(files, "save_progress", save)
    code, _, err = lacbed("refine", "e", "GaAs", *QUICK, "--steps", "4", "-o", "out", "--resume")
    assert code == 2
    assert "another experiment, crystal, settings or version of lacbed" in err
    code, out, _ = lacbed("refine", "e", "GaAs", *QUICK, "-o", "out", "--resume", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["scan"] == stopped["scan"]
    assert abs(found["thickness"] - 460.0) < 10.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"thickness": -1}, "thickness must be a number above 0"),
        ({"values": [460.0, 0.8, -3.0, 0.6]}, "must be between 0"),
        ({"values": [460.0, 0.6]}, "other free parameters"),
        ({"beams": 10**30}, "beams must be a whole number"),
        ({"stage": 50}, "stage must be between"),
        ({"shifts": [[1.0, 2.0]]}, "shifts must be 6 numbers for each of"),
        ({"history": {"a": 1}}, "history must be pairs"),
    ],
)
def test_impossible_states_are_refused(lacbed, tmp_path, images, change, message):
    write_small(tmp_path / "e", images)
    words = ("refine", "e", "GaAs", *QUICK, "-o", "out", "--quiet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refine, "run_stages", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        patch.setattr(refine, "first_progress", _first)
        assert lacbed(*words)[0] == 130
    path = tmp_path / "out" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    code, _, err = lacbed(*words, "--resume")
    assert code == 2
    assert message in err
    assert "another folder" in err
    assert err.count("\n") == 1


def _first(joint, _say):
    values = np.array([p.value for p in joint.parameters])
    start = files.Start(460.0, 0.8, joint.problems[0].beams, scan=np.array([[460.0, 0.1]]))
    return files.Progress(0, values, (start,))


def test_two_refinements_in_one_folder_refuse_each_other(lacbed, tmp_path, images):
    write_small(tmp_path / "e", images)
    with claimed(tmp_path / "out", "refinement", inside=True):
        code, _, err = lacbed("refine", "e", "GaAs", *QUICK, "-o", "out")
    assert code == 2
    assert "another refinement is writing to 'out'" in err
    with claimed(tmp_path / "out", "fit", inside=False):
        code, _, err = lacbed("fit", "e", "GaAs", "-o", "out", "-t", "420:500:40", "--beams", "60")
    assert code == 2
    assert "another fit is writing to 'out'" in err


def test_a_fit_that_diverges_keeps_the_best_state(lacbed, tmp_path, images, monkeypatch):
    write_small(tmp_path / "e", images)
    compared, seen = minimise.Part.compared, []

    def broken(part, values, chosen=None, with_slopes=False):
        fit = compared(part, values, chosen, with_slopes)
        if chosen is not None:  # in a fit
            seen.append(fit)
            if len(seen) > 3:
                fit.residual.fill_(np.nan)
        return fit

    monkeypatch.setattr(minimise.Part, "compared", broken)
    code, out, err = lacbed("refine", "e", "GaAs", *QUICK, "-o", "out", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert any("diverged" in note for note in found["notes"])
    assert 420.0 <= found["thickness"] <= 500.0


def test_bad_input_is_one_line_before_any_work(lacbed, tmp_path, images):
    write_small(tmp_path / "e", images)
    write_small(tmp_path / "tilted", images, surface_normal_uvw_direct=[-1, 1, 1])
    for words, expected in (
        (("e", "GaAs", "--free", "x", "-o", "out"), "symmetry fixes"),
        (("e", "GaAs", "--free", "speed", "-o", "out"), "'speed'"),
        (("e", "GaAs", "--blur", "0", "-o", "out"), "blur must be above 0"),
        (("e", "GaAs", "--free", "absorption", "--absorption", "none", "-o", "out"), "without a model"),
        (("e", "NaCl", "--free", "Ug:1,2,3", "-o", "out"), "does not affect these images"),
        (("e", "GaAs", "-o", "no/such/out"), "there is no folder"),
        (("tilted", "GaAs", "-o", "out"), "foil normal"),
        (("e", "GaAs", "--no-align", "-o", "out"), "--no-align is now --align none"),
        (("e", "GaAs", "--align", "--robust", "-o", "out"), "--align alone is now --align shift"),
        (("e", "GaAs", "--align", "best", "-o", "out"), "none, shift or affine, got 'best'"),
        (("e", "GaAs", "--prior", "Ug=0", "-o", "out"), "prior of Ug must be wider than 0, got 0"),
        (("e", "GaAs", "--prior", "Ug", "-o", "out"), "--prior takes NAME=WIDTH"),
        (("e", "GaAs", "--prior", "B=0.1", "-o", "out"), "'B' has no prior"),
        (("e", "GaAs", "--fix", "x", "-o", "out"), "'x' is not free and cannot be fixed"),
        (("e", "GaAs", "--fix", "charm", "-o", "out"), "--fix names 'charm'"),
        (("e", "GaAs", "--border", "40", "-o", "out"), "border must be between 0 and 30"),
        (("e", "GaAs", "--free", "Ug:2,0,0", "-o", "out"), "U_g of 2,0,0 does not affect"),
        (("e", "GaAs", "--free", "electronic", "--absorption", "none", "-o", "out"), "without a model"),
        (("e", "GaAs", "--common-scale", "--background", "plane", "-o", "out"), "not both"),
    ):
        code, out, err = lacbed("refine", *words)
        assert (code, out) == (2, "")
        assert expected in err
        assert err.count("\n") == 1
        assert not (tmp_path / "out").exists()
