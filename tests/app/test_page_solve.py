"""A search for an unknown crystal on the page: what it sends on its way, at its end, and when it is stopped."""

import io
import json
import zipfile

import numpy as np
import pytest
from app_helpers import magnesia

import lacbed
from lacbed.app import limits, solving
from lacbed.app.solving import parse_search, solve
from lacbed.errors import FileFormatError, LacbedError
from lacbed.retrieval import search as search_room
from lacbed.retrieval import solve as solve_room

ASKED = {
    "cell": [4.211],
    "columns": [2, 2],
    "thickness": [420, 480],
    "elements": ["Mg", "O"],
    "space_group": 225,
    "seconds": 60,
    "refined": 0,
}


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Fewer draws than a search of an unknown stack needs."""
    monkeypatch.setattr(search_room, "DRAWS", 12)
    monkeypatch.setattr(search_room, "VARIED", 0)
    monkeypatch.setattr(search_room, "FOLLOWED", (2, 2))
    monkeypatch.setattr(solve_room, "RIVALS", 1)
    monkeypatch.setattr(solving, "SECONDS_APART", 0.0)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """MgO along [110], 450 Å."""
    path = lacbed.save_pattern(magnesia(), tmp_path_factory.mktemp("stack") / "mgo.npz")
    return {".npz": path.read_bytes()}


def run(stack, send=None, **changes):
    sent = []
    solve(parse_search({**ASKED, **changes}, 360), stack, send or (lambda *m: sent.append(m)), 2**31)
    return sent


def test_the_best_so_far_the_answer_and_the_files(stack):
    sent = run(stack)
    kinds = [header["kind"] for header, _ in sent if header["kind"] != "progress"]
    assert set(kinds[:-3]) == {"searching"}
    assert kinds[-3:] == ["solved", "report", "folder"]
    best, image = next(message for message in sent if message[0]["kind"] == "searching")
    assert len(best["columns"]) == 2
    assert len(image) == 4 * best["map"]["pixels"] ** 2
    json.dumps(best["state"], allow_nan=False)
    header, payload = next(message for message in sent if message[0]["kind"] == "solved")
    assert header["solved"]
    assert header["words"].startswith("Solved (score ")
    assert header["thickness"] == pytest.approx(450, rel=0.03)
    assert header["candidates"][0]["formula"] == "MgO"
    assert lacbed.Crystal.from_cif_text(header["candidates"][0]["cif"]).formula == "MgO"
    values = np.frombuffer(payload, "<f4")
    pixels = header["map"]["pixels"]
    potential, images = values[: pixels**2].reshape(pixels, pixels), values[pixels**2 :]
    assert potential.max() == pytest.approx(header["map"]["high"], rel=1e-6)
    u, v = (round(header["columns"][0][axis] * pixels) % pixels for axis in "uv")
    assert potential[v, u] > 0.8 * potential.max()  # the strongest column lies where the map has it
    images = images.reshape(len(header["hkl"]), 2, header["pixels"], header["pixels"])
    known = np.isfinite(images).all(axis=1)
    assert known.any(axis=(1, 2)).all()
    both = [pair[:, mask] for pair, mask in zip(images, known, strict=True)]
    assert max(float(lacbed.zncc_loss(a[None], b[None])) for a, b in both[:3]) < 0.1
    assert max(header["z"][:3]) < 0.1
    assert header["command"].startswith("lacbed solve experiment --cell 4.211 --space-group 225 --elements Mg,O")
    assert sent[-2][0] == {"kind": "report", "of": "solve"}
    assert sent[-2][1].startswith(b"<!DOCTYPE html>")
    with zipfile.ZipFile(io.BytesIO(sent[-1][1])) as archive:
        names = set(archive.namelist())
    assert {"solved/report.html", "solved/map.nc", "solved/candidate-1.cif"} <= names


def test_a_search_is_stopped_and_its_best_becomes_the_answer(stack):
    sent = []

    def send(header, payload=b""):
        sent.append((header, payload))
        if header["kind"] == "searching":
            raise limits.StoppedError

    with pytest.raises(limits.StoppedError):
        run(stack, send)
    state = sent[-1][0]["state"]
    ended = run(stack, state=json.loads(json.dumps(state)), ending=True)
    header, _ = next(message for message in ended if message[0]["kind"] == "solved")
    assert header["ended"]
    assert header["rounds"] <= state["round"] + 1
    assert not any("the time was over" in note for note in header["notes"])
    with pytest.raises(FileFormatError, match="belongs to another experiment, cell"):
        run(stack, state=state, cell=[4.3], ending=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell": [4.2, 4.2]}, "a cell is six numbers"),
        ({"cell": "4.2"}, "a cell is six numbers"),
        ({"cell": [None]}, "a cell is six numbers"),
        ({"cell": [6.5]}, "Bragg lines of the cell"),
        ({"columns": [3, 2]}, "range low:high"),
        ({"columns": [1.5, 2]}, "the number of columns"),
        ({"columns": 2}, "range of two numbers"),
        ({"thickness": [500, 500]}, "some width"),
        ({"elements": ["Xx"]}, "Xx"),
        ({"elements": "Ga"}, "symbols such as"),
        ({"space_group": 231}, "the space group"),
        ({"space_group": 229}, "no points of the lattice"),
        ({"seconds": 361}, "the time of a search on this page"),
        ({"seconds": "x"}, "the time of a search on this page"),
        ({"seed": -1}, "the seed"),
        ({"state": []}, "must be a JSON object"),
        ({"ending": True}, "no structure yet"),
        ({"state": {"fingerprint": "x"}}, "belongs to another"),
    ],
)
def test_what_cannot_be_searched_for_is_one_line(stack, changes, words):
    with pytest.raises(LacbedError, match=words) as error:
        run(stack, **changes)
    assert "\n" not in str(error.value)
