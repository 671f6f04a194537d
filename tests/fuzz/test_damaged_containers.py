"""A seeded part of the fuzzer of patterns and data sets; the whole of it runs as a program."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.mark.skipif(os.name != "posix", reason="the time limit needs signals")
def test_damage_is_refused_or_harmless():
    pytest.importorskip("rsciio")
    from damaged_containers import run

    tally = run(60, seed=0)
    assert tally.bad == []
    assert tally.counts["refused"] > 30
    assert sum(tally.counts.values()) == 60
