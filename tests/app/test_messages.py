"""Messages survive their way, and what is none is noticed."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lacbed.app.limits import LENGTHS_SIZE, pack, read_message, unpack, unpack_lengths
from lacbed.errors import FileFormatError

headers = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.floats(-1e9, 1e9))


@given(st.lists(st.tuples(headers, st.binary(max_size=64)), max_size=4))
def test_there_and_back(messages):
    data = b"".join(pack(*message) for message in messages)
    assert unpack(data) == messages
    stream = io.BytesIO(data)
    assert [read_message(stream) for _ in messages] == messages
    assert read_message(stream) is None


def test_nan_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        pack({"value": float("nan")})


def test_impossible_lengths_are_refused():
    assert unpack_lengths(struct.pack("<II", 7, 9)) == (7, 9)
    assert LENGTHS_SIZE == 8
    for lengths in ((2**31, 0), (2, 2**32 - 1)):
        with pytest.raises(FileFormatError, match="damaged"):
            unpack_lengths(struct.pack("<II", *lengths))
