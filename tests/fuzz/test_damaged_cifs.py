"""A seeded part of the fuzzer of CIFs; the whole of it runs as a program."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.mark.skipif(os.name != "posix", reason="the time limit needs signals")
def test_damage_is_refused_or_named():
    from damaged_cifs import run

    tally = run(120, seed=0, programs=("own", "COD", "ICSD"))
    assert tally.bad == []
    counts = tally.counts
    assert counts["refused"] > 30
    assert counts["equal"] > 30
    assert counts["different with a note"] > 0


def test_the_judge_knows_what_can_be_seen():
    from damaged_cifs import only_hidden_digits, same_crystal

    from lacbed.crystals import Crystal

    whole = Crystal.named("Mg2SiO4")
    text = whole.to_cif()
    moved = text.replace("0.1615", "0.1625")
    found = Crystal.from_cif_text(moved)
    assert same_crystal(whole, Crystal.from_cif_text(text.replace("Si3", "Si4")))
    assert not same_crystal(whole, found)
    assert only_hidden_digits(text, moved, whole, found)
    assert not only_hidden_digits(text, moved.replace("Si3 Si ", "Si3 Ge "), whole, found)
