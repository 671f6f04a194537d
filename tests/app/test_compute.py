"""The steps of a picture, run in this process."""

import numpy as np
import pytest
from app_helpers import SMALL

import lacbed
from lacbed.app import compute
from lacbed.app.files import Result, Results, file_bytes, parse_export, rebuild_result
from lacbed.app.limits import Limits, check_budget, fair_share
from lacbed.app.request import parse_view
from lacbed.app.structure import describe
from lacbed.errors import CrystalError, MemoryLimitError, SettingError

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


@pytest.mark.parametrize("changes", [{}, {"absorption": 8, "hkl": [2, -2, 0], "voltage": 120}])
def test_the_exact_series_is_the_engines(changes):
    sent = run(compute.simulate, **changes)
    header, payload = sent[-1]
    assert header["kind"] == "result"
    view = parse_view({**SMALL, **changes})
    expected = engine(view, header["view"])
    pattern = rebuild_result(header["labels"], payload)
    np.testing.assert_array_equal(pattern.values, expected.values)
    assert pattern["thickness"].values.tolist() == [100, 200, 300, 400, 500, 600]
    assert header["view"]["converged"] is True
    stages = [h["stage"] for h, _ in sent if h["kind"] == "pattern"]
    assert stages == ["preview"]


def test_a_preview_is_near_the_exact_picture():
    header, payload = run(compute.preview)[0]
    assert header["stage"] == "preview"
    expected = engine(parse_view(SMALL), header, thicknesses=[300], beams=300)
    values = np.frombuffer(payload, "<f4").reshape(expected.shape)
    assert lacbed.zncc_loss(values[0, 0], expected.values[0, 0]) < 0.01


def test_slow_pictures_come_in_two_steps(monkeypatch):
    monkeypatch.setattr(compute, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(compute, "PREVIEW_SECONDS", 0.0)
    patterns = [h for h, _ in run(compute.simulate) if h["kind"] == "pattern"]
    assert [(h["stage"], h["pixels"]) for h in patterns] == [("preview", 32), ("coarse", 16)]


class Oracle:
    """Stands for the learned simulator: knows one half-width, and up to 500 Å."""

    domain = {"extent": 2.0, "absorption": None, "thickness": [100.0, 500.0]}  # noqa: RUF012

    def predict(self, crystal, thicknesses, energy, zone_axis, hkl):
        grid = lacbed.TiltGrid(pixels=32, extent=2)
        pattern = lacbed.simulate(crystal, zone_axis, energy, thicknesses, grid, hkl, beams=21)
        return pattern.assign_attrs(expected_z=[0.01] * len(thicknesses), warnings=["300 Å: outside"])


def test_the_learned_picture_comes_first(monkeypatch):
    monkeypatch.setattr(compute, "surrogate", Oracle)
    sent = [(h, p) for h, p in run(compute.simulate) if h["kind"] != "progress"]
    assert [h.get("stage", "exact") for h, _ in sent] == ["learned", "exact"]
    assert sent[0][0]["thicknesses"] == [300]
    assert sent[0][0]["expected_z"] == [0.01]
    assert sent[0][0]["remarks"] == ["300 Å: outside"]
    assert [h["stage"] for h, _ in run(compute.preview)] == ["learned"]


@pytest.mark.parametrize("changes", [{"extent": 3}, {"absorption": 5}, {"thickness": 600}])
def test_the_learned_picture_is_left_out_where_it_does_not_hold(monkeypatch, changes):
    monkeypatch.setattr(compute, "surrogate", Oracle)
    assert [h["stage"] for h, _ in run(compute.preview, **changes)] == ["preview"]


@pytest.mark.parametrize(("extent", "detail"), [(2, 16), (2, 64), (1, 32), (1.5, 30)])
def test_the_learned_picture_comes_on_the_grid_of_the_exact_one(monkeypatch, extent, detail):
    monkeypatch.setattr(compute, "surrogate", Oracle)
    monkeypatch.setattr(compute, "_enough_beams", lambda *_: (21, True))
    sent = [(h, p) for h, p in run(compute.simulate, extent=extent, detail=detail) if h["kind"] != "progress"]
    (guess, values), (result, payload) = sent
    exact = rebuild_result(result["labels"], payload).sel(thickness=300).values[0]
    header = result["view"]
    assert [guess[key] for key in ("stage", "pixels", "k_first", "k_step")] == pytest.approx(
        ["learned", *(header[key] for key in ("pixels", "k_first", "k_step"))]
    )
    found = np.frombuffer(values, "<f4").reshape(exact.shape)
    assert np.abs(found - exact)[1:-1, 1:-1].max() < 0.02 * np.ptp(exact)
    assert any("interpolated from 32 x 32" in remark for remark in guess["remarks"])


def test_without_a_model(monkeypatch):
    def fail(_):
        raise ImportError("none here")

    monkeypatch.setattr(compute, "import_module", fail)
    compute.surrogate.cache_clear()
    assert compute.surrogate() is None
    compute.surrogate.cache_clear()


def test_the_montage_holds_every_reflection_in_its_place():
    header, payload = run(compute.montage, extent=3)[-1]
    pattern = rebuild_result(header["labels"], payload)
    view = header["view"]
    assert [0, 0, 0] in view["hkl"]
    assert [2, -2, 0] in view["hkl"]
    assert max(np.hypot(view["gx"], view["gy"])) <= view["reach"] + 1e-9
    one = engine(parse_view({**SMALL, "extent": 3}), view, thicknesses=[300], hkl=[(2, -2, 0)])
    chosen = pattern.sel(hkl="2,-2,0", thickness=300)
    np.testing.assert_allclose(chosen.values, one.values[0, 0], atol=1e-12)


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
    header, payload = run(compute.simulate)[-1]
    pattern = rebuild_result(header["labels"], payload)
    for ending in (".nc", ".tif", ".npz"):
        (tmp_path / f"a{ending}").write_bytes(file_bytes(pattern, ending, 300.0))
        found = lacbed.load_pattern(tmp_path / f"a{ending}")
        assert found.sizes["thickness"] == 1
        np.testing.assert_allclose(found.values[0], pattern.sel(thickness=300).values, atol=1e-7)
    (tmp_path / "b.nc").write_bytes(file_bytes(pattern, ".nc", None))
    np.testing.assert_array_equal(lacbed.load_pattern(tmp_path / "b.nc").values, pattern.values)
    assert file_bytes(pattern, ".png", 300.0).startswith(b"\x89PNG")
    for ending, thickness in ((".exe", None), (".nc", 301.0), (".png", None), ("../x.nc", None)):
        with pytest.raises(SettingError):
            file_bytes(pattern, ending, thickness)


@pytest.mark.parametrize(
    "bad", [{}, {"format": 3}, {"format": "/etc/passwd"}, {"format": ".nc", "thickness": "1"}, {"format": ".zarr"}]
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
    for name in (None, 3, "", "../x"):
        with pytest.raises(SettingError):
            kept.get(name)
    short = Results(most_bytes=100, seconds=0.0)
    name = short.put(Result(view, "{}", b""))
    with pytest.raises(SettingError):
        short.get(name)
