"""Camera frames on the page: what is refused in one line; in a browser from the frames to the fit."""

import io
import zipfile

import numpy as np
import pytest
from app_helpers import gaas_frames
from browser_helpers import wait_for_rest
from dm_files import write_dm
from test_readers import write

from lacbed.app import frame_files
from lacbed.app.frame_files import parse_frames
from lacbed.app.frames import command, extract, parse_extraction
from lacbed.app.request import parse_view
from lacbed.errors import LacbedError

VIEW = parse_view({"name": "GaAs", "zone_axis": [1, 1, 0]})


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def zipped(members, how=zipfile.ZIP_STORED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def broken(content):
    """The same with other bytes in what the first member holds."""
    return content[:40] + b"\xff" * 8 + content[48:]


def run(ending, content, budget=2**31, vacuum=(), name_of_vacuum="", **asked):
    """An extraction as the worker does it, with the ending and content of a vacuum scan if there is one."""
    sent = []
    given = [(ending, content), *([vacuum] if vacuum else [])]
    listed = [{"ending": e, "size": len(c)} for e, c in given]
    files = parse_frames(listed, b"".join(c for _, c in given))
    asked = parse_extraction({"name": "mine", "vacuum": name_of_vacuum, **asked})
    extract(VIEW, asked, files, lambda *message: sent.append(message), budget)
    return sent


EMPTY = np.zeros((64, 32, 32), np.uint16)


@pytest.mark.parametrize(
    ("ending", "content", "words"),
    [
        (".npy", npy(EMPTY), "all frames of the sample are empty"),
        (".npy", npy(np.ones((70, 32, 32))), "under Scan, such as 60 x 80"),
        (".npy", npy(np.ones((9, 32))), "a series of frames is an array"),
        (".npy", npy(EMPTY)[:-99], "cut short"),
        (".npy", b"\x93NUMPY", "mine"),
        (".npy", npy(np.array([{}])), "never loaded"),
        (".tif", b"II*\0", "mine"),
        (".h5", b"\x89HDF", "mine"),
        (".zip", b"PK", "zip file is damaged"),
        (".zip", zipped({"../a.zarr/zarr.json": b"{}"}), "lead out of it"),
        (".zip", zipped({"a.txt": b"x"}), "without a Zarr store"),
        (".zip", broken(zipped({"a.zarr/c": b"x" * 9000}, zipfile.ZIP_DEFLATED)), "zip file is damaged"),
    ],
)
def test_what_is_no_series_is_refused_in_one_line(ending, content, words):
    with pytest.raises(LacbedError, match=words) as caught:
        run(ending, content)
    assert "\n" not in str(caught.value)
    assert "lacbed-" not in str(caught.value)  # the folder of the copy
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    ("ending", "content", "words"),
    [
        (".npy", npy(EMPTY)[:-99], "^vacuum scan: cannot read empty: .* cut short"),
        (".npy", npy(np.array([{}])), "^vacuum scan: cannot read empty: .* never loaded"),
        (".npy", npy(np.zeros((64, 256, 256), np.uint8)), "^vacuum scan: frames of 256 x 256 pixels need"),
        (".npy", npy(np.ones((64, 16, 16))), "vacuum scan have 16x16 pixels and those of the series 32x32"),
        (".npy", npy(np.ones((49, 32, 32))), "the vacuum scan has 49 frames and the series 8x8 tilts"),
        (".zip", b"PK", "^vacuum scan: the zip file is damaged"),
        (".zip", zipped({"../a.zarr/zarr.json": b"{}"}), "^vacuum scan: .* lead out of it"),
    ],
)
def test_what_is_no_vacuum_scan_is_refused_in_one_line(ending, content, words):
    with pytest.raises(LacbedError, match=words) as caught:
        run(".npy", npy(EMPTY), vacuum=(ending, content), name_of_vacuum="empty", scan=[8, 8], budget=2**26)
    assert "\n" not in str(caught.value)
    assert "lacbed-" not in str(caught.value)
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(("name", "vacuum"), [("empty", ()), (None, (".npy", npy(EMPTY)))])
def test_a_vacuum_scan_comes_with_its_name(name, vacuum):
    with pytest.raises(LacbedError, match="choose it again"):
        run(".npy", npy(EMPTY), vacuum=vacuum, name_of_vacuum=name)


def series_in(ending, tmp_path):
    """A series in a container, as its bytes; what is damaged in the middle shows when a block is read."""
    frames = np.random.default_rng(0).integers(0, 99, (16, 32, 32)).astype(np.uint16)
    path = tmp_path / f"a{ending}"
    if ending == ".h5":
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file.create_dataset("frames", data=frames, chunks=(4, 32, 32), compression="gzip")
    elif ending == ".hspy":
        write(path, frames)
    elif ending == ".dm4":
        write_dm(path, frames.astype(np.float32), 4)
    elif ending == ".tif":
        pytest.importorskip("tifffile").imwrite(path, frames, photometric="minisblack", compression="zlib")
    else:
        zarr = pytest.importorskip("zarr")
        zarr.create_array(tmp_path / "z.zarr", data=frames, chunks=(4, 32, 32))
        return zipped({f"z.zarr/{p.relative_to(tmp_path / 'z.zarr')}": p.read_bytes() for p in files_in(tmp_path)})
    return path.read_bytes()


def files_in(folder):
    return [p for p in folder.rglob("*") if p.is_file()]


@pytest.mark.parametrize("ending", [".npy", ".h5", ".hspy", ".dm4", ".tif", ".zip"])
def test_damage_in_the_middle_is_one_line_or_empty_frames(ending, tmp_path, monkeypatch):
    pytest.importorskip("rsciio")
    monkeypatch.setattr("lacbed.experiment.extract.pipeline.extract", read_all)
    whole = npy(np.arange(16384, dtype=np.uint16).reshape(16, 32, 32)) if ending == ".npy" else None
    content = whole or series_in(ending, tmp_path)
    with pytest.raises(ReadError, match="16 frames"):
        run(ending, content)
    rng = np.random.default_rng(1)
    for turn in range(12):
        damaged = bytearray(content)
        for place in rng.integers(len(content) // 4, 3 * len(content) // 4, 8):
            damaged[place] ^= 0xFF
        with pytest.raises((LacbedError, ReadError)) as caught:
            run(ending, bytes(damaged[: -len(content) // 3] if turn % 3 == 2 else damaged))
        assert "\n" not in str(caught.value)
        assert "lacbed-" not in str(caught.value)


class ReadError(Exception):
    """All frames were read, as far as they can be."""


def read_all(series, *_, **__):
    """In place of an extraction: reads as it does, a few frames first and then all."""
    series.sample(5)
    (total,) = series.map(lambda block: (np.asarray(block).sum(axis=(1, 2)),))
    raise ReadError(f"{len(total)} frames")


def test_arrays_that_lie_in_other_files_are_not_read(tmp_path):
    h5py = pytest.importorskip("h5py")
    layout = h5py.VirtualLayout((64, 32, 32), np.uint16)
    layout[:] = h5py.VirtualSource("/somewhere/else.h5", "frames", (64, 32, 32))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_virtual_dataset("frames", layout)
    with pytest.raises(LacbedError, match="frames lies in other files"):
        run(".h5", (tmp_path / "a.h5").read_bytes())


def test_frames_that_are_too_large_are_refused_before_the_work():
    with pytest.raises(LacbedError, match="bin the frames"):
        run(".npy", npy(np.zeros((4, 512, 512), np.uint8)), budget=2**20)


def test_a_zip_is_not_unpacked_beyond_bounds(monkeypatch):
    monkeypatch.setattr(frame_files, "MOST_UNPACKED", 1000)
    with pytest.raises(LacbedError, match="unpacks to more"):
        run(".zip", zipped({"a.zarr/c/0": bytes(1001)}))


@pytest.mark.parametrize("folder", ["", "series.zarr/"])
def test_a_zipped_zarr_folder_is_read(tmp_path, folder):
    zarr = pytest.importorskip("zarr")
    zarr.save_array(str(tmp_path / "s.zarr"), EMPTY)
    members = {
        folder + str(path.relative_to(tmp_path / "s.zarr")): path.read_bytes()
        for path in (tmp_path / "s.zarr").rglob("*")
        if path.is_file()
    }
    with pytest.raises(LacbedError, match="all frames of the sample are empty"):  # which is seen by reading them
        run(".zip", zipped(members))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"scan": [3]}, "rows x columns of tilts"),
        ({"order": "backwards"}, "the order of the scan"),
        ({"gain": 0}, "the counts per electron"),
        ({"spots": [[1, 2, 3]]}, "a spot is X,Y=H,K,L"),
        ({"spots": [[1, 2, 1, 1, 0.5]]}, "a spot is X,Y=H,K,L"),
        ({"spots": [[1, 2, 1, 1, 0]]}, "name two spots"),
        ([], "must be a JSON object"),
    ],
)
def test_what_cannot_be_asked_is_one_line(asked, words):
    with pytest.raises(LacbedError, match=words):
        parse_extraction(asked)


@pytest.mark.parametrize(
    ("listed", "payload"),
    [
        (None, b""),
        ([], b""),
        ([{"ending": ".pkl", "size": 1}], b"x"),
        ([{"ending": ".npy", "size": 2}], b"x"),
        ([{"ending": ".npy", "size": 1}, {"ending": ".exe", "size": 1}], b"xx"),
        ([{"ending": ".npy", "size": 1}, {"ending": ".npy", "size": 0}], b"x"),
        ([{"ending": ".npy", "size": 1}] * 3, b"xxx"),
    ],
)
def test_other_files_are_refused(listed, payload):
    with pytest.raises(LacbedError, match=r"series of frames|incomplete"):
        parse_frames(listed, payload)


def test_the_command_says_what_was_asked_for():
    spots = [[71.5, 40, 2, 0, 0], [52, 61, 0, 2, 0]]
    asked = parse_extraction(
        {"name": "my series.npy", "scan": [6, 8], "gain": 4, "spots": spots, "vacuum": "no sample.npy"}
    )
    said = command(VIEW, asked)
    assert said.startswith(
        "lacbed experiment extract 'my series.npy' GaAs -V 200 --zone 1,1,0 --scan 6x8 --gain 4 "
        "--vacuum 'no sample.npy' --spot"
    )
    assert said.endswith("--spot 71.5,40=2,0,0 --spot 52,61=0,2,0 -o my_series.nc")


@pytest.mark.browser
def test_frames_become_a_stack_that_is_fitted(open_page, tmp_path):
    np.save(tmp_path / "mine.npy", gaas_frames())
    page = open_page("#crystal=GaAs&g=1&n=16&t=600&tmax=600")
    page.click("#tab-fit")
    wait_for_rest(page)
    assert "up to 62 MB" in page.inner_text("#measured-note")
    page.set_input_files("#measured", tmp_path / "mine.npy")
    page.wait_for_selector("#frames:not([hidden])")
    assert page.inner_text("#title") == "mine.npy"
    assert "GaAs" in page.inner_text("#frames-what")
    page.fill("#frames-zone", "1 1")
    page.click("#frames-begin")
    page.wait_for_selector("#error:not([hidden])")
    assert page.inner_text("#error") == "Zone axis: three whole numbers such as 1 1 0 are needed."
    page.fill("#frames-zone", "1 1 0")
    page.click("#frames-begin")
    page.wait_for_selector("#frames-result:not([hidden])")  # the mean frame is there before the indices are
    page.wait_for_selector("#fit-pairs figure")
    assert page.inner_text("#title") == "mine [110]"
    assert "14 × 14 tilts, to and fro. GaAs [110], 200 kV: 19 reflections" in page.inner_text("#frames-facts")
    assert "0 0 0, 1 -1 1" in page.get_attribute("#frames-mean", "aria-label")
    with page.expect_download() as waiting:
        page.click("#frames-stack")
    assert waiting.value.suggested_filename == "mine.nc"
    assert page.is_enabled("#frames-report")
    page.wait_for_function("() => document.getElementById('cancel').hidden === false")
    page.click("#cancel")
    wait_for_rest(page)
    assert page.locator("#fit-pairs figure").count() == 19


@pytest.mark.browser
def test_a_vacuum_scan_goes_with_the_frames(open_page, tmp_path):
    frames, vacuum = gaas_frames(), gaas_frames(is_vacuum=True)
    for name, content in {"mine": frames, "small": vacuum[..., :32], "vacuum": vacuum}.items():
        np.save(tmp_path / f"{name}.npy", content)
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"x")
    page = open_page("#crystal=GaAs&g=1&n=16&t=600&tmax=600")
    page.click("#tab-fit")
    wait_for_rest(page)
    page.set_input_files("#measured", tmp_path / "mine.npy")
    field = page.get_by_label("Vacuum scan (optional)")
    held = "() => [...document.getElementById('frames-vacuum').files].map((file) => file.name).join()"
    for name, words in [("empty.npy", "empty.npy is empty"), ("notes.txt", "notes.txt is no series of frames")]:
        field.set_input_files(tmp_path / name)
        assert page.inner_text("#error").startswith(words)
        assert page.evaluate(held) == ""
    assert page.is_hidden("#frames-vacuum-remove")
    field.set_input_files(tmp_path / "small.npy")
    assert page.is_hidden("#error")
    page.click("#frames-begin")
    page.locator("#error", has_text="vacuum scan have 64x32 pixels and those of the series 64x64").wait_for()
    field.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Remove
    assert page.evaluate(held) == ""
    assert page.evaluate("() => document.activeElement.id") == "frames-vacuum"
    field.set_input_files(tmp_path / "vacuum.npy")
    page.fill("#frames-zone", "1 1 0")
    page.click("#frames-begin")
    page.wait_for_selector("#frames-result:not([hidden])")
    assert "that of the vacuum scan 'vacuum.npy'" in page.inner_text("#frames-notes")
    page.click("#cancel")
