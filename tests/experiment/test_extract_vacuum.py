"""The vacuum scan shows the descan error; what is no vacuum scan is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from extract_series import SCOPE, make, off_track
from frame_series import Series, make_vacuum

import lacbed
from lacbed.experiment.extract.camera import study_camera
from lacbed.experiment.extract.look import look_at
from lacbed.experiment.extract.scan import order_frames
from lacbed.experiment.extract.vacuum import beam_places, check_beam


def test_a_vacuum_scan_shows_a_descan_error_of_any_shape(series: Series) -> None:
    wavy = replace(SCOPE, descan_waves=(0.8, -0.6), dropped=(), doubled=())
    other = make(wavy)
    vacuum = lacbed.open_frames(make_vacuum(replace(wavy, drift=(-0.7, 0.4), seed=5)))
    settings = lacbed.ExtractSettings(scan=series.scan, gain=SCOPE.gain)
    without = look_at(lacbed.open_frames(other.frames), settings)
    known = look_at(lacbed.open_frames(other.frames), replace(settings, vacuum=vacuum))
    assert off_track(known, other) < 0.05
    assert off_track(without, other) > 0.3  # no cubic
    assert any("descan error is that of the vacuum scan" in note for note in known.notes)


def test_a_vacuum_scan_changes_nothing_but_noise_where_the_series_shows_its_descan_error(series: Series) -> None:
    vacuum = lacbed.open_frames(make_vacuum(replace(SCOPE, dropped=(7, 200), seed=5)))
    settings = lacbed.ExtractSettings(scan=series.scan, gain=SCOPE.gain, vacuum=vacuum)
    assert off_track(look_at(lacbed.open_frames(series.frames), settings), series) < 0.08


def test_blank_frames_of_a_vacuum_scan_are_filled_in_from_their_row() -> None:
    scope = replace(SCOPE, dropped=(), doubled=())
    frames = make_vacuum(scope)
    camera, scan = study_camera(frames[::5]), order_frames(np.zeros((324, 4), np.float32), (18, 18), True, None)
    whole, _ = beam_places(lacbed.open_frames(frames), camera, scan)
    lost = frames.copy()
    lost[[100, 101, 102, 180]] = 0  # the last of them begins a row
    places, notes = beam_places(lacbed.open_frames(lost), camera, scan)
    assert notes == ()
    assert np.abs(places - whole).max() < 0.5  # a step of the descan error is up to 0.4 pixels
    assert np.sum(np.abs(places - whole).max(axis=-1) > 1e-9) <= 4


def test_a_vacuum_scan_whose_beam_leaves_the_camera_is_refused() -> None:
    frames = np.roll(make_vacuum(SCOPE), -SCOPE.camera // 2, axis=2)
    with pytest.raises(lacbed.LacbedError, match="do not show one whole, bright disc"):
        check_beam(frames[::5], study_camera(frames[::5]))


def test_the_series_itself_is_no_vacuum_scan(series: Series) -> None:
    frames = lacbed.open_frames(series.frames)
    with pytest.raises(lacbed.LacbedError, match="do not show one whole, bright disc"):
        look_at(frames, lacbed.ExtractSettings(scan=series.scan, vacuum=frames))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[:, :-4], "have 68x72 pixels and those of the series 72x72"),
        (lambda v: v[:-40], "has 284 frames and the series 18x18 tilts"),
        (lambda v: v.reshape(12, 27, 72, 72), "has 12x27 tilts and the series 18x18"),
        (
            lambda v: np.random.default_rng(0).poisson(9.0, v.shape).astype("u2"),
            "do not show one whole, bright disc",
        ),
        (lambda v: v * 0, "200 of 200 frames of the vacuum scan do not show one whole, bright disc"),
        (lambda v: v[::-1], "the vacuum scan belongs to the series"),
    ],
)
def test_a_vacuum_scan_that_is_none_gets_one_line(series: Series, change: Any, message: str) -> None:
    vacuum = make_vacuum(replace(SCOPE, dropped=(), doubled=(), descan=(9.0, -8.0), drift=(0.0, 0.0)))
    settings = lacbed.ExtractSettings(scan=series.scan, vacuum=lacbed.open_frames(change(vacuum)))
    with pytest.raises(lacbed.LacbedError, match=message) as caught:
        look_at(lacbed.open_frames(series.frames), settings)
    assert "\n" not in str(caught.value)
    with pytest.raises(lacbed.LacbedError, match="must be a series of frames"):
        lacbed.ExtractSettings(vacuum="vacuum.npy")  # type: ignore[arg-type]
