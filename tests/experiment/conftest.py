"""A series of frames and what is extracted from it, made once for all files of tests."""

from __future__ import annotations

import pytest
from extract_series import GAAS, SCOPE, make
from frame_series import Series

import lacbed


@pytest.fixture(scope="session")
def series() -> Series:
    """Camera mirrored and turned, scan turned, one frame lost, one twice."""
    return make(SCOPE)


@pytest.fixture(scope="session")
def found(series: Series) -> lacbed.Extraction:
    settings = lacbed.ExtractSettings(scan=series.scan, gain=SCOPE.gain)
    return lacbed.extract(lacbed.open_frames(series.frames), GAAS, (1, 1, 0), 200e3, settings)
