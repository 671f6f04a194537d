"""Predictions that look like simulations, know their limits, and can be differentiated."""

import json
import shutil

import numpy as np
import pytest
import torch
from synthetic import PIXELS

import lacbed
from lacbed.crystals import Site
from lacbed.errors import FileFormatError, SettingError
from lacbed.learn import surrogate as module
from lacbed.learn.checkpoint import load_model
from lacbed.learn.domain import exact_command, is_cubic
from lacbed.learn.surrogate import Surrogate, crystal_inputs


@pytest.fixture(scope="module")
def model(trained):
    return Surrogate.load(trained)


def test_labels_are_those_of_simulate(model):
    crystal = lacbed.Crystal.named("SrTiO3")
    learned = model.predict(crystal, thicknesses=(300, 600), energy=200e3)
    exact = lacbed.simulate(
        crystal, thicknesses=(300, 600), grid=lacbed.TiltGrid(pixels=PIXELS, extent=2.0), beams=40
    )
    assert learned.dims == exact.dims
    assert learned.shape == exact.shape
    assert learned.name == exact.name
    assert set(learned.coords) == set(exact.coords)
    for name in exact.coords:
        assert np.array_equal(learned[name].values, exact[name].values), name
    assert learned.attrs["kind"] == "learned"
    assert len(learned.attrs["expected_rms_error"]) == len(learned.attrs["expected_z"]) == 2
    assert 0 <= float(learned.min()) <= float(learned.max()) <= 1
    lacbed.compare_patterns(learned, exact)


@pytest.mark.parametrize("ending", [".nc", ".npz", ".tif", ".png", ".zarr"])
def test_predictions_go_into_every_file(model, tmp_path, ending):
    pattern = model.predict(lacbed.Crystal.named("Si"))
    lacbed.save_pattern(pattern, tmp_path / f"p{ending}")
    if ending != ".png":
        again = lacbed.load_pattern(tmp_path / f"p{ending}")
        assert np.allclose(again.values, pattern.values, atol=1e-6)
        assert again.attrs["kind"] == "learned"


def test_batches_equal_single_predictions(model):
    crystals = [lacbed.Crystal.named(n) for n in ("Si", "NaCl", "SrTiO3")]
    many = model.predict(crystals, thicknesses=(300,))
    assert [p.attrs["crystal"] for p in many] == [c.name for c in crystals]
    for crystal, one in zip(crystals, many, strict=True):
        assert np.allclose(model.predict(crystal, thicknesses=(300,)).values, one.values, atol=1e-5)
    assert model.predict([]) == []


def test_inputs_are_those_of_a_data_set(model):
    """The potential in V at x = i/n, averaged along the beam, and the numbers that a data set keeps."""
    from lacbed.datasets.compute import SCALARS, Conditions, compute_one
    from lacbed.datasets.config import DatasetConfig

    crystal = lacbed.Crystal.named("NaCl")
    config = DatasetConfig(
        pixels=8,
        extent=1.0,
        thicknesses=(300.0,),
        tolerance_z=0.5,
        tolerance_intensity=0.5,
        absorption=("proportional", 5.0),
        potential_pixels=32,
        potential_g_max=3.0,
    )
    stored = compute_one(crystal, config, Conditions(200e3, (300.0,)))
    batch = crystal_inputs([crystal], (300.0,), 200e3, model.domain)
    assert np.allclose(batch["potential"][0, 0].numpy(), stored.potential, atol=1e-3)
    for name in set(SCALARS) - {"beams", "z_reached", "intensity_change_reached"}:
        assert float(batch[name][0]) == pytest.approx(stored.scalars[name], rel=1e-6), name


def test_gradients_agree_with_differences(model):
    crystal = lacbed.Crystal.named("NaCl")
    batch = crystal_inputs([crystal], (300.0,), 200e3, model.domain)
    names = ("potential", "lattice_parameter", "thickness", "energy")
    tensors = {name: batch[name].clone() for name in names}
    tensors["thickness"].requires_grad_(True)
    tensors["potential"].requires_grad_(True)
    model.intensities(**tensors).mean().backward()
    plain = {name: value.detach() for name, value in tensors.items()}
    step = 3.0
    values = [
        float(model.intensities(**{**plain, "thickness": plain["thickness"] + s}).mean().detach())
        for s in (-step, step)
    ]
    slope = (values[1] - values[0]) / (2 * step)
    assert float(tensors["thickness"].grad.sum()) == pytest.approx(slope, rel=0.05, abs=1e-7)
    assert float(tensors["potential"].grad.abs().max()) > 0


def test_strange_crystals_are_flagged(model):
    """Trained on light synthetic crystals: gold at 2000 Å is unlike any of them."""
    pattern = model.predict(lacbed.Crystal.named("Au"), thicknesses=(2000,), energy=60e3)
    record = model.record["warning"]
    assert record["rows"] == 12
    threshold = np.exp(record["threshold"])
    assert bool(pattern.attrs["warnings"]) == (pattern.attrs["expected_z"][0] > min(threshold, 2.0))


@pytest.mark.parametrize(("a", "said"), [(3.1, True), (5.0, False), (25.0, True)])
def test_a_cell_of_another_size_than_those_learned_is_named(model, a, said):
    crystal = lacbed.Crystal.build("Al", a, 221, [Site("Al", "Al", (0.0, 0.0, 0.0))])
    remarks = [
        r for r in model.predict(crystal, thicknesses=(300,)).attrs["warnings"] if "training crystals had" in r
    ]
    assert bool(remarks) is said
    assert all(f"a = {a:g} Å" in remark for remark in remarks)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"thicknesses": (50,)}, r"thickness 100 to 2000 Å only, got 50 Å.*--thickness 50 --voltage 200"),
        ({"thicknesses": (300, 2500)}, r"got 2500 Å.*--thickness 300,2500"),
        ({"energy": 400e3}, r"voltage 60 to 300 kV only, got 400 kV.*--voltage 400"),
        ({"zone_axis": (1, 1, 0)}, r"zone axis \[0, 0, 1\].*--zone 1,1,0"),
        ({"hkl": [(0, 0, 0), (2, 0, 0)]}, r"the reflection 000 only.*--hkl '0,0,0 2,0,0'"),
        ({"energy": 200.0}, "200 kV is 200e3"),
        ({"thicknesses": ()}, "at least one number"),
    ],
)
def test_outside_of_the_domain(model, asked, message):
    with pytest.raises(SettingError, match=message):
        model.predict(lacbed.Crystal.named("Si"), **asked)


def test_crystals_that_are_not_cubic(model):
    with pytest.raises(SettingError, match=r"is valid for cubic crystals.*lacbed simulate my.cif --zone 0,0,1"):
        model.predict(lacbed.Crystal.named("Mg"), called="my.cif")


@pytest.mark.parametrize(
    ("cell", "cubic"),
    [
        ((3.90528, 3.905358, 3.90528, 90.001, 89.999, 90.0), True),
        ((4.0, 4.00035, 4.0, 90.0, 90.0, 90.005), True),
        ((4.0, 4.0009, 4.0, 90.0, 90.0, 90.0), False),
        ((4.0, 4.0, 4.0, 90.0, 90.0, 90.02), False),
    ],
)
def test_relaxed_cells(model, cell, cubic):
    crystal = lacbed.Crystal("relaxed", cell, (Site("Po", "Po", (0, 0, 0)),))
    assert is_cubic(crystal) == cubic
    if not cubic:  # the digits that matter are shown
        with pytest.raises(SettingError, match=r"4\.0009|90\.02"):
            model.predict(crystal)


def test_the_command_is_quoted():
    command = exact_command("my file.cif", (300.0,), 200e3, (0, 0, 1), ((0, 0, 0),))
    assert command == "lacbed simulate 'my file.cif' --zone 0,0,1 --thickness 300 --voltage 200 -o pattern.nc"


def test_loading(trained, tmp_path, monkeypatch):
    with pytest.raises(FileFormatError, match="no model"):
        Surrogate.load(tmp_path / "none")
    monkeypatch.setattr(module, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(FileFormatError, match="no trained model"):
        Surrogate.load()
    shutil.copytree(trained / "model", tmp_path / "weights" / "default")
    assert Surrogate.load().name == "default"
    assert Surrogate.load("default").domain == Surrogate.load(trained).domain
    record = json.loads((trained / "model" / "config.json").read_text())
    record.pop("domain")
    (tmp_path / "weights" / "default" / "config.json").write_text(json.dumps(record))
    with pytest.raises(SettingError, match="does not state its training range"):
        Surrogate.load()


def test_card_says_what_it_is(trained):
    card = (trained / "model" / "card.md").read_text()
    for words in ("# unet", "12 training crystals", "which leaks", "Z median", "100 to 2000 Å", "60 to 300 kV"):
        assert words in card


# Every coefficient is a dozen operations to be traced.
EXPORTED = {
    "vae": {},
    "unet": {"reach": 1},
    "fno": {"reach": 1},
    "vae of one origin": {"one_origin": True, "symmetric": True},
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in ("unet", "fno") else n for n in EXPORTED]
)
def test_onnx_equals_the_model(tmp_path, name):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from synthetic import SMALL

    from lacbed.learn.checkpoint import LoadedModel
    from lacbed.learn.export import TOLERANCE, export_onnx
    from lacbed.learn.models import build_model

    torch.manual_seed(0)
    model = build_model(SMALL[name.split()[0]] | EXPORTED[name]).eval()
    torch.nn.init.normal_(list(model.parameters())[-2], std=0.5)
    path = tmp_path / "model.onnx"
    assert export_onnx(LoadedModel(model, {}, {}), path) <= TOLERANCE
    assert path.stat().st_size > 1000
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    with pytest.raises(FileFormatError, match=r"\.onnx"):
        export_onnx(LoadedModel(model, {}, {}), tmp_path / "model.pt")


def test_shipped_folder_is_a_model(trained):
    assert load_model(trained / "model").descriptors["rows"].dtype == torch.float16


def test_what_nothing_has_learned_is_computed(monkeypatch):
    asked = {}

    def simulate(*args, **options):
        asked.update(options)
        return lacbed.simulate(*args[:4], lacbed.TiltGrid(8, extent=1), *args[5:], **options)

    monkeypatch.setattr(module, "simulate", simulate)
    pattern = lacbed.predict(lacbed.Crystal.named("Si"), (300,), zone_axis=(1, 1, 0), hkl=[(0, 0, 0), (0, 0, 4)])
    assert pattern.attrs["kind"] == "simulated"
    assert asked["absorption"] == "thomas"
    assert pattern.attrs["error_estimate"] <= asked["tolerance"] == module.TOLERANCE
    assert "not learned: the learned simulator is valid for the zone axis" in pattern.attrs["notes"][-1]
    with pytest.raises(SettingError, match="compute it exactly"):
        lacbed.predict(lacbed.Crystal.named("Si"), zone_axis=(1, 1, 0), model="default")
