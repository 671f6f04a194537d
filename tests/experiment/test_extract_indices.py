"""Indices of the discs: found without help, decided by named spots, refused for another crystal."""

from __future__ import annotations

import numpy as np
import pytest
from extract_series import GAAS, sites_of
from frame_series import Series

import lacbed
from lacbed.experiment.extract.indices import candidates, from_spots
from lacbed.experiment.extract.pipeline import kept_images
from lacbed.geometry.frame import make_frame


def test_indices_and_handedness_are_found_without_help(series: Series, found: lacbed.Extraction) -> None:
    o, lattice = found.orientation, found.look.lattice
    truth = sites_of(series, lattice.basis)
    rows = kept_images(found.stack, lattice.sites, o.origin)
    sites = [s for s in (tuple((lattice.sites[r] - o.origin).tolist()) for r in rows) if s in truth]
    assert len(sites) > 8
    assert o.choice is not None
    assert o.choice.decided
    assert len(o.choice.equivalent) == 2  # the mirror of the zone; the two polar directions are not equal
    right = [
        all(tuple(w.of(np.array([s]))[0]) == tuple(series.hkl[truth[s]]) for s in sites)
        for w in o.choice.equivalent
    ]
    assert sum(right) == 1


def test_two_named_spots_decide_the_indices(series: Series, found: lacbed.Extraction) -> None:
    look, o = found.look, found.orientation
    assert o.choice is not None
    other = next(w for w in o.choice.equivalent if w is not o.indexing)
    spots = []
    for site in ((1, 0), (0, 1)):
        y, x = look.middle + (o.origin + np.array(site)) @ look.lattice.basis
        h, k, l = other.of(np.array([site]))[0].tolist()  # noqa: E741
        spots.append(((x, y), (h, k, l)))
    beam = look.middle + o.origin @ look.lattice.basis
    ways = candidates(GAAS, make_frame(GAAS, (1, 1, 0)), look.lattice.basis, o.tilts.steps)
    (left,) = from_spots(ways, look.lattice.basis, beam, spots)
    assert np.array_equal(left.hkl, other.hkl)
    wrong = [(spots[0][0], (0, 0, 2)), (spots[1][0], (2, -2, 0))]
    with pytest.raises(lacbed.LacbedError, match="no indexing of the lattice gives the named spots"):
        from_spots(ways, look.lattice.basis, beam, wrong)
    with pytest.raises(lacbed.LacbedError, match="is the direct beam"):
        from_spots(ways, look.lattice.basis, beam, [((beam[1], beam[0]), (1, -1, 1)), spots[1]])


def test_another_crystal_is_refused(series: Series, found: lacbed.Extraction) -> None:
    crystal = lacbed.Crystal.named("SrTiO3")
    with pytest.raises(lacbed.LacbedError, match="is not that of SrTiO3"):
        candidates(
            crystal, make_frame(crystal, (0, 0, 1)), found.look.lattice.basis, found.orientation.tilts.steps
        )
