"""The commands that the page shows compute what it shows."""

import shlex
from dataclasses import replace

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
    "a tilted foil": {"foil_normal": [0, 1, 8], "extent": 1, "tolerance": 0.05, "factors": "peng", "detail": 16},
    "a steep foil": {"foil_normal": [0, 9, 2], "extent": 1, "tolerance": 0.05, "detail": 16},
    "ions": {"name": "MgO", "factors": "ionic", "charges": {"Mg": 2, "O": -2}, "extent": 1, "detail": 16},
    "a Laue zone": {"laue_zones": 1, "extent": 1, "tolerance": 0.05, "x_direction": [1, 1, 0], "detail": 16},
}


@pytest.mark.parametrize("case", CASES)
def test_commands_compute_the_picture(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = {**SMALL, **CASES[case]}
    if not data.get("name"):
        data["cif"] = lacbed.Crystal.named("Si").to_cif()
    view = parse_view(data)
    sent = []
    compute.simulate(view, lambda header, payload=b"": sent.append((header, payload)), 2**30)
    found = [(h["view"], rebuild_result(h["labels"], p)) for h, p in sent if h["kind"] == "result"]
    check(view, *found[0], tmp_path)
    if len(found) > 1:
        beyond = replace(view, thickness=found[-1][0]["thicknesses"][0])
        check(beyond, *found[-1], tmp_path)


def check(view, header, pattern, folder):
    shown = pattern.sel(thickness=[view.thickness], hkl=[",".join(map(str, view.hkl))])
    commands = recipe(view, header)
    if commands["needs"]:
        assert commands["needs"] == f"{file_stem(view)}.cif"
        (folder / commands["needs"]).write_text(crystal_of(view).to_cif(), encoding="utf-8")
    exec(compile(commands["python"], "python", "exec"), {})
    result = lacbed.load_pattern(folder / f"{file_stem(view)}.nc")
    assert result["hkl"].values.tolist() == shown["hkl"].values.tolist()
    np.testing.assert_allclose(result.values, shown.values, atol=1e-12)
    (folder / f"{file_stem(view)}.nc").unlink()
    words = shlex.split(commands["shell"])
    assert words[0] == "lacbed"
    assert main([*words[1:], "-q"]) == 0
    result = lacbed.load_pattern(folder / f"{file_stem(view)}.nc").sel(hkl=shown["hkl"].values)
    assert bool(commands["note"]) == (header.get("opened") is not None)
    np.testing.assert_allclose(result.values, shown.values, atol=2 * view.tolerance if commands["note"] else 1e-12)


def test_another_text_for_the_thickness():
    header = {"pixels": 32, "beams_asked": 50, "thicknesses": [300], "reach": 0.5}
    commands = recipe(parse_view(SMALL), header, "@thickness", "@hkl")
    assert "thicknesses=[@thickness]" in commands["python"]
    assert 'sel(hkl=["@label"])' in commands["python"]
    assert "--thickness @thickness" in commands["shell"]


@pytest.mark.parametrize(
    ("title", "stem"), [("../../etc/passwd", "etc_passwd"), ("", "crystal"), ("Si 100%", "Si_100")]
)
def test_names_of_files_are_safe(title, stem):
    assert file_stem(parse_view({"cif": "data_x", "title": title})) == stem
