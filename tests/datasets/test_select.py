"""Choosing rows."""

from collections import Counter

import pytest

from lacbed.datasets.plan import Selection, select_rows
from lacbed.errors import SettingError


def ids(table):
    return table["source_id"].to_pylist()


def test_everything_by_default(table):
    assert select_rows(table, Selection()).equals(table)


def test_samples_are_nested_and_reproducible(table):
    small, large = (ids(select_rows(table, Selection(count=n, seed=5))) for n in (4, 8))
    assert set(small) < set(large)
    assert ids(select_rows(table, Selection(count=4, seed=5))) == small
    assert any(ids(select_rows(table, Selection(count=4, seed=s))) != small for s in range(6, 9))


def test_a_sample_does_not_depend_on_the_order_of_the_catalogue(table):
    backwards = table.take(list(range(table.num_rows))[::-1])
    assert set(ids(select_rows(backwards, Selection(count=5)))) == set(ids(select_rows(table, Selection(count=5))))


def test_conditions(table):
    few = select_rows(table, Selection(max_atoms=2))
    assert set(ids(few)) == {"Fe", "Cr", "V"}
    known = select_rows(table, Selection(known=True))
    assert known["experimentally_known"].to_pylist() == [True] * known.num_rows
    capped = Counter(select_rows(table, Selection(per_prototype=2))["anonymous_prototype"].to_pylist())
    everything = Counter(table["anonymous_prototype"].to_pylist())
    assert capped == {name: min(n, 2) for name, n in everything.items()}
    assert max(everything.values()) == 3


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"count": 100}, "12 of the 12 rows"),
        ({"max_atoms": 0.5}, "none of the 12"),
        ({"count": 0}, "count must be positive"),
        ({"seed": -1}, "seed"),
        ({"per_prototype": -2}, "per_prototype"),
    ],
)
def test_bad_selections(table, selection, message):
    with pytest.raises(SettingError, match=message):
        select_rows(table, Selection(**selection))
