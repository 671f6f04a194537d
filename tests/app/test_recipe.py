"""The commands that the page shows compute what it shows."""

import shlex

import numpy as np
import pytest
from app_helpers import SMALL

import lacbed
from lacbed.app import compute
from lacbed.app.files import rebuild_result
from lacbed.app.request import file_stem, parse_view, recipe
from lacbed.app.structure import crystal_of
from lacbed.cli import main

CASES = {
    "plain": {},
    "all settings": {
        "zone_axis": [1, 1, 0],
        "voltage": 120.5,
        "hkl": [-1, 1, 1],
        "absorption": 7.5,
        "b_iso": 0.3,
        "thickness": 333.3,
    },
    "absorptive factors": {"absorption": "thomas"},
    "a CIF": {"name": "", "title": "my crystal; rm -rf $HOME"},
}


@pytest.mark.parametrize("case", CASES)
def test_commands_compute_the_picture(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {**SMALL, **CASES[case]}
    if not data["name"]:
        data["cif"] = lacbed.Crystal.named("Si").to_cif()
    view = parse_view(data)
    sent = []
    compute.simulate(view, lambda header, payload=b"": sent.append((header, payload)), 2**30)
    check(view, sent[-1], tmp_path)


def test_commands_compute_the_montage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    view = parse_view({**SMALL, "extent": 1, "b_iso": 0.7})
    sent = []
    compute.montage(view, lambda header, payload=b"": sent.append((header, payload)), 2**30)
    check(view, sent[-1], tmp_path)


def check(view, message, folder):
    header, payload = message
    shown = rebuild_result(header["labels"], payload).sel(thickness=[view.thickness])
    commands = recipe(view, header["view"])
    if commands["needs"]:
        assert commands["needs"] == f"{file_stem(view)}.cif"
        (folder / commands["needs"]).write_text(crystal_of(view).to_cif(), encoding="utf-8")
    results = []
    exec(compile(commands["python"], "python", "exec"), {})
    results.append(lacbed.load_pattern(folder / f"{file_stem(view)}.nc"))
    (folder / f"{file_stem(view)}.nc").unlink()
    words = shlex.split(commands["shell"])
    assert words[0] == "lacbed"
    assert main([*words[1:], "-q"]) == 0
    results.append(lacbed.load_pattern(folder / f"{file_stem(view)}.nc"))
    for result in results:
        assert result["hkl"].values.tolist() == shown["hkl"].values.tolist()
        np.testing.assert_allclose(result.values, shown.values, atol=1e-9)


def test_another_text_for_the_thickness():
    commands = recipe(parse_view(SMALL), {"pixels": 32, "beams": 50}, "@thickness")
    assert "thicknesses=[@thickness]" in commands["python"]
    assert "--thickness @thickness" in commands["shell"]


@pytest.mark.parametrize(
    ("title", "stem"), [("../../etc/passwd", "etc_passwd"), ("", "crystal"), ("Si 100%", "Si_100")]
)
def test_names_of_files_are_safe(title, stem):
    assert file_stem(parse_view({"cif": "data_x", "title": title})) == stem
