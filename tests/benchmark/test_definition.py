"""What is frozen stays frozen: crystals, ids, splits, and what may be drawn."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lacbed.benchmark.definition import (
    PACKAGED,
    drawn,
    entries,
    load_definition,
    probe,
    sides,
    split_by_rule,
)
from lacbed.datasets.splits import SIDES, split_rows
from lacbed.errors import FileFormatError, SettingError


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_crystals_and_splits(name):
    definition = load_definition(name)
    every = entries(definition)  # whose checksum is compared
    assert len(every) == definition.rows == len({entry.id for entry in every}) == len({e.source_id for e in every})
    frozen = {
        kind: np.array([int(d) for d in definition.frozen[kind]]) for kind in ("row", "compound", "prototype")
    }
    assert np.array_equal(frozen["row"], split_rows([""] * len(every), kind="row", seed=definition.split_seed))
    for kind, group in (("compound", lambda e: e.candidate), ("prototype", lambda e: e.candidate.prototype)):
        side = {}
        for entry, digit in zip(every, frozen[kind], strict=True):
            assert side.setdefault(group(entry), digit) == digit
        assert set(frozen[kind]) == {0, 1, 2}
    parted = {entry.candidate for entry, d in zip(every, frozen["row"], strict=True) if d == 2} & {
        entry.candidate for entry, d in zip(every, frozen["row"], strict=True) if d == 0
    }
    assert parted or name == "trial"  # which is what a split by row leaks
    config = definition.data["ten"]
    assert config.hkl[0] == (0, 0, 0)
    assert {t.predicts for t in definition.tasks.values()} == {"pattern", "potential"}


def test_frozen_splits_are_those_of_the_rule():
    definition = load_definition("trial")
    for kind in ("row", "compound", "prototype"):
        found = sides(definition, kind)
        assert list(found) == list(SIDES)
        rule = split_by_rule(definition, kind)
        assert all(np.array_equal(np.flatnonzero(rule == i), found[side]) for i, side in enumerate(SIDES))


def test_a_strained_crystal_is_the_same_compound_in_another_cell(tiny):
    every = entries(load_definition(tiny))
    twins = [(a, b) for a, b in pairwise(every) if a.candidate == b.candidate]
    assert twins
    for original, strained in twins:
        one, two = original.row(), strained.row()
        assert one["compound_id"] == two["compound_id"]
        assert one["source_id"] != two["source_id"]
        assert 0 < abs(two["a"] / one["a"] - 1) <= 0.0201


def test_drawn_crystals_are_new_and_the_same_for_everyone(tiny):
    definition = load_definition(tiny)
    known = {entry.candidate for entry in entries(definition)}
    first, more = drawn(definition, 77, 4), drawn(definition, 77, 9)
    assert more[:4] == first
    assert not known & {entry.candidate for entry in more}
    assert drawn(definition, 78, 9) != more
    assert first[0].id == "D77-00000"
    with pytest.raises(SettingError, match="drew the crystals of tiny itself"):
        drawn(definition, 5, 4)
    with pytest.raises(SettingError, match="are left to be drawn"):
        drawn(definition, 77, 10**6)


def test_probe():
    pattern = np.zeros((2, 3, 8, 8))
    pattern[1, 0, :2, 2:4] = 1.0
    assert probe(pattern).tolist() == [0, 1] + 14 * [0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows = 26", "rows = 3", "crystals.rows must be a whole number between 20"),
        ('"fcc"', '"fct"', "crystals.prototypes are some of fcc"),
        ('predicts = "pattern"', 'predicts = "phase"', "and predicts pattern or potential"),
        ("strained = 0.3", "strained = 3", "crystals.strained must be between 0 and 1"),
        ("[splits]", "[splits]\nrow = '012'", "a digit from 0 to 2 for each of the 26 crystals"),
        ("[data.000]", "[data.000]\nprobes = {a = [1.0]}", "must be lists of 16 numbers"),
        ("seed = 5", "", "needs seed"),
        ("[crystals]", "[kristalle]", "has no key 'kristalle'"),
        ("rows = 26", "rows = [", "not valid TOML"),
    ],
)
def test_a_definition_that_is_none_is_refused(tiny, tmp_path, old, new, message):
    path = tmp_path / "d.toml"
    path.write_text(Path(tiny).read_text("utf-8").replace(old, new))
    with pytest.raises((FileFormatError, SettingError), match=message.replace("[", r"\[")):
        load_definition(str(path))


def test_unknown_names():
    with pytest.raises(FileFormatError, match="the packaged ones are LACBED-1, trial"):
        load_definition("LACBED-9")
    with pytest.raises(SettingError, match="is one of forward-000, forward-ten"):
        load_definition().task("sideways")
    with pytest.raises(SettingError, match="a split is by row, compound, prototype"):
        sides(load_definition("trial"), "colour")
