"""A refinement whose truth is known, done once for all files of tests."""

from dataclasses import replace

import pytest
from gaas_stack import FAST, Finished, measured

from lacbed.refinement.options import Progress, RefinementOptions
from lacbed.refinement.refine import refine


@pytest.fixture(scope="session")
def finished() -> Finished:
    crystal, data, thickness = measured(1e3, shift=0.004)
    sites = tuple(replace(s, u_iso=1.2 * s.u_iso) for s in crystal.sites)
    first = replace(crystal, sites=sites)
    options = RefinementOptions(
        ("thickness", "half_width", "tilt", "B"),
        (560.0, 600.0, 660.0, 700.0),
        align="none",
        weights="poisson",
        common_scale=True,
        **FAST,
    )
    saved: list[Progress] = []
    wrong = replace(data, half_width=0.331)
    result = refine(wrong, first, options, on_checkpoint=saved.append)
    return Finished(crystal, first, wrong, thickness, options, saved, result)
