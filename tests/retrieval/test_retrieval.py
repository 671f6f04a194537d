"""A potential is found from its pattern: freedom, refinement, files and the command."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import lacbed
from lacbed.cli import main
from lacbed.errors import SettingError
from lacbed.identification.predictors import target_of
from lacbed.learn.symmetry import OPERATIONS, aligned
from lacbed.patterns.metrics import zncc_loss
from lacbed.retrieval.cell import image_of_table, inverted, lengths, shifted, table_of_image
from lacbed.retrieval.forward import RECIPROCITY, Foil, make_basis, make_grid, pattern, pattern_values
from lacbed.retrieval.refine import refine
from lacbed.retrieval.retrieve import pattern_group, retrieve
from lacbed.retrieval.start import given_potential, half_width, similar_crystals, similar_potential
from lacbed.retrieval.symmetry_constraints import free_directions, symmetrised, symmetry_of

FOIL = Foil(3.90528, 400.0, 200e3)


def potential(name: str) -> torch.Tensor:
    return given_potential(lacbed.projected_potential(lacbed.Crystal.named(name), pixels=64, g_max=6.0))


def disturbed(table: torch.Tensor, reach: float) -> torch.Tensor:
    """Coefficients up to a length wrong by some 20 %, in the symmetry of the potential."""
    noise = np.random.default_rng(0).normal(size=table.shape)
    wrong = symmetrised(table * torch.as_tensor(1.0 + 0.2 * noise), symmetry_of(table))
    return torch.where(
        (lengths(table.shape[0] // 2) <= reach) & (lengths(table.shape[0] // 2) > 0.0), wrong, table
    )


@pytest.fixture(scope="module")
def measured():
    """000 of SrTiO3 by the exact engine."""
    crystal = lacbed.Crystal.named("SrTiO3")
    grid = lacbed.TiltGrid(24, extent=3.0)
    return lacbed.simulate(crystal, thicknesses=(FOIL.thickness,), grid=grid, beams=220)


def test_tables_and_images():
    image = potential("FeS2")
    table = table_of_image(image, 20)
    torch.testing.assert_close(table, inverted(table).conj())
    again = table_of_image(image_of_table(table, 64), 20)
    torch.testing.assert_close(again, table)
    moved = image_of_table(shifted(table, (1 / 8, 0.0)), 64)
    torch.testing.assert_close(moved, image_of_table(table, 64).roll(8, 1))
    for pixels in (40, 30):
        with pytest.raises(SettingError, match="need more than 40 pixels"):
            image_of_table(table, pixels)


@pytest.mark.parametrize(("name", "count"), [("SrTiO3", 8), ("FeS2", 4), ("NaCl", 8)])
def test_symmetry_of_a_potential_with_its_shifts(name, count):
    table = table_of_image(potential(name), 16)
    found = symmetry_of(shifted(table, (1 / 8, 1 / 4)))
    assert len(found) == count
    moved = symmetrised(shifted(table, (1 / 8, 1 / 4)), found)
    torch.testing.assert_close(moved, shifted(table, (1 / 8, 1 / 4)), atol=0.02, rtol=0.0)


def test_free_directions_are_orthonormal_real_and_symmetric():
    found = symmetry_of(table_of_image(potential("FeS2"), 8))
    directions = free_directions(3.0, 8, found)
    rows = torch.view_as_real(directions).flatten(1)
    torch.testing.assert_close(rows @ rows.mT, torch.eye(len(rows), dtype=torch.float64))
    for direction in directions:
        torch.testing.assert_close(direction, inverted(direction).conj())
        torch.testing.assert_close(symmetrised(direction, found), direction, atol=1e-9, rtol=0.0)
    assert float((directions.abs().amax(dim=0) * (lengths(8) > 3.0)).max()) == 0.0
    free = free_directions(3.0, 8, [((False, False, False), (0.0, 0.0))])
    assert len(free) == 28  # 14 pairs ±g, real and imaginary part
    assert len(directions) < len(free) / 2


def test_gradient_of_the_pattern_against_differences():
    rng = np.random.default_rng(0)
    table = table_of_image(potential("SrTiO3"), 6)
    noise = torch.as_tensor(rng.normal(size=table.shape) + 1j * rng.normal(size=table.shape))
    table = table + 0.1 * (noise + inverted(noise).conj())
    grid = make_grid(FOIL, divisions=2, extent=2)
    basis = make_basis(grid, table)
    weights = torch.as_tensor(rng.normal(size=(8, 8)))
    leaf = table.clone().requires_grad_()
    (pattern(grid, basis, leaf) * weights).sum().backward()
    step = noise + inverted(noise).conj()
    step[6, 6] = 0.0  # the mean acts through K, which has no gradient
    slope = float((leaf.grad.conj() * step).real.sum())
    values = [float((pattern_values(grid, basis, table + e * step) * weights).sum()) for e in (1e-5, -1e-5)]
    assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("divisions", [2, 3])
def test_the_pattern_has_its_symmetry_whether_it_is_used_or_not(divisions):
    table = table_of_image(potential("SrTiO3"), 20).real
    grids = [make_grid(FOIL, divisions, 2, operations) for operations in (RECIPROCITY, OPERATIONS)]
    full, reduced = (pattern_values(grid, make_basis(grid, table), table) for grid in grids)
    torch.testing.assert_close(full, reduced, rtol=0.0, atol=1e-12)
    assert len(grids[1].square) < len(grids[0].square) / 3


def test_refinement_finds_a_known_potential():
    truth = table_of_image(potential("SrTiO3"), 12)
    symmetry, start = symmetry_of(truth), disturbed(truth, 4.0)
    grid = make_grid(FOIL, divisions=4, extent=3, operations=OPERATIONS)
    target = pattern_values(grid, make_basis(grid, truth.real), truth.real)
    ticks = []
    found = refine(
        grid, target, start, symmetry, reaches=(2.5, 4.0), absorption=False, prior=1e-5, progress=ticks.append
    )
    assert ticks == [0.5, 1.0]
    assert found.z[0] > 0.03
    assert found.z[-1] < 1e-5
    free = (lengths(12) > 0.0) & (lengths(12) <= 4.0)
    off = [float(((t - truth).abs() * free).norm()) for t in (start, found.state.table)]
    assert off[1] < 0.1 * off[0]


def test_retrieval_comes_closer_to_the_truth(measured):
    table = table_of_image(potential("SrTiO3"), 24)
    start = image_of_table(disturbed(table, 4.0), 64)
    found = retrieve(target_of(measured), FOIL, start, absorption=False, reaches=(2.5, 4.0))
    truth = image_of_table(table, 128)
    z = [float(zncc_loss(v, aligned(truth, v))) for v in (found.start, found.potential)]
    assert found.z[-1] < 0.1 * found.z[0]
    assert z[1] < 0.3 * z[0]
    assert len(found.symmetry) == 8
    only = retrieve(target_of(measured), FOIL, potential("BaTiO3"), refined=False)
    assert len(only.z) == 1
    assert torch.equal(only.potential, only.start)


def test_the_group_of_a_pattern():
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 12, dtype=torch.float64)] * 2, indexing="ij")
    assert len(pattern_group(torch.cos(3 * x) + torch.cos(3 * y))) == 8
    assert len(pattern_group(torch.cos(3 * x) + torch.cos(5 * y))) == 4
    assert len(pattern_group(torch.cos(3 * x + y))) == 2


def test_bad_values_are_refused(measured):
    target, start = target_of(measured), potential("SrTiO3")
    with pytest.raises(SettingError, match="reaches must rise"):
        retrieve(target, FOIL, start, reaches=(4.0, 2.0))
    with pytest.raises(SettingError, match="divisions must be"):
        retrieve(target, FOIL, start, divisions=1)
    with pytest.raises(SettingError, match="needs at least ±1 a"):
        retrieve(target, Foil(0.5, 400.0, 200e3), start)
    assert half_width(target, FOIL) == pytest.approx(3.0)
    with pytest.raises(SettingError, match="square cell"):
        given_potential(lacbed.projected_potential(lacbed.Crystal.named("GaAs"), (1, 1, 0), 16, 2.0))


def test_starts_that_are_none(measured):
    whole = lacbed.projected_potential(lacbed.Crystal.named("SrTiO3"), pixels=16, g_max=2.0)

    def hurt(value=None, **attributes):
        values = whole.values.copy()
        values[3, 4] = values[3, 4] if value is None else value
        return whole.copy(data=values).assign_attrs(attributes)

    for bad, words in (
        (hurt(np.nan), "1 of the 256 pixels of the start are NaN or infinite"),
        (hurt(np.inf), "1 of the 256 pixels of the start are NaN or infinite"),
        (hurt(units="counts"), "in V Å or V .*'counts'"),
        (hurt(period=0.0), "period along the beam in Å, above 0, got 0"),
        (hurt(period="x"), "period along the beam in Å, above 0, got 'x'"),
        (hurt(1e9), "no crystal exceeds"),
        (whole.copy(data=np.ones((16, 16))), "the same everywhere"),
        (whole.copy(data=whole.values + 0j), "real numbers"),
        (whole[:4, :4], "n at least 8, got 4 x 4"),
        (whole[:, :8], "a square potential"),
    ):
        with pytest.raises(SettingError, match=words):
            given_potential(bad)
    with pytest.raises(SettingError, match="NaN or infinite"):
        retrieve(target_of(measured), FOIL, torch.full((16, 16), torch.nan))
    with pytest.raises(SettingError, match="n x n pixels"):
        retrieve(target_of(measured), FOIL, torch.rand(16, 17))


def test_the_most_similar_crystal_is_the_start():
    truth = replace(lacbed.Crystal.named("GaAs"), cell=(5.6, 5.6, 5.6, 90.0, 90.0, 90.0))
    grid = lacbed.TiltGrid(16, extent=4)
    pattern = lacbed.simulate(truth, thicknesses=[400], grid=grid, beams=120, absorption="thomas", solver="fast")
    crystals = similar_crystals(5.6)
    assert all(crystal.cell[:3] == (5.6, 5.6, 5.6) for crystal in crystals)
    assert {"GaAs", "Ge"} < {crystal.name for crystal in crystals}
    potential, name = similar_potential(target_of(pattern), Foil(5.6, 400.0, 200e3))
    assert "As" in name or "Ge" in name  # Ge, ZnSe and the like have nearly the same pattern of 000
    expected = lacbed.projected_potential(truth)
    expected = torch.as_tensor(expected.values / expected.attrs["period"])
    assert float(lacbed.zncc_loss(potential, aligned(expected, potential, grid=64))) < 0.03


def test_command(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lacbed.save_pattern(measured, "sto.nc")
    assert main(["potential", "BaTiO3", "--pixels", "64", "-o", "bto.nc", "--quiet"]) == 0
    words = ["retrieve", "sto.nc", "--start", "bto.nc", "-o", "out", "--reach", "2.5", "--no-absorption"]
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["Z"] < 0.5 * found["Z_start"]
    assert found["lattice_parameter"] == pytest.approx(FOIL.lattice_parameter)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "coefficients.csv",
        "potential.nc",
        "retrieval.json",
        "retrieval.png",
        "start.nc",
    ]
    rows = list(csv.DictReader((tmp_path / "out" / "coefficients.csv").read_text().splitlines()))
    assert [int(rows[0][name]) for name in ("h", "k")] in ([0, 1], [1, 0])
    assert len(rows) == 10
    saved = lacbed.patterns.files.load_array("out/potential.nc")
    assert float(saved.mean()) == pytest.approx(float(saved.attrs["mean_inner_potential"]))
    assert main([*words, "--start", "out/potential.nc", "--quiet"]) == 0  # its own result, in its place


@pytest.fixture(scope="module")
def given(measured, tmp_path_factory):
    """A folder of patterns: whole, of an unknown crystal, and of one that is not cubic."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "full").mkdir()
    (folder / "full" / "notes.txt").write_text("mine")
    lacbed.save_pattern(measured, folder / "sto.nc")
    bare = measured.copy()
    bare.attrs = {k: v for k, v in measured.attrs.items() if k != "crystal_cif"}
    lacbed.save_pattern(bare, folder / "bare.nc")
    bare.attrs["crystal_cif"] = lacbed.Crystal.named("TiO2").to_cif()
    lacbed.save_pattern(bare, folder / "tetragonal.nc")
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sto.nc", "-o", "out", "--start", "bto.nc", "--model", "run"], "--start or --model, not both"),
        (["sto.nc", "-o", "out", "--model", "inverse"], "no learned inverse is packaged"),
        (["sto.nc", "-o", "out", "--lattice", "2"], "no cubic crystal with a lattice parameter near 2"),
        (["none.nc", "-o", "out", "--start", "bto.nc"], "no such file"),
        (["sto.nc", "-o", "nowhere/out", "--start", "bto.nc"], "no such folder"),
        (["sto.nc", "-o", "full", "--start", "bto.nc"], "not a retrieval written by lacbed"),
        (["sto.nc", "-o", "sto.nc", "--start", "bto.nc"], "is a file"),
        (["sto.nc", "-o", "out", "--model", "default"], "needs an inverse"),
        (["sto.nc", "-o", "out", "--start", "bto.nc", "--lattice", "100"], "between 1 and 40"),
        (["sto.nc", "-o", "out", "--start", "bto.nc", "--thickness", "nan"], "needs the thickness"),
        (["sto.nc", "-o", "out", "--start", "sto.nc"], "a start is a square potential"),
        (["bare.nc", "-o", "out", "--start", "bto.nc"], "does not state its lattice parameter"),
        (["tetragonal.nc", "-o", "out", "--start", "bto.nc"], "not cubic"),
    ],
)
def test_bad_input_is_one_line(given, monkeypatch, capsys, words, message):
    monkeypatch.chdir(given)
    assert main(["retrieve", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said
    assert not (given / "out").exists()
