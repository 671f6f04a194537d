"""The order of the frames in the scan."""

from __future__ import annotations

import numpy as np
import pytest
from extract_series import SCOPE
from frame_series import Series

import lacbed
from lacbed.experiment.extract.scan import guess_shape, order_frames


def test_the_missing_and_the_doubled_frame_are_found(series: Series, found: lacbed.Extraction) -> None:
    row, place = divmod(SCOPE.dropped[0], SCOPE.tilts)
    column = SCOPE.tilts - 1 - place if row % 2 else place
    assert np.argwhere(~found.look.scan.known).tolist() == [[row, column]]
    assert found.look.scan.serpentine
    assert any("repeat the one before" in note for note in found.experiment.notes)


def test_the_shape_of_a_scan_must_fit() -> None:
    assert guess_shape(4096, None) == (64, 64)
    assert guess_shape(4090, None) == (64, 64)
    with pytest.raises(lacbed.LacbedError, match="not a square scan"):
        guess_shape(4500, None)
    with pytest.raises(
        lacbed.LacbedError, match="a scan of 60x60 tilts has 3600 frames, and there are 4096: 496 more"
    ):
        guess_shape(4096, (60, 60))


@pytest.mark.parametrize("serpentine", [True, False])
def test_frames_are_put_in_order(serpentine: bool) -> None:
    rng = np.random.default_rng(1)
    v, u = np.meshgrid(np.linspace(0, 3, 12), np.linspace(0, 3, 15), indexing="ij")
    pictures = np.stack([np.sin(a * u + b * v) for a, b in rng.normal(size=(9, 2))], axis=-1)
    ordered = pictures.copy()
    if serpentine:
        ordered[1::2] = ordered[1::2, ::-1]
    flat = np.delete(ordered.reshape(-1, 9), [40, 97], axis=0).astype(np.float32)
    scan = order_frames(flat, (12, 15))
    assert scan.serpentine is serpentine
    expected = np.zeros((12, 15), dtype=bool)
    expected.ravel()[[40, 97]] = True
    if serpentine:
        expected[1::2] = expected[1::2, ::-1]
    assert np.array_equal(~scan.known, expected)
    np.testing.assert_allclose(scan.on_grid(flat)[scan.known], pictures[scan.known], atol=1e-6)
