"""The running server: streams, files, two users at once, leaving in the middle."""

import socket
import threading
from contextlib import ExitStack, contextmanager

import httpx
import numpy as np
import pytest
from app_helpers import SMALL

import lacbed
from lacbed.app.limits import unpack

HEAVY = {**SMALL, "name": "Mg2SiO4", "zone_axis": [1, 1, 0], "extent": 5.5, "detail": 256, "absorption": "thomas"}


@pytest.fixture
def client(address):
    with httpx.Client(base_url=address, headers={"x-lacbed": "1"}, timeout=600) as client:
        yield client


def stream(client, task, view):
    answer = client.post(f"/api/stream/{task}", json=view)
    assert answer.status_code == 200
    return unpack(answer.content)


@contextmanager
def heavy_work(client, count):
    """Computations that go on meanwhile, each in a thread."""
    stop = threading.Event()

    def work():
        address = client.base_url.join("/api/stream/simulate")
        with httpx.stream("POST", address, headers={"x-lacbed": "1"}, json=HEAVY, timeout=600) as answer:
            next(answer.iter_raw())
            stop.wait(600)

    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_about(client):
    found = client.get("/api/about").json()
    assert {row["name"] for row in found["crystals"]} >= {"Si", "SrTiO3", "GaAs"}
    assert found["software"].startswith("lacbed")
    assert found["learned"] in (True, False)


def test_a_picture_and_its_files(client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    messages = stream(client, "simulate", SMALL)
    kinds = [header["kind"] for header, _ in messages]
    assert kinds[0] == "progress"
    header, payload = next(m for m in messages if m[0].get("stage") == "exact")
    assert (header["kind"], header["thicknesses"], header["crystal"]) == ("pattern", [300], "Si")
    values = np.frombuffer(payload, "<f4").reshape(len(header["hkl"]), 32, 32)
    names = {}
    exec(header["recipe"]["python"].replace("@thickness", "300").replace("@label", "0,0,0"), names)
    expected = names["pattern"]
    np.testing.assert_allclose(values[header["hkl"].index([0, 0, 0])], expected.values[0, 0], atol=1e-6)
    for ending in (".nc", ".tif"):
        asked = {"result": header["result"], "format": ending, "thickness": 300, "hkl": [0, 0, 0]}
        answer = client.post("/api/file", json=asked)
        assert answer.headers["content-disposition"] == f'attachment; filename="Si{ending}"'
        (tmp_path / f"a{ending}").write_bytes(answer.content)
        found = lacbed.load_pattern(tmp_path / f"a{ending}")
        np.testing.assert_allclose(found.values[0, 0], expected.values[0, 0], atol=1e-6)
    pieces = [h["result"] for h, _ in messages if h.get("part")]
    answer = client.post("/api/file", json={"result": pieces, "format": ".nc"})
    (tmp_path / "series.nc").write_bytes(answer.content)
    assert lacbed.load_pattern(tmp_path / "series.nc").sizes["thickness"] == 6


def test_errors_are_plain_words(client):
    for view, words in (
        ({"name": "Sl"}, "no built-in crystal"),
        ({"cif": "data_x\n_cell_length_a 4", "title": "mine"}, "no atoms"),
        ({**SMALL, "hkl": [1, 0, 0]}, "forbidden by the lattice centring"),
        ({**SMALL, "hkl": [0, 0, 4]}, "Laue zone"),
        ({**SMALL, "extent": 16, "voltage": 10}, "mrad"),
    ):
        header, _ = stream(client, "simulate", view)[-1]
        assert header["kind"] == "error"
        assert words in header["message"]
        assert "Traceback" not in header["message"]
    answer = client.post("/api/describe", json={"name": "Sl"})
    assert answer.status_code == 400
    assert "no built-in crystal" in answer.json()["error"]


def test_two_users_do_not_mix(client):
    found = {}

    def use(name, voltage):
        with httpx.Client(base_url=client.base_url, headers={"x-lacbed": "1"}, timeout=600) as other:
            for _ in range(2):
                header, payload = stream(other, "simulate", {**SMALL, "name": name, "voltage": voltage})[-1]
                found.setdefault(name, []).append((header, payload))
                answer = other.post("/api/file", json={"result": header["result"], "format": ".npz"})
                assert f'"{name}.npz"' in answer.headers["content-disposition"]

    threads = [threading.Thread(target=use, args=user) for user in (("Si", 120), ("Cu", 300), ("NaCl", 200))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, voltage in (("Si", 120), ("Cu", 300), ("NaCl", 200)):
        header, payload = found[name][0]
        assert f'named("{name}")' in header["recipe"]["python"]
        assert payload == found[name][1][1]
        expected = lacbed.simulate(
            lacbed.Crystal.named(name),
            energy=voltage * 1e3,
            thicknesses=header["thicknesses"],
            grid=lacbed.TiltGrid(pixels=header["pixels"], extent=2),
            beams=200,
        )
        np.testing.assert_allclose(np.frombuffer(payload, "<f4"), expected.values.ravel(), atol=2e-3)


def test_quick_work_does_not_queue_behind_long_work(client):
    with heavy_work(client, 3) as threads:
        fresh = {**SMALL, "voltage": 123}  # of which no zone is kept
        assert stream(client, "preview", fresh)[-1][0]["stage"] in ("preview", "learned")
        assert unpack(client.post("/api/describe", json={"name": "Cu"}).content)[0][0]["name"] == "Cu"
        assert all(thread.is_alive() for thread in threads)


def test_a_third_page_has_something_to_look_at_while_it_waits(client):
    with heavy_work(client, 2), client.stream("POST", "/api/stream/simulate", json=SMALL) as answer:
        received = b""
        for part in answer.iter_raw():
            received += part
            if b'"stage":"preview"' in received or b'"stage":"exact"' in received:
                break
        assert b'"stage"' in received


def test_leaving_frees_the_processors(client):
    for _ in range(2):  # one for each worker
        with client.stream("POST", "/api/stream/simulate", json=HEAVY) as answer:
            received = b""
            for part in answer.iter_raw():
                received += part
                if b"choosing the waves" in received:
                    break
    assert stream(client, "simulate", SMALL)[-1][0]["stage"] == "exact"


def test_a_connection_that_is_opened_and_left_is_closed(address):
    host, _, port = address.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        halves = []
        for begun in (b"", b"GET / HTTP/1.1\r\nHost: loc"):
            halves.append(stack.enter_context(socket.create_connection((host, int(port)), timeout=30)))
            halves[-1].sendall(begun)
        for half in halves:
            assert half.recv(1) == b""
