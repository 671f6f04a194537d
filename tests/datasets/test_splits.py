"""Laws of every split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacbed.datasets.splits import KINDS, LEAKING, SHARES, SIDES, near_duplicates, split_rows
from lacbed.errors import SettingError
from lacbed.patterns.metrics import zncc_loss

GROUPED = [kind for kind in KINDS if kind not in LEAKING]


def some_groups(rng, rows=400, groups=150):
    return [f"g{n}" for n in rng.integers(0, groups, rows)]


@pytest.mark.parametrize("kind", KINDS)
@given(st.integers(0, 2**32), st.integers(0, 1000))
@settings(max_examples=25)
def test_complete_reproducible_and_whole(kind, random, seed):
    rng = np.random.default_rng(random)
    groups = some_groups(rng)
    joined = [rng.choice(400, 3, replace=False).tolist() for _ in range(5)]
    side = split_rows(groups, joined, kind=kind, seed=seed)
    assert len(side) == 400
    assert set(side.tolist()) == {0, 1, 2}  # every row on exactly one side, and no side empty
    assert np.array_equal(side, split_rows(groups, joined, kind=kind, seed=seed))
    if kind in LEAKING:
        assert np.bincount(side).tolist() == [340, 40, 20]
        return
    for name in set(groups):
        assert len({int(s) for s, g in zip(side, groups, strict=True) if g == name}) == 1
    for rows in joined:
        assert len(set(side[rows].tolist())) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_near_85_10_5(kind):
    side = split_rows(some_groups(np.random.default_rng(0), 2000, 900), kind=kind, seed=1)
    assert np.bincount(side) / 2000 == pytest.approx(SHARES, abs=0.005)


def test_seeds_and_kinds_differ():
    groups = some_groups(np.random.default_rng(0))
    splits = {
        (kind, seed): split_rows(groups, kind=kind, seed=seed).tobytes() for kind in KINDS for seed in range(5)
    }
    assert len(set(splits.values())) == len(splits)


@pytest.mark.parametrize("kind", GROUPED)
def test_a_group_stays_where_it_is_whatever_the_order_of_the_rows(kind):
    groups = some_groups(np.random.default_rng(0))
    order = np.random.default_rng(1).permutation(len(groups))
    side = split_rows(groups, kind=kind, seed=3)
    assert np.array_equal(split_rows([groups[i] for i in order], kind=kind, seed=3), side[order])


def test_a_huge_group_goes_to_training():
    side = split_rows(["huge"] * 300 + [f"g{i}" for i in range(100)], kind="prototype", seed=2)
    assert set(side[:300].tolist()) == {0}
    assert np.bincount(side).tolist() == [340, 40, 20]


def test_what_cannot_be_split():
    with pytest.raises(SettingError, match="too few"):
        split_rows(["one"] * 50, kind="compound")
    with pytest.raises(SettingError, match="too few"):
        split_rows([str(i) for i in range(40)], [list(range(40))], kind="compound")
    with pytest.raises(SettingError, match="row, compound, prototype"):
        split_rows(["a"], kind="element")
    with pytest.raises(SettingError, match="seed"):
        split_rows(["a"], seed=-1)


# -- near duplicates --------------------------------------------------------------------------------------------
@given(st.integers(0, 2**32), st.floats(1e-4, 0.02))
@settings(max_examples=20)
def test_near_duplicates_are_those_of_all_pairs(random, bound):
    rng = np.random.default_rng(random)
    parents = rng.random((12, 1, 1, 20, 20))
    noise = rng.normal(size=(40, 2, 1, 20, 20)) * rng.choice([0.003, 0.02, 0.1, 0.5], (40, 1, 1, 1, 1))
    images = (rng.uniform(0.5, 2.0, (40, 1, 1, 1, 1)) * parents[rng.integers(0, 12, 40)] + noise).astype(
        np.float32
    )
    rows = [3 * i for i in range(40)]
    found = near_duplicates(rows, lambda row: images[row // 3], bound)
    flat = images[:, :, 0].reshape(80, 20, 20)
    z = np.asarray(zncc_loss(flat[:, None], flat[None]))
    near = (z < bound).reshape(40, 2, 40, 2).any(axis=(1, 3))
    reach = np.linalg.matrix_power(near.astype(float), 64) > 0  # closed under neighbours of neighbours
    expected = {tuple(3 * int(j) for j in np.flatnonzero(line)) for line in reach}
    assert {tuple(group) for group in found} == {group for group in expected if len(group) > 1}


def test_no_near_duplicate_straddles_a_grouped_split():
    rng = np.random.default_rng(4)
    images = rng.random((300, 1, 1, 16, 16)).astype(np.float32)
    for i in range(0, 60, 2):
        images[i + 1] = images[i] + 1e-3 * rng.random((1, 1, 16, 16))
    joined = near_duplicates(range(300), lambda row: images[row], 1e-3)
    assert len(joined) == 30
    groups = [f"compound {i}" for i in range(300)]
    for seed in range(20):
        side = split_rows(groups, joined, kind="compound", seed=seed)
        assert all(side[i] == side[i + 1] for i in range(0, 60, 2))
        blind = split_rows(groups, kind="compound", seed=seed)
        assert any(blind[i] != blind[i + 1] for i in range(0, 60, 2))


def test_images_without_contrast_are_alike():
    images = np.ones((3, 1, 1, 8, 8), dtype=np.float32)
    images[2] = np.random.default_rng(0).random((1, 1, 8, 8))
    assert near_duplicates([5, 6, 7], lambda row: images[row - 5]) == [[5, 6]]
    assert near_duplicates([5], lambda row: images[row - 5]) == []


def test_sides_are_named():
    assert SIDES == ("train", "validation", "test")
