"""Which crystal comes next: nothing that judges, whatever the number; varied, and sound."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from stream_rows import SMALL, draws_of

from lacbed.catalog.generate import all_candidates, row_of_candidate
from lacbed.catalog.rows import crystal_of, relabelled, row_of
from lacbed.crystals import Crystal
from lacbed.datasets.dataset import LacbedDataset
from lacbed.errors import SettingError, TrainingError
from lacbed.learn.draws import Draws, Forbidden, StreamSettings


@pytest.mark.parametrize("kind", ["row", "compound", "prototype"])
def test_nothing_that_judges_is_drawn(data, rows, kind):
    """Many draws, each labelled anew from its group and sites; the same draws without the rule do meet it."""
    judged = [
        data_row
        for side in ("validation", "test")
        for one in [LacbedDataset(data, side, kind, 0)]
        for data_row in one.store.catalog().take(one.rows).to_pylist()
    ]
    assert judged
    compounds = {relabelled(row)["compound_id"] for row in judged}
    prototypes = {relabelled(row)["anonymous_prototype"] for row in judged}
    settings = {"generated": 0.1, "substituted": 0.6}
    for forbidden, met in ((Forbidden.by(kind, judged), False), (Forbidden(), True)):
        draws = draws_of(rows, forbidden, **settings)
        drawn = [relabelled(draws.row(n)[0]) for n in range(400)]
        assert any(row["compound_id"] in compounds for row in drawn) is met
        if kind == "prototype":
            assert any(row["anonymous_prototype"] in prototypes for row in drawn) is met


def test_a_catalogue_that_calls_compounds_differently_does_not_help(rows):
    """Nor do other ids in the catalogue that is streamed from."""
    named = [{**row, "compound_id": f"x{i}", "anonymous_prototype": "?"} for i, row in enumerate(rows)]
    draws = draws_of(named, Forbidden.by("compound", rows[:10]), generated=0.0, substituted=0.0)
    assert {row["source_id"] for row in draws.rows}.isdisjoint(row["source_id"] for row in rows[:10])
    assert len(draws.rows) < len(named)


def test_draws_depend_on_seed_and_number_alone(rows):
    one, two = draws_of(rows), draws_of(rows)
    backwards = {n: two.row(n) for n in reversed(range(20))}
    assert all(one.row(n) == backwards[n] for n in range(20))
    assert one.digest == two.digest
    other = draws_of(rows, seed=1)
    assert other.digest != one.digest
    assert sum(other.row(n) == one.row(n) for n in range(20)) < 3
    assert one.row(7, 1) != one.row(7)  # the next try


def test_what_is_drawn_is_varied_and_sound(rows):
    draws = draws_of(rows, strain=0.03)
    drawn = [draws.row(n)[0] for n in range(160)]
    kinds = Counter("=" in r["source_id"].split("/")[-1] and r["source"] == "t" for r in drawn)
    assert kinds[True] > 10  # exchanged elements
    assert sum(r["source"] == "lacbed generate" for r in drawn) > 30
    known = {r["source_id"]: r["a"] for r in rows}
    strains = np.array([r["a"] / known[r["source_id"]] - 1 for r in drawn if r["source_id"] in known])
    assert np.abs(strains).max() <= 0.0301
    assert strains.std() > 0.01
    assert all(2.5 < r["a"] < 12.0 and r["n_atoms_conv"] <= 9 for r in drawn)


def test_atoms_move_as_far_as_their_sites_allow():
    """The sulphur of pyrite on its three-fold axis, manganese on that and on a two-fold one; nothing else."""
    named = [
        row_of(Crystal.named(n), source="t", source_id=n, licence="CC0-1.0", kind="experimental")
        for n in ("FeS2", "Mn", "SrTiO3")
    ]
    draws = draws_of(named, generated=0.0, substituted=0.0, strain=0.0, displaced=0.2, atoms=64.0)
    places = {row["source_id"]: np.array([[s[x] for x in "xyz"] for s in row["sites"]]) for row in named}
    moved = dict.fromkeys(places, 0.0)
    for number in range(40):
        row = draws.row(number)[0]
        away = row["a"] * (np.array([[s[x] for x in "xyz"] for s in row["sites"]]) - places[row["source_id"]])
        moved[row["source_id"]] = max(moved[row["source_id"]], float(np.abs(away).max()))
        assert relabelled(row)["wyckoff_signature"] == row["wyckoff_signature"]
        assert crystal_of(row).atoms.elements  # multiplicities are what the row states
    assert moved["SrTiO3"] == 0.0
    assert all(0.05 < moved[name] <= 0.2001 for name in ("FeS2", "Mn"))


def test_rare_prototypes_can_be_drawn_as_often_as_common_ones(rows):
    listed = [row for row in rows if row["source"] == "t"]
    count = Counter(row["anonymous_prototype"] for row in listed)
    common, often = count.most_common(1)[0]
    assert often > 3
    shares = []
    for even in (0.0, 1.0):
        draws = draws_of(listed, generated=0.0, substituted=0.0, even=even)
        drawn = [draws.row(n)[0]["anonymous_prototype"] for n in range(400)]
        shares.append(drawn.count(common) / 400)
    known = Counter(row["anonymous_prototype"] for row in draws.rows)
    assert shares[0] == pytest.approx(known[common] / len(draws.rows), abs=0.08)
    assert shares[1] == pytest.approx(1 / len(known), abs=0.06)


def test_nothing_left_to_draw_is_said(rows, monkeypatch):
    monkeypatch.setattr("lacbed.learn.draws._MOST_REJECTED", 5)
    everything = Forbidden.by("compound", rows)
    with pytest.raises(SettingError, match="no crystal is left to draw"):
        draws_of(rows, everything, generated=0.5, atoms=0.5)
    every = {row_of_candidate(c, 0)["compound_id"] for c in all_candidates() if c.prototype == "diamond"}
    only = Draws(StreamSettings(), (), Forbidden(frozenset(every)), ("diamond",), np.ones(1))
    with pytest.raises(TrainingError, match="draws in a row were compounds or prototypes of validation or test"):
        only.row(3)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("fresh", 0, "stream.fresh"),
        ("keep", 3, "stream.keep"),
        ("generated", 1.5, "stream.generated"),
        ("strain", -0.1, "stream.strain"),
        ("thickest", 50.0, "stream.thickest"),
        ("labels", "guess", "stream.labels"),
        ("seed", -1, "stream.seed"),
    ],
)
def test_settings_that_cannot_be(key, value, said):
    with pytest.raises(SettingError, match=said):
        StreamSettings(**{**SMALL, key: value})
