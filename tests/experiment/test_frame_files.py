"""Series of frames from files of every kind: what was written comes back, or one line says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frame_files import merlin, mrc, write_frames

import lacbed
from lacbed.experiment.extract.frames import Careful

FRAMES = np.random.default_rng(2).poisson(9.0, (6, 5, 24, 24)).astype(np.uint8)
LIST = FRAMES.reshape(-1, 24, 24)
WITH_SCAN = (".npy", ".h5", ".zarr", ".blo", ".hspy", ".zspy")
WITHOUT = (".tif", ".mib", ".mrc", "")


@pytest.mark.parametrize("ending", [*WITH_SCAN, *WITHOUT])
def test_frames_are_read_lazily_from_every_format(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("rsciio" if ending in (".mib", ".mrc") else "dask")
    for name, frames, scan in (("scan", FRAMES, (6, 5) if ending in WITH_SCAN else None), ("list", LIST, None)):
        opened = lacbed.open_frames(write_frames(tmp_path / f"{name}{ending}", frames))
        assert (len(opened), opened.camera, opened.scan) == (30, (24, 24), scan)
        np.testing.assert_array_equal(opened.data[3:11].compute(), LIST[3:11])
        np.testing.assert_array_equal(opened.sample(30)[0], LIST)
        (light,) = opened.map(lambda block: (block.sum(axis=(1, 2), dtype=int),))
        np.testing.assert_array_equal(light, LIST.sum(axis=(1, 2), dtype=int))


@pytest.mark.parametrize("kind", ["u1", "u2", "u4"])
@pytest.mark.parametrize("chips", [1, 4])
def test_counts_of_a_merlin_detector(kind: str, chips: int, tmp_path: Path) -> None:
    pytest.importorskip("rsciio")
    frames = LIST.astype(kind) * np.array(np.iinfo(kind).max // 255, dtype=kind)
    (tmp_path / "a.mib").write_bytes(merlin(frames, chips))
    np.testing.assert_array_equal(lacbed.open_frames(tmp_path / "a.mib").data.compute(), frames)


def test_the_rows_of_a_merlin_scan_follow_from_triggers_and_never_from_late_frames(tmp_path: Path) -> None:
    pytest.importorskip("rsciio")
    path = tmp_path / "a.mib"
    path.write_bytes(merlin(LIST)[:-7])  # stopped within the last frame
    stopped = lacbed.open_frames(path)
    assert (len(stopped), stopped.scan) == (29, None)
    path.write_bytes(merlin(LIST))
    for per_row, scan in ((1, None), (5, (6, 5))):
        lines = ["HDR,", f"Frames in Acquisition (Number):\t{len(LIST)}"]
        lines += [f"Frames per Trigger (Number):\t{per_row}", "End\t"]
        (tmp_path / "a.hdr").write_text("\n".join(lines))
        opened = lacbed.open_frames(path)
        assert opened.scan == scan
        np.testing.assert_array_equal(opened.data.compute(), LIST)


@pytest.mark.parametrize("kind", ["u1", "i2", "u2", "f4"])
def test_counts_in_an_mrc_file(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("rsciio")
    (tmp_path / "a.mrc").write_bytes(mrc(LIST.astype(kind)))
    opened = lacbed.open_frames(tmp_path / "a.mrc")
    assert opened.data.dtype == np.dtype(kind)
    np.testing.assert_array_equal(opened.data.compute(), LIST.astype(kind))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mib", b"MQ1,000001,00384,01,0024,0024,R64,   1x1,01," + bytes(4000), "R64 values.*processed frames"),
        ("a.mib", bytes(5000), "does not begin like a file of a Merlin detector"),
        ("a.mrc", mrc(LIST)[:-2000], "a part is damaged or missing"),
        ("a.hspy", b"\x89HDF\r\n\x1a\n", "cut short|damaged"),
    ],
)
def test_damaged_files_of_microscopes_get_one_line(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    pytest.importorskip("rsciio")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(lacbed.LacbedError, match=message) as caught:
        lacbed.open_frames(tmp_path / name).sample(3)
    assert "\n" not in str(caught.value)


def test_a_blockfile_that_is_cut_short_gets_one_line(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.blo", FRAMES)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(lacbed.LacbedError, match="a part is damaged or missing"):
        lacbed.open_frames(path).sample(3)


def test_a_damaged_block_is_read_frame_by_frame() -> None:
    class Damaged:
        shape, dtype, ndim = (9, 16, 16), np.dtype("u2"), 3

        def __getitem__(self, key: Any) -> np.ndarray:
            start, stop, _ = key[0].indices(9)
            if start <= 4 < stop:
                raise OSError("checksum")
            return np.ones((stop - start, 16, 16), dtype="u2")

    block = Careful(Damaged())[slice(0, 9), slice(None), slice(None)]
    assert block.sum(axis=(1, 2)).tolist() == [256] * 4 + [0] + [256] * 4


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-100]), "cut short"),
        (lambda p: p.write_bytes(b"nothing"), "no NumPy array"),
        (lambda p: np.save(p, np.zeros((4, 4))), "a series of frames is an array"),
        (lambda p: np.save(p, np.array([{}] * 3, dtype=object)), "pickled Python objects"),
        (lambda p: np.save(p, np.zeros((9, 4, 4))), "too few for discs"),
    ],
)
def test_files_that_are_no_series_get_one_line(damage: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "series.npy"
    np.save(path, np.zeros((20, 32, 32), dtype=np.uint16))
    damage(path)
    with pytest.raises(lacbed.LacbedError, match=message):
        lacbed.open_frames(path)
    with pytest.raises(lacbed.LacbedError, match="no such file"):
        lacbed.open_frames(tmp_path / "none.npy")


def test_frames_of_another_size_are_named(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "folder", np.zeros((5, 20, 20), dtype=np.uint16))
    np.save(folder / "frame_3.npy", np.zeros((20, 21), dtype=np.uint16))
    with pytest.raises(lacbed.LacbedError, match=r"'frame_3.npy' 20x21"):
        lacbed.open_frames(folder)
