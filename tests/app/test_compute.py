"""The steps of a picture, run in this process."""

import numpy as np
import pytest
from app_helpers import SMALL

import lacbed
from lacbed.app import compute, held, learned
from lacbed.app.files import Result, Results, file_bytes, parse_export, rebuild_result, rebuild_results
from lacbed.app.limits import Limits, check_budget, fair_share
from lacbed.app.request import parse_view
from lacbed.app.structure import crystal_of, describe
from lacbed.errors import CrystalError, LacbedError, MemoryLimitError, SettingError

BUDGET = Limits().job_bytes


def run(task, **changes):
    """The messages of a task that are patterns, by stage, and the last one with its payload."""
    sent = []
    task(parse_view({**SMALL, **changes}), lambda header, payload=b"": sent.append((header, payload)), BUDGET)
    return sent


def engine(view, header, **changes):
    """What the engine says about the same thing."""
    settings = {
        "zone_axis": view.zone_axis,
        "energy": view.voltage * 1e3,
        "thicknesses": view.thicknesses,
        "grid": lacbed.TiltGrid(pixels=header["pixels"], extent=view.extent),
        "hkl": [view.hkl],
        "absorption": view.absorption,
        "beams": header["beams"],
    }
    return lacbed.simulate(lacbed.Crystal.named(view.name), **{**settings, **changes})


def results(sent):
    """The results among messages: (what the page is told, pattern)."""
    return [(h["view"], rebuild_result(h["labels"], p)) for h, p in sent if h["kind"] == "result"]


@pytest.mark.parametrize("changes", [{}, {"absorption": 8, "hkl": [2, -2, 0], "voltage": 120, "extent": 3}])
def test_all_reflections_come_first_and_then_the_series(changes):
    held.let_go()
    sent = run(compute.simulate, **changes)
    view = parse_view({**SMALL, **changes})
    (header, every), *pieces = results(sent)
    assert [h["stage"] for h, _ in sent if h["kind"] == "pattern"] == ["preview"]
    assert header["thicknesses"] == [300]
    label = ",".join(map(str, view.hkl))
    thicknesses = sorted(t for told, _ in pieces for t in told["thicknesses"])
    assert thicknesses == [100, 200, 300, 400, 500, 600]
    expected = engine(view, header, beams=200, thicknesses=thicknesses)
    assert header["error"] <= 1e-3
    assert np.abs(every.sel(hkl=label, thickness=300) - expected.sel(thickness=300).values[0]).max() < 1e-3
    for told, pattern in pieces:
        assert told["error"] <= 1e-3
        assert np.abs(pattern.values - expected.sel(thickness=told["thicknesses"]).values).max() < 1e-3
    assert header["crystal"] == "Si"
    assert header["zone_axis"] == [0, 0, 1]


def test_a_zone_that_is_kept_gives_the_same_whatever_was_asked_before():
    held.let_go()
    first = results(run(compute.simulate))
    again = results(run(compute.simulate))
    further = results(run(compute.series, hkl=[2, 2, 0], thickness=400))
    assert [told["thicknesses"] for told, _ in further] == [[100, 200, 300, 400, 500, 600]]
    held.let_go()
    run(compute.simulate, thickness=300, hkl=[2, 2, 0], thickness_max=100)
    afresh = results(run(compute.series, hkl=[2, 2, 0], thickness=400))
    for (_, one), (_, other) in zip(first + further, again + afresh, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-12)
    assert results(run(compute.series, have=[100, 200, 300, 400, 500, 600])) == []


def test_another_thickness_of_a_kept_zone_comes_first_and_alone():
    held.let_go()
    run(compute.simulate)
    (alone, pattern), (every, _), *_ = results(run(compute.simulate, thickness=333))
    assert (alone["hkl"], alone["thicknesses"], alone["part"]) == ([[0, 0, 0]], [333], True)
    assert every["thicknesses"] == [333]
    assert len(every["hkl"]) > 1
    view = parse_view(SMALL)
    assert np.abs(pattern.values - engine(view, alone, beams=200, thicknesses=[333]).values).max() < 1e-3
    told = [one for one, _ in results(run(compute.simulate, thickness=333, have=[333.0]))]
    assert "part" not in told[0]
    beyond = [one for one, _ in results(run(compute.simulate, thickness=345, hkl=[4, 4, 0], thickness_max=100))]
    assert [one["hkl"] == [[4, 4, 0]] for one in beyond if one["thicknesses"] == [345]] == [True, False]


def test_the_last_zone_is_kept_whatever_it_takes():
    held.let_go()
    views = [parse_view({**SMALL, "voltage": kv}) for kv in (100, 200)]
    run(compute.simulate, voltage=100)
    run(compute.simulate, voltage=200)
    again = held.held(views[0]).kept_bytes
    run(compute.simulate, voltage=100, thickness=400)  # a level with the same waves
    assert held.held(views[0]).kept_bytes < 1.5 * again
    run(compute.simulate, voltage=200)
    bytes_each = [held.held(view).kept_bytes for view in views]
    assert min(bytes_each) > 0
    held.let_go(sum(bytes_each))
    assert None not in [held.held(view) for view in views]
    held.let_go(1)
    assert held.held(views[0]) is None
    assert held.held(views[1]) is not None
    held.let_go()
    assert held.held(views[1]) is None


def test_a_reflection_beyond_the_half_width_and_a_thickness_beyond_the_first():
    held.let_go()
    (_, every), (told, one), *_ = results(run(compute.simulate, hkl=[4, 4, 0], thickness=700, thickness_max=100))
    assert "4,4,0" not in every["hkl"].values
    assert (told["hkl"], told["thicknesses"]) == ([[4, 4, 0]], [700])
    view = parse_view({**SMALL, "hkl": [4, 4, 0]})
    assert np.abs(one.values - engine(view, told, beams=200, thicknesses=[700]).values).max() < 1e-3
    told = results(run(compute.series, hkl=[4, 4, 0], thickness_max=1500, have=[100.0 * i for i in range(1, 11)]))[
        0
    ][0]
    assert told["opened"] == {"before": [700, 1050, 1575], "reach": told["opened"]["reach"], "thickest": 700}


def test_a_preview_is_near_the_exact_picture():
    held.let_go()
    header, payload = run(compute.preview)[0]
    assert header["stage"] == "preview"
    expected = engine(parse_view(SMALL), header, thicknesses=[300], beams=300)
    place = header["hkl"].index([0, 0, 0])
    values = np.frombuffer(payload, "<f4").reshape(1, len(header["hkl"]), *expected.shape[2:])
    assert lacbed.zncc_loss(values[0, place], expected.values[0, 0]) < 0.01


@pytest.mark.parametrize(
    ("more", "covered"),
    [({"foil_normal": [0, 1, 8]}, True), ({"laue_zones": 1}, True), ({"foil_normal": [0, 9, 2]}, False)],
)
def test_tilted_foils_and_laue_zones_are_held(more, covered):
    view = parse_view(SMALL | more)
    assert compute.is_covered(view) == covered


def test_a_kept_zone_answers_no_reflection_of_another_laue_zone():
    more = {"laue_zones": 1, "detail": 16, "tolerance": 0.05, "thickness_max": 300}
    run(compute.simulate, **more)
    assert held.held(parse_view(SMALL | more)) is not None
    for hkl, there in (([2, 2, 0], True), ([1, 1, 1], False)):
        sent = [h["kind"] for h, _ in run(compute.preview, **more, hkl=hkl)]
        assert ("result" in sent) == there
        assert "pattern" not in sent


def test_slow_pictures_come_in_two_steps(monkeypatch):
    monkeypatch.setattr(compute, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(compute, "PREVIEW_SECONDS", 0.0)
    steep = {"foil_normal": [0, 9, 2], "detail": 16, "extent": 1, "tolerance": 0.05, "thickness_max": 200}
    sent = run(compute.simulate, **steep)  # too steep for a zone
    patterns = [h for h, _ in sent if h["kind"] == "pattern"]
    assert [(h["stage"], h["pixels"]) for h in patterns] == [("preview", 16), ("coarse", 8)]
    header, pattern = results(sent)[0]
    assert pattern.attrs["foil_normal"] == [0, 9, 2]
    assert 0 <= header["error"] <= 0.05


class Oracle:
    """Stands for the learned simulator: knows one half-width, and up to 500 Å."""

    domain = {"extent": 2.0, "absorption": None, "thickness": [100.0, 500.0]}  # noqa: RUF012

    def predict(self, crystal, thicknesses, energy, zone_axis, hkl):
        grid = lacbed.TiltGrid(pixels=32, extent=2)
        pattern = lacbed.simulate(crystal, zone_axis, energy, thicknesses, grid, hkl, beams=150)
        return pattern.assign_attrs(expected_z=[0.01] * len(thicknesses), warnings=["300 Å: outside"])


def test_while_the_crystal_is_tilted_the_picture_sharpens_and_what_is_kept_answers_alone():
    held.let_go()
    told = [h.get("view", h) for h, _ in run(compute.tilt, detail=32) if h["kind"] != "progress"]
    assert [h["stage"] for h in told] == ["preview", "coarse", "exact"]
    _, coarse, exact = told
    assert (coarse["pixels"], exact["pixels"]) == (16, 32)
    assert exact["error"] <= 1e-3 < compute.DRAFT
    assert coarse["error"] <= compute.DRAFT
    assert all(h["thicknesses"] == [300] for h in told)
    for task in (compute.tilt, compute.preview):
        again = [h for h, _ in run(task, detail=32, thickness=280) if h["kind"] != "progress"]
        assert [(h["view"]["stage"], h["view"]["thicknesses"]) for h in again] == [("exact", [280])]
    for task, steps in ((compute.preview, ["preview"]), (compute.tilt, ["preview", "exact"])):
        thicker = run(task, detail=32, thickness=900)  # needs further waves, which take their time
        assert [h.get("view", h)["stage"] for h, _ in thicker if h["kind"] != "progress"] == steps
    held.let_go()
    known = [h.get("view", h) for h, _ in run(compute.tilt, have=[300.0]) if h["kind"] != "progress"]
    assert [h["stage"] for h in known] == ["coarse", "exact"]
    loose = [h.get("view", h)["stage"] for h, _ in run(compute.tilt, tolerance=0.02) if h["kind"] != "progress"]
    assert loose == ["preview", "exact"]


def test_the_learned_picture_comes_first(monkeypatch):
    monkeypatch.setattr(learned, "surrogate", Oracle)
    held.let_go()
    sent = [(h, p) for h, p in run(compute.simulate) if h["kind"] != "progress"]
    assert {h.get("stage", "exact") for h, _ in sent[1:]} == {"exact"}
    again = [h["kind"] for h, _ in run(compute.simulate) if h["kind"] != "progress"]
    assert set(again) == {"result"}  # nothing is needed before what a kept zone tells at once
    assert sent[0][0]["stage"] == "learned"
    assert sent[0][0]["thicknesses"] == [300]
    assert sent[0][0]["expected_z"] == [0.01]
    assert sent[0][0]["remarks"] == ["300 Å: outside"]
    kept = [h["kind"] for h, _ in run(compute.preview) if h["kind"] != "progress"]
    assert kept == ["pattern", "result"]  # from the zone that was solved
    held.let_go()
    assert [h["stage"] for h, _ in run(compute.preview)] == ["learned"]


@pytest.mark.parametrize("changes", [{"extent": 3}, {"absorption": 5}, {"thickness": 600}])
def test_the_learned_picture_is_left_out_where_it_does_not_hold(monkeypatch, changes):
    monkeypatch.setattr(learned, "surrogate", Oracle)
    held.let_go()
    assert [h["stage"] for h, _ in run(compute.preview, **changes)] == ["preview"]


@pytest.mark.parametrize(("extent", "detail"), [(2, 16), (2, 64), (1, 32), (1.5, 30)])
def test_the_learned_picture_comes_on_the_grid_of_the_exact_one(monkeypatch, extent, detail):
    monkeypatch.setattr(learned, "surrogate", Oracle)
    sent = run(compute.simulate, extent=extent, detail=detail, thickness_max=100)
    guess, values = next((h, p) for h, p in sent if h["kind"] == "pattern")
    header, every = results(sent)[0]
    exact = every.sel(hkl="0,0,0").values[0]
    assert [guess[key] for key in ("stage", "pixels", "k_first", "k_step")] == pytest.approx(
        ["learned", *(header[key] for key in ("pixels", "k_first", "k_step"))]
    )
    found = np.frombuffer(values, "<f4").reshape(exact.shape)
    assert np.abs(found - exact)[1:-1, 1:-1].max() < 0.02 * np.ptp(exact)
    assert any("interpolated from 32 x 32" in remark for remark in guess["remarks"])


def test_without_a_model(monkeypatch):
    def fail(_):
        raise ImportError("none here")

    monkeypatch.setattr(learned, "import_module", fail)
    learned.surrogate.cache_clear()
    assert learned.surrogate() is None
    learned.surrogate.cache_clear()


def test_the_montage_holds_every_reflection_in_its_place():
    ((view, pattern),) = results(run(compute.montage, extent=3))
    assert [0, 0, 0] in view["hkl"]
    assert [2, -2, 0] in view["hkl"]
    assert max(np.hypot(view["gx"], view["gy"])) <= view["reach"] + 1e-9
    one = engine(parse_view({**SMALL, "extent": 3}), view, thicknesses=[300], hkl=[(2, -2, 0)], beams=200)
    chosen = pattern.sel(hkl="2,-2,0", thickness=300)
    np.testing.assert_allclose(chosen.values, one.values[0, 0], atol=1e-3)


def test_work_is_limited_by_its_memory():
    with pytest.raises(MemoryLimitError, match="fewer pixels or thicknesses"):
        check_budget(512, 1, 400, 2**30)
    assert check_budget(128, 1, 100, 2**30) < 2**30
    for task in (compute.preview, compute.simulate, compute.montage):
        with pytest.raises(MemoryLimitError, match="GiB"):
            task(parse_view(SMALL), lambda *_: None, 1000)
    assert fair_share(2, 2**30) == 256 * 2**20
    assert fair_share(1, 2**40) == 4 * 2**30


def test_describe():
    facts, image = describe(parse_view({"name": "SrTiO3"}))
    assert facts["formula"] == "SrTiO3"
    assert image.shape == (128, 128)
    assert facts["spots"][0]["hkl"] == [0, 0, 0]
    spot = next(s for s in facts["spots"] if s["hkl"] == [2, 0, 0])
    assert spot["spacing"] == pytest.approx(3.90528 / 2)
    assert 300 < spot["extinction"] < 3000
    assert spot["x"] == pytest.approx(2 / 3.90528)
    silicon = describe(parse_view({"name": "Si", "zone_axis": [1, 1, 0]}))[0]
    forbidden = next(s for s in silicon["spots"] if s["hkl"] == [0, 0, 2])
    assert (forbidden["strength"], forbidden["extinction"]) == (0.0, None)


def test_no_such_crystal():
    with pytest.raises(CrystalError, match="no built-in crystal"):
        describe(parse_view({"name": "Unobtainium"}))
    with pytest.raises(CrystalError, match="not a CIF"):
        describe(parse_view({"cif": "hello", "title": "x"}))
    with pytest.raises(SettingError, match="no direction"):
        describe(parse_view({"name": "Si", "zone_axis": [0, 0, 0]}))


def test_files_hold_what_is_shown(tmp_path):
    sent = [(h, p) for h, p in run(compute.simulate, thickness_step=20, extent=3) if h["kind"] == "result"]
    every = rebuild_result(sent[0][0]["labels"], sent[0][1])
    for ending in (".nc", ".tif", ".npz"):
        (tmp_path / f"a{ending}").write_bytes(file_bytes(every, ending, 300.0, [2, 2, 0]))
        found = lacbed.load_pattern(tmp_path / f"a{ending}")
        assert (found.sizes["thickness"], found["hkl"].values.tolist()) == (1, ["2,2,0"])
        np.testing.assert_allclose(found.values[0, 0], every.sel(hkl="2,2,0").values[0], atol=1e-7)
    pieces = sent[1:]
    assert len(pieces) > 1
    labels, payloads = [h["labels"] for h, _ in pieces], [p for _, p in pieces]
    series = rebuild_results(labels, [len(p) for p in payloads], b"".join(payloads))
    assert series["thickness"].values.tolist() == [20.0 * i for i in range(1, 31)]
    (tmp_path / "b.nc").write_bytes(file_bytes(series, ".nc", None))
    np.testing.assert_array_equal(lacbed.load_pattern(tmp_path / "b.nc").values, series.values)
    for h, p in pieces:
        own = rebuild_result(h["labels"], p)
        np.testing.assert_array_equal(series.sel(thickness=own["thickness"]).values, own.values)
    assert file_bytes(every, ".png", 300.0, [0, 0, 0]).startswith(b"\x89PNG")
    bad = ((".exe", None, None), (".nc", 301.0, None), (".nc", 300.0, [9, 9, 9]), ("../x.nc", None, None))
    for asked in bad:
        with pytest.raises(SettingError):
            file_bytes(every, *asked)
    with pytest.raises(SettingError, match="one thickness"):
        file_bytes(series, ".png", None)


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"format": 3},
        {"format": "/etc/passwd"},
        {"format": ".nc", "thickness": "1"},
        {"format": ".zarr"},
        {"format": ".nc", "hkl": "000"},
    ],
)
def test_bad_requests_for_files(bad):
    with pytest.raises(SettingError):
        parse_export(bad)


def test_results_are_kept_for_a_while():
    view = parse_view(SMALL)
    kept = Results(most_bytes=100, seconds=1000.0)
    first, second = (kept.put(Result(view, "{}", bytes(60))) for _ in range(2))
    assert first != second
    assert len(second) >= 20
    with pytest.raises(SettingError, match="compute it again"):
        kept.get(first)
    assert len(kept.get(second).payload) == 60
    other = kept.put(Result(parse_view({**SMALL, "voltage": 100}), "{}", bytes(10)))
    assert [len(r.payload) for r in kept.several([second])] == [60]
    with pytest.raises(SettingError, match="do not belong together"):
        kept.several([second, other])
    for name in (None, 3, "", "../x", [], ["x"]):
        with pytest.raises(SettingError):
            kept.several(name)
    for name in (None, 3, "", "../x"):
        with pytest.raises(SettingError):
            kept.get(name)
    short = Results(most_bytes=100, seconds=0.0)
    name = short.put(Result(view, "{}", b""))
    with pytest.raises(SettingError):
        short.get(name)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "MgO has none: write them into Charges, beside the factors, for Mg, O"),
        ({"charges": {"Al": 3}}, "MgO has no Al, but Mg, O"),
        ({"charges": {"Mg": 2}}, "add up to"),
    ],
)
def test_factors_of_ions_need_charges_that_suit_the_crystal(change, words):
    view = parse_view({**SMALL, "name": "MgO", "factors": "ionic", **change})
    with pytest.raises(LacbedError, match=words) as caught:
        compute.simulate(view, lambda *_: None, 2**30)
    assert "\n" not in str(caught.value)


def test_facts_need_no_charges_and_the_cif_has_those_that_are_given():
    without = describe(parse_view({"name": "MgO", "factors": "ionic"}))[0]
    given = describe(parse_view({"name": "MgO", "factors": "ionic", "charges": {"Mg": 2, "O": -2}}))[0]
    assert without["formula"] == "MgO"
    assert "O2-" not in without["cif"]
    assert "O2-" in given["cif"]


@pytest.mark.parametrize("change", [{"factors": "peng"}, {"laue_zones": 1}, {"x_direction": [1, 1, 0]}])
def test_the_learned_model_is_not_asked_for_what_it_was_not_taught(change):
    for more, holds in (({}, True), (change, False)):
        view = parse_view({"name": "SrTiO3", "absorption": "thomas", **more})
        assert (learned.learned_pattern(crystal_of(view), view) is not None) == holds
