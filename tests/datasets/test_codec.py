"""Sixteen bits keep what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lacbed.datasets.compute import (
    INTENSITY_BOUND,
    decode_intensity,
    decode_potential,
    encode_intensity,
    encode_potential,
)
from lacbed.errors import SettingError

FLOAT32_STEP = 2.0**-24


@given(hnp.arrays(np.float64, 20, elements=st.floats(0.0, 1.0)))
def test_intensities(values):
    error = np.abs(decode_intensity(encode_intensity(values)) - values)
    assert error.max() <= INTENSITY_BOUND + FLOAT32_STEP


@given(hnp.arrays(np.float64, 20, elements=st.floats(-100.0, 1e4)))
def test_potentials(values):
    codes, offset, scale = encode_potential(values)
    assert codes.dtype == np.uint16
    error = np.abs(decode_potential(codes, offset, scale) - values)
    assert error.max() <= 0.5 * scale + 1e-7 * np.abs(values).max() + 1e-12


def test_rounding_outside_is_forgiven_and_nothing_more():
    assert encode_intensity(np.array([-1e-9, 1.0 + 1e-9])).tolist() == [0, 65535]
    for bad in (-0.01, 1.01, np.nan, np.inf):
        with pytest.raises(SettingError, match="between 0 and 1"):
            encode_intensity(np.array([0.5, bad]))
    with pytest.raises(SettingError, match="finite"):
        encode_potential(np.array([0.5, np.nan]))
