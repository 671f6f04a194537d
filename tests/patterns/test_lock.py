"""One writer in one place, found to be writable before any work, and nothing of the lock left behind."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lacbed.errors import FileFormatError
from lacbed.io import atomic, lock
from lacbed.io.lock import claimed, is_empty, locked
from lacbed.patterns.files import check_writable

HOLD = """
import sys, time
from pathlib import Path
from lacbed.io.lock import claimed
with claimed(Path(sys.argv[1]), "fit", inside=sys.argv[2] == "True"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("inside", [True, False])
def test_nothing_is_left_where_nothing_was_written(tmp_path, inside):
    with claimed(tmp_path / "out", "fit", inside=inside):
        assert (tmp_path / "out").exists() == inside
    assert list(tmp_path.iterdir()) == []


def test_results_stay_and_the_lock_goes(tmp_path):
    with claimed(tmp_path / "out", "fit", inside=True):
        (tmp_path / "out" / "state.json").write_text("{}")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["state.json"]


@pytest.mark.parametrize("inside", [True, False])
def test_two_at_once_and_one_after_a_kill(tmp_path, inside):
    out = tmp_path / "out"
    words = [sys.executable, "-c", HOLD, str(out), str(inside)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(FileFormatError, match=f"another fit is writing to .*process {other.pid} on "),
            claimed(out, "fit", inside=inside),
        ):
            pytest.fail("two at once")
        other.send_signal(signal.SIGKILL)
        other.wait()
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left) == 2  # the lock and its owner, which are nobody's now
    assert is_empty(out)
    with claimed(out, "fit", inside=inside):
        pass
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_owner_that_cannot_be_read_is_unknown(tmp_path):
    for content in (b"\xff", b"[" * 100_000, b'{"process": "x"}', b"null"):
        with locked(tmp_path):
            (tmp_path / lock.OWNER).write_bytes(content)
            with pytest.raises(FileFormatError, match="an unknown process"), locked(tmp_path):
                pass


def test_places_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("content")
    for place in ("file", "file/below"):
        with pytest.raises(FileFormatError, match="cannot"), claimed(tmp_path / place, "fit", inside=True):
            pytest.fail("claimed a file")
    assert (tmp_path / "file").read_text() == "content"

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", refuse)
    for inside in (True, False):
        with (
            pytest.raises(FileFormatError, match=r"out'?: No space left on device"),
            claimed(tmp_path / "out", "fit", inside=inside),
        ):
            pytest.fail("claimed a full disk")


def test_errors_of_the_work_itself_pass(tmp_path):
    with pytest.raises(OSError, match="mine"), claimed(tmp_path / "out", "fit", inside=True):
        raise OSError("mine")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="a file without a name is a thing of Linux")
def test_the_place_is_tried_by_a_file_without_a_name(tmp_path, monkeypatch):
    """So that nothing is left when a signal comes in between."""
    seen = []
    real = atomic.tempfile.TemporaryFile

    def looking(**named: object) -> object:
        file = real(**named)
        seen.append(list(tmp_path.iterdir()))
        return file

    monkeypatch.setattr(atomic.tempfile, "TemporaryFile", looking)
    check_writable(tmp_path / "p.nc")
    assert seen == [[]]
    assert list(tmp_path.iterdir()) == []
