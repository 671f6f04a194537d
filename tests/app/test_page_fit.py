"""Experiment mode: what may be dropped, and the fit beside it."""

import json

import numpy as np
import pytest

import lacbed
from lacbed.app.bench import fit, refine
from lacbed.app.files import parse_files
from lacbed.app.request import fit_recipe, parse_view
from lacbed.cli import main
from lacbed.errors import FileFormatError, MemoryLimitError, SettingError

VIEW = {"name": "Si", "zone_axis": [1, 1, 0], "thickness_max": 400, "thickness_step": 80}
HKL = ((0, 0, 0), (1, -1, 1))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A pattern of silicon at 310 Å, in two kinds of files."""
    crystal, folder = lacbed.Crystal.named("Si"), tmp_path_factory.mktemp("measured")
    grid = lacbed.TiltGrid(pixels=16, k_max=0.25)
    pattern = lacbed.simulate(crystal, (1, 1, 0), 200e3, [310], grid, HKL, beams=41)
    pattern.attrs["kind"] = "measured"
    lacbed.save_pattern(pattern, folder / "a.npz")
    np.savez(folder / "images.npz", images=pattern.values[0, :, ::-1], hkl=np.array(HKL))
    x = pattern.attrs["x_direction"]
    geometry = {
        "accelerating_voltage_kV": 200,
        "zone_axis_uvw_direct": [1, 1, 0],
        "x_direction_hkl_reciprocal": x,
        "half_width_inv_A": 0.25,
        "orientation": "-y+x",
    }
    described = json.dumps({"geometry": geometry}).encode()
    return {
        "one file": {".npz": (folder / "a.npz").read_bytes()},
        "two files": {".npz": (folder / "images.npz").read_bytes(), ".json": described},
    }


def run(files, **changes):
    sent = []
    listed = [{"ending": ending, "size": len(content)} for ending, content in files.items()]
    found = parse_files(listed, b"".join(files.values()))
    fit(parse_view({**VIEW, **changes}), found, lambda header, payload=b"": sent.append((header, payload)), 2**30)
    run.sent = sent
    return next(message for message in sent if message[0]["kind"] == "fit")


@pytest.mark.parametrize("kind", ["one file", "two files"])
def test_the_thickness_is_found(measured, kind):
    header, payload = run(measured[kind])
    assert header["kind"] == "fit"
    assert header["thickness"] == pytest.approx(
        310, abs=10
    )  # two small images, in which thickness follows half-width
    assert [tuple(g) for g in header["hkl"]] == list(HKL)
    assert max(header["z"]) < 0.02
    pairs = np.frombuffer(payload, "<f4").reshape(2, 2, 16, 16)
    assert lacbed.zncc_loss(pairs[0, 0], pairs[0, 1]) == pytest.approx(header["z"][0], abs=2e-3)
    tried = [t for t, _ in header["scan"]]
    assert tried == [160, 240, 320, 400]


def test_images_at_other_thicknesses_and_the_report_follow(measured):
    header, payload = run(measured["one file"])
    kinds = [h["kind"] for h, _ in run.sent if h["kind"] != "progress"]
    assert kinds == ["measured", "fit", "series", "report"]
    series, images = next(m for m in run.sent if m[0]["kind"] == "series")
    assert series["thicknesses"] == sorted([160, 240, 320, 400, header["thickness"]])
    best = series["thicknesses"].index(header["thickness"])
    images = np.frombuffer(images, "<f4").reshape(5, 2, 16, 16)
    pairs = np.frombuffer(payload, "<f4").reshape(2, 2, 16, 16)
    np.testing.assert_allclose(images[best], pairs[:, 1], atol=2e-3)  # the same model on a lattice of its own
    z = [np.mean([lacbed.zncc_loss(a, b) for a, b in zip(pairs[:, 0], stack, strict=True)]) for stack in images]
    assert np.argmin(z) == best
    _, page = run.sent[-1]
    assert page.startswith(b"<!DOCTYPE html>")
    assert b"data:image/png;base64" in page  # whole in itself


def test_a_refinement_has_error_bars_a_report_and_a_crystal(measured):
    sent = []
    files = measured["one file"]
    listed = [{"ending": ending, "size": len(content)} for ending, content in files.items()]
    found = parse_files(listed, b"".join(files.values()))
    refine(parse_view(VIEW), found, lambda header, payload=b"": sent.append((header, payload)), 2**30, 310.0)
    header, page = sent[-1]
    assert header["kind"] == "refined"
    rows = {row["name"]: row for row in header["free"]}
    assert rows["thickness"]["value"] == pytest.approx(310, abs=15)
    assert rows["thickness"]["uncertainty"] > 0
    assert "(" in rows["thickness"]["text"]
    assert header["mean_Z"] < 0.02
    assert lacbed.Crystal.from_cif_text(header["cif"]).formula == "Si"
    assert page.startswith(b"<!DOCTYPE html>")
    assert any(h["kind"] == "progress" and h["phase"].startswith("refining") for h, _ in sent)


def test_commands_find_the_same(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiment").mkdir()
    for ending, name in ((".npz", "images.npz"), (".json", "experiment.json")):
        (tmp_path / "experiment" / name).write_bytes(measured["two files"][ending])
    commands = fit_recipe(parse_view(VIEW))
    assert commands["needs"] == ""
    names = {}
    exec(compile(commands["python"], "python", "exec"), names)
    assert names["result"].thickness == pytest.approx(310, abs=10)
    capsys.readouterr()
    words = commands["shell"].split()
    assert main([*words[1:], "-q"]) == 0
    found = json.loads((tmp_path / "fit" / "fit.json").read_text(encoding="utf-8"))
    assert names["result"].thickness == pytest.approx(found["thickness"], abs=1e-6)
    other = fit_recipe(parse_view({**VIEW, "b_iso": 0.3, "absorption": 5}))
    assert other["needs"] == "Si.cif"
    assert "proportional:5" in other["shell"]


@pytest.mark.parametrize(
    ("listed", "payload", "words"),
    [
        (None, b"", "drop experiment.json and images.npz together"),
        ([], b"", "drop experiment.json"),
        ("x", b"", "drop experiment.json"),
        ([{"ending": ".json", "size": 2}], b"{}", "that experiment.json describes are missing"),
        ([{"ending": ".exe", "size": 2}], b"{}", "not measured patterns"),
        ([{"ending": "/../x.npz", "size": 2}], b"{}", "not measured patterns"),
        ([{"ending": ".npz", "size": -1}], b"", "arrived incomplete"),
        ([{"ending": ".npz", "size": 3}], b"ab", "arrived incomplete"),
        ([{"ending": ".npz", "size": 1}, {"ending": ".npz", "size": 1}], b"ab", "arrived incomplete"),
        ([{"ending": ".npz", "size": 1}, {"ending": ".nc", "size": 1}], b"ab", "drop experiment.json"),
        ([3], b"", "not measured patterns"),
    ],
)
def test_bad_drops(listed, payload, words):
    with pytest.raises(SettingError, match=words):
        parse_files(listed, payload)


@pytest.mark.parametrize("ending", [".npz", ".nc", ".tif"])
def test_damaged_files_are_explained_without_a_path(ending):
    with pytest.raises(FileFormatError) as caught:
        run({ending: b"junk"})
    assert "/" not in str(caught.value).replace("1/Å", "")


def test_a_crystal_that_cannot_show_the_reflections(measured):
    with pytest.raises(SettingError, match="different cell or setting"):
        run(measured["one file"], name="Fe")


def test_too_many_images_for_the_memory(measured):
    with pytest.raises(MemoryLimitError, match="bin them"):
        fit(parse_view(VIEW), measured["one file"], lambda *_: None, 1000)
