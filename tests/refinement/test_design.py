"""Plans: laws of counting first, then what refinements of noisy images scatter by, then bad input."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import lacbed
from lacbed.cli import main
from lacbed.errors import SettingError
from lacbed.refinement.design import Design, Forecast, _alias, forecast, joined, linearised, plan
from lacbed.refinement.objective import explain
from lacbed.refinement.parameter import Parameter
from lacbed.refinement.uncertainties import covariance, evidence, response, together

MGO = lacbed.Crystal.named("MgO")
SMALL = Design((0, 0, 1), 450.0, 0.55, images=5, pixels=16, dose=2000.0, background=0.0)
FREE = ("thickness", "B")


@pytest.fixture(scope="module")
def small() -> Forecast:
    return forecast(MGO, SMALL, FREE, ("proportional", 5.0))


def test_four_times_the_dose_halves_all_uncertainties(small: Forecast) -> None:
    more = forecast(MGO, replace(SMALL, dose=4 * SMALL.dose), FREE, ("proportional", 5.0))
    for name, value in small.uncertainties.items():
        assert more.uncertainties[name] == pytest.approx(value / 2, rel=1e-3)


def test_two_equal_stacks_share_their_crystal_and_nothing_else(small: Forecast) -> None:
    both = joined(MGO, [small, small])
    assert {p.kind for p in both.parameters} == {"B"}
    for name, value in both.uncertainties.items():
        assert value == pytest.approx(small.uncertainties[name] / math.sqrt(2), rel=1e-6)


def test_stacks_together_are_forecast_as_a_refinement_of_both_would_find_them(small: Forecast) -> None:
    """The sum of what each stack says of the crystal, against the one Jacobian of both."""
    other = replace(SMALL, zone_axis=(1, 1, 0), thickness=600.0)
    second = forecast(MGO, other, FREE, ("proportional", 5.0))
    said, names = [], []
    for number, design in enumerate((SMALL, other)):
        parameters, _, target, fit = linearised(MGO, design, FREE, ("proportional", 5.0), "kirkland")
        said.append(evidence(target, torch.zeros_like(fit.residual), fit.slopes))
        names.append([p.name if p.kind == "B" else f"{p.name}@{number}" for p in parameters])
    everything = list(dict.fromkeys(n for mine in names for n in mine))
    matrix = covariance(together(said, [[everything.index(n) for n in mine] for mine in names]))
    both = joined(MGO, [small, second])
    for name, value in both.uncertainties.items():
        assert value == pytest.approx(math.sqrt(matrix[everything.index(name), everything.index(name)]), rel=1e-6)
        assert value < 0.999 * min(one.uncertainties[name] for one in (small, second))


def test_zones_share_the_u_g_that_symmetry_makes_equal() -> None:
    """0,0,2 of [110] is 2,0,0 of [001]; a phase is turned round where Friedel's law makes equal."""
    free, zones = ("thickness", "B", "bonding"), ((0, 0, 1), (1, 1, 0))
    two = [forecast(MGO, replace(SMALL, zone_axis=zone), free, ("proportional", 5.0)) for zone in zones]
    both = joined(MGO, two)
    chosen = [{p.name for p in one.parameters if p.kind == "bonding"} for one in two]
    assert "Ug:2,0,0" in chosen[0]
    assert "Ug:0,0,2" in chosen[1]
    assert "Ug:2,0,0" in both.uncertainties
    assert "Ug:0,0,2" not in both.uncertainties
    alone = [one.uncertainties[name] for one, name in zip(two, ("Ug:2,0,0", "Ug:0,0,2"), strict=True)]
    assert both.uncertainties["Ug:2,0,0"] < min(alone)
    assert both.score(["bonding"]) < math.inf
    gaas = lacbed.Crystal.named("GaAs")
    first, again, centre = (
        Parameter(f"Ug:{g}:phase", "bonding", "ug_change", np.zeros(1), 0.0, -9.0, 9.0, "°")
        for g in ("1,1,1", "1,-1,-1", "-1,-1,-1")
    )
    assert _alias(gaas, again, {first.name: first}) == (first.name, 1.0)
    assert _alias(gaas, centre, {first.name: first}) == (first.name, -1.0)


def test_noise_moves_the_parameters_as_forecast(small: Forecast) -> None:
    """One step of least squares from the truth, on images with counting noise."""
    _, _, target, fit = linearised(MGO, SMALL, FREE, ("proportional", 5.0), "kirkland")
    random, known = np.random.default_rng(0), evidence(target, fit.residual, fit.slopes)
    steps = []
    for _ in range(300):
        counts = torch.as_tensor(random.poisson(target.images.numpy()).astype(float))
        noisy = explain(replace(target, images=counts), fit.images)
        steps.append(response(known, torch.einsum("pgn,gn->p", fit.slopes, noisy.residual).numpy()))
    scatter = np.std(steps, axis=0)
    forecasts = [small.uncertainties[p.name] for p in small.parameters]
    assert scatter == pytest.approx(forecasts, rel=0.15)  # 300 draws know it to 4 %


def test_a_plan_ranks_what_is_wanted() -> None:
    dim, bright = replace(SMALL, dose=200.0), SMALL
    found = plan(MGO, [dim, bright], ("B",), absorption=None, together=2)
    assert [f.designs for f in found] == [(dim, bright), (bright,), (dim,)]
    scores = [f.score(["B"]) for f in found]
    assert scores == sorted(scores)
    assert found[1].worst("thickness")[0] in found[1].uncertainties


@pytest.mark.parametrize(
    ("designs", "want", "together", "says"),
    [
        ([], ("B",), 1, "1 to 200 designs"),
        ([SMALL], ("colour",), 1, "colour"),
        ([SMALL], (), 1, "nothing"),
        ([SMALL], ("thickness",), 2, "share"),
        ([SMALL], ("x",), 1, "symmetry fixes"),
    ],
)
def test_impossible_plans_are_refused(
    designs: list[Design], want: tuple[str, ...], together: int, says: str
) -> None:
    with pytest.raises(SettingError, match=says):
        plan(MGO, designs, want, absorption=None, together=together)


@pytest.mark.parametrize(
    "change", [{"dose": 0}, {"dose": math.nan}, {"images": 0}, {"pixels": 2}, {"readout": -1}]
)
def test_impossible_designs_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(SettingError, match="design"):
        replace(SMALL, **change)


def test_the_command_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.csv"
    options = [
        "--zones",
        "0,0,1",
        "-t",
        "450",
        "--half-width",
        "0.5",
        "--images",
        "4",
        "-n",
        "16",
        "--absorption",
        "none",
    ]
    assert main(["plan", "MgO", *options, "--want", "B", "--dose", "100", "-o", str(out), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["forecasts"][0]
    written = list(csv.reader(out.read_text(encoding="utf-8").splitlines()))
    assert written[1][0] == row["design"]
    place = written[0].index("uncertainty of B:Mg1")
    assert float(written[1][place]) == pytest.approx(row["wanted"]["B:Mg1"], rel=1e-3)
    other = tmp_path / "notes.csv"
    other.write_text("mine\n", encoding="utf-8")
    assert main(["plan", "MgO", *options, "-o", str(other)]) == 2
    assert other.read_text(encoding="utf-8") == "mine\n"
    assert main(["plan", "MgO", *options, "-o", str(tmp_path / "plan.nc")]) == 2
    assert main(["plan", "MgO", *options, "--want", "colour"]) == 2
    assert main(["plan", "MgO", "--images", "8:12"]) == 2
