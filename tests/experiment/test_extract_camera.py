"""What the first look at the camera shows: descan and drift, a beam stop, gain and noise, or no lattice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from extract_series import SCOPE, make, off_track
from frame_series import Series
from scipy.ndimage import binary_dilation

import lacbed
from lacbed.experiment.extract.look import look_at
from lacbed.experiment.extract.pipeline import sum_stack


def test_descan_and_drift_are_followed(series: Series, found: lacbed.Extraction) -> None:
    assert off_track(found.look, series) < 0.15


@pytest.mark.parametrize("waves", [(0.0, 0.0), (1.6, 1.2)])
@pytest.mark.parametrize("stop", [False, True])
def test_a_beam_stop_is_found_and_no_gap_between_discs_taken_for_one(
    stop: bool, waves: tuple[float, float]
) -> None:
    frames = make(replace(SCOPE, stop=stop, descan_waves=waves)).frames
    blind = look_at(lacbed.open_frames(frames), lacbed.ExtractSettings(scan=(18, 18))).camera.blind
    covered = np.zeros(blind.shape, dtype=bool)
    if stop:
        middle = SCOPE.camera // 2
        covered[middle - 5 : middle + 6, : middle + 5] = True
        assert (blind & covered)[:, 12:].sum() > 0.9 * covered[:, 12:].sum()  # further out is no light
    assert not (blind & ~binary_dilation(covered, iterations=2)).any()


def test_the_noise_shows_the_gain(series: Series, found: lacbed.Extraction) -> None:
    noise = sum_stack(lacbed.open_frames(series.frames), found.look, lacbed.ExtractSettings()).noise
    assert noise.gain == pytest.approx(SCOPE.gain, abs=max(4 * noise.error, 0.4))
    assert noise.floor == pytest.approx(SCOPE.readout**2 - SCOPE.gain * SCOPE.pedestal, abs=12)


def test_a_series_without_a_lattice_says_so() -> None:
    frames = np.random.default_rng(0).poisson(5.0, (81, 32, 32)).astype(np.uint16)
    with pytest.raises(lacbed.LacbedError, match="lattice of discs"):
        look_at(lacbed.open_frames(frames), lacbed.ExtractSettings())
    with pytest.raises(lacbed.LacbedError, match="all frames of the sample are empty"):
        look_at(lacbed.open_frames(frames * 0), lacbed.ExtractSettings())
