"""What is no file, is too large or is no JSON of ours ends in one line, at once."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from lacbed.errors import FileFormatError, TrainingError
from lacbed.io.checks import DEEPEST, read_bytes, read_json, read_json_text, readable, regular_file

WHAT = "the description"


def refused(path, match, limit=1000):
    with pytest.raises(FileFormatError, match=match) as caught:
        read_json(path, WHAT, limit, FileFormatError)
    assert "\n" not in str(caught.value)
    assert path.name[:20] in str(caught.value)


def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path):
    refused(tmp_path / "none", "no such file")
    refused(tmp_path, "it is a folder")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "named pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    refused(tmp_path / "link", "named pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    refused(tmp_path / "endless", "it is a device")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "cannot read the description")
    refused(tmp_path / ("a" * 300), "cannot read the description")
    with pytest.raises(FileFormatError, match="null"):
        regular_file(tmp_path / "a\0b", WHAT, 10, FileFormatError)


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        refused(tmp_path / "s", "it is a socket")


def test_size_is_checked_before_reading(tmp_path):
    with (tmp_path / "large").open("wb") as stream:
        stream.truncate(8 * 10**9)
    refused(tmp_path / "large", "it has 8 GB, more than the 1 kB that are read")
    (tmp_path / "fits").write_bytes(b"x" * 1000)
    assert regular_file(tmp_path / "fits", WHAT, 1000, FileFormatError) == 1000
    assert len(read_bytes(tmp_path / "fits", WHAT, 1000, FileFormatError)) == 1000
    refused(tmp_path / "fits", "999 bytes", limit=999)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs a file that does not tell its size")
def test_a_file_that_does_not_tell_its_size_is_read_to_the_limit_only():
    with pytest.raises(FileFormatError, match="more than the limit of 20 bytes"):
        read_bytes(Path("/proc/self/maps"), WHAT, 20, FileFormatError)


@pytest.mark.parametrize(("size", "text"), [(512, "512 bytes"), (39_000, "39 kB"), (4.6e9, "4.6 GB")])
def test_sizes_as_people_say_them(size, text):
    assert readable(size) == text


def nested(depth, opening="[", closing="]"):
    return '{"a": ' + opening * depth + "1" + closing * depth + "}"


BAD_TEXTS = {
    "nothing": ("", "not JSON"),
    "cut short": ('{"a": 1', "not JSON .*line 1, column 8"),
    "two": ("{} {}", "not JSON"),
    "list": ("[1]", "expected an object of names and values, got a list"),
    "null": ("null", "got null"),
    "number": ("3", "got a number"),
    "text": ('"a"', "got a text"),
    "deep": (nested(DEEPEST), "nested more than"),
    "very deep": (nested(100_000), "nested more than"),
    "deep objects": (nested(50_000, '{"a": ', "}"), "nested more than"),
    "NaN": ('{"a": {"b": [1, NaN]}}', "'a.b' is nan, not a finite number"),
    "Infinity": ('{"a": -Infinity}', "'a' is -inf"),
    "infinite by its exponent": ('{"a": 1e999}', "'a' is inf"),
    "5000 digits": ('{"a": ' + "9" * 5000 + "}", "more than 300 digits"),
    "400 digits": ('{"a": [-' + "9" * 400 + "]}", "'a' is a whole number of more than 300 digits"),
    "one name twice": ('{"x": {"a": 1, "a": 2}}', "the name 'a' is in it twice"),
    "half a character": ('{"a": "\\ud800"}', "half a character"),
    "half a character in a name": ('{"\\udfff": 1}', "half a character"),
}


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_texts_that_are_no_json_of_ours(name, tmp_path):
    text, match = BAD_TEXTS[name]
    with pytest.raises(TrainingError, match=match):
        read_json_text(text, WHAT, TrainingError)
    (tmp_path / "a.json").write_text(text)
    refused(tmp_path / "a.json", match, 10**6)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_other_encodings(tmp_path, encoding):
    (tmp_path / "a.json").write_bytes('{"Å": 1}'.encode(encoding))
    refused(tmp_path / "a.json", "UTF-8|not JSON")


def test_the_mark_that_windows_puts_first_is_passed_over(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": "\xc3\x85"}')
    assert read_json(tmp_path / "a.json", WHAT, 100, FileFormatError) == {"a": "Å"}


def test_what_is_json_comes_back(tmp_path):
    values = {"a": [1, 2.5, -3, True, None, "ü😀"], "b": {"c": {}}, "d": 2**127}
    (tmp_path / "a.json").write_text(json.dumps(values))
    assert read_json(tmp_path / "a.json", WHAT, 1000, FileFormatError) == values
    text = json.dumps({"a": float("nan"), "b": float("-inf")})
    found = read_json_text(text, WHAT, FileFormatError, non_finite=True)
    assert np.isnan(found["a"])
    assert found["b"] == -np.inf
    assert read_json_text(nested(DEEPEST - 1), WHAT, FileFormatError)
