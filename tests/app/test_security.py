"""Who may speak to the server, how much they may send, and what the page may load."""

import asyncio
import re
from importlib.resources import files

import httpx
import pytest

from lacbed.app.limits import Limits, pack, unpack
from lacbed.app.security import host_name
from lacbed.app.server import STATIC, create_app

GUARD = {"x-lacbed": "1"}


def ask(method, path, *, names=(), limits=None, host="localhost:8765", **request):
    """One request to the application itself; no worker is started."""

    async def run():
        transport = httpx.ASGITransport(create_app(limits, names))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, **request)

    return asyncio.run(run())


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1:1", "[::1]:8765", "192.168.1.7:8765", "LOCALHOST"])
def test_own_names(host):
    assert ask("GET", "/", host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example:8765", "127.0.0.1.nip.io", "lab", "x@localhost"]
)
def test_rebound_names_are_refused(host):
    answer = ask("GET", "/", headers={"host": host})
    assert answer.status_code == 403
    assert "--allow-host" in answer.json()["error"]


def test_a_name_can_be_allowed():
    assert ask("GET", "/", host="lab:80").status_code == 403
    assert ask("GET", "/", host="Lab:80", names=("lab",)).status_code == 200
    assert host_name("[::1]:80") == "::1"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_sites_are_refused(headers):
    for method, path in (("POST", "/api/describe"), ("POST", "/api/stream/simulate"), ("GET", "/api/about")):
        answer = ask(method, path, headers={**GUARD, **headers}, json={} if method == "POST" else None)
        assert answer.status_code == 403
        assert "other sites" in answer.json()["error"]


def test_a_form_of_another_page_cannot_start_work():
    answer = ask("POST", "/api/stream/simulate", data={"name": "Si"})
    assert answer.status_code == 403
    assert "x-lacbed" in answer.json()["error"]
    own = ask("POST", "/api/stream/simulate", headers={**GUARD, "origin": "http://localhost:8765"}, json={})
    assert own.status_code == 400  # heard, and found wanting


def test_no_cross_origin_reading():
    answer = ask("OPTIONS", "/api/describe", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/static/none.js", "/nowhere"])
def test_every_answer_forbids_outside_hosts(path):
    policy = ask("GET", path).headers["content-security-policy"]
    sources = {word for part in policy.split(";") for word in part.split()[1:]}
    assert sources == {"'none'", "'self'", "blob:", "data:"}
    assert "default-src 'none'" in policy
    script = next(part for part in policy.split(";") if "script-src" in part)
    assert script.split() == ["script-src", "'self'"]
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/static/index.html",
        "/static/",
        "/etc/passwd",
    ],
)
def test_only_the_files_of_the_page_are_read(path):
    assert ask("GET", path).status_code == 404


def test_the_files_of_the_page_are_all_there_and_name_no_other_host():
    folder = files("lacbed.app").joinpath("static")
    names = {entry.name for entry in folder.iterdir()}
    assert names == {*STATIC, "index.html"}
    for name in names:
        text = folder.joinpath(name).read_text(encoding="utf-8")
        hosts = set(re.findall(r"(?:https?|wss?)://[^\s\"'`]+|['\"(]//[a-z][^\s\"'`]+", text))
        assert hosts <= {"http://www.w3.org/2000/svg"}, (name, hosts)  # the name of a language, never fetched
        assert not re.search(r"\bon\w+=\"|javascript:|<script(?! type=\"module\" src=)|<style|style=\"", text), (
            name
        )


def test_large_requests_are_refused():
    answer = ask("POST", "/api/describe", headers=GUARD, content=b"x" * 2_100_000)
    assert answer.status_code == 400
    assert "larger than 2 MB" in answer.json()["error"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "arrived incomplete"),
        (b"junk", "arrived incomplete"),
        (pack({"view": {"name": "Si"}})[:-1], "arrived incomplete"),
        (pack({"view": {"name": "Si"}}), "drop experiment.json"),
        (pack({"view": {"name": "Si"}, "files": [{"ending": ".exe", "size": 1}]}, b"x"), "not measured patterns"),
        (pack({"view": {}, "files": [{"ending": ".nc", "size": 1}]}, b"x"), "choose a built-in crystal"),
        (b"x" * 2000, "larger than 0.001 MB"),
    ],
)
def test_bad_uploads(content, words):
    answer = ask("POST", "/api/bench/fit", headers=GUARD, content=content, limits=Limits(upload_bytes=1000))
    assert answer.status_code == 400
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((900, 900), "choose a built-in crystal"),
        ((1500,), "larger than 0.001 MB"),
        ((700, 1100), "larger than 0.001 MB"),
    ],
)
def test_a_vacuum_scan_may_be_as_large_as_the_series(sizes, words):
    files = [{"ending": ".npy", "size": size} for size in sizes]
    content = pack({"view": {}, "files": files}, b"x" * sum(sizes))
    answer = ask("POST", "/api/bench/extract", headers=GUARD, content=content, limits=Limits(upload_bytes=1000))
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_slow_requests_are_refused():
    async def trickle():
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.02)

    limits = Limits(body_seconds=0.1)
    answer = ask("POST", "/api/describe", headers=GUARD, content=trickle(), limits=limits)
    assert answer.status_code == 400
    assert "too long to arrive" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "JSON object"),
        (b"{}", "choose a built-in crystal"),
        (b'{"name": "Si", "voltage": NaN}', "voltage must be a number"),
    ],
)
def test_bad_bodies(body, words):
    for path in ("/api/describe", "/api/stream/simulate"):
        answer = ask("POST", path, headers=GUARD, content=body)
        assert answer.status_code == 400
        assert words in answer.json()["error"]


def test_unknown_tasks_and_results():
    view = {"name": "Si"}
    assert ask("POST", "/api/stream/file", headers=GUARD, json=view).status_code == 400
    assert ask("POST", "/api/stream/eval", headers=GUARD, json=view).status_code == 400
    answer = ask("POST", "/api/file", headers=GUARD, json={"format": ".nc", "result": "guess"})
    assert "no longer kept" in answer.json()["error"]


def test_a_refinement_begins_from_a_thickness():
    content = pack({"view": {"name": "Si"}, "files": [{"ending": ".nc", "size": 1}], "around": None}, b"x")
    answer = ask("POST", "/api/bench/refine", headers=GUARD, content=content)
    assert answer.status_code == 400
    assert "the thickness to begin from" in answer.json()["error"]
    assert ask("POST", "/api/bench/eval", headers=GUARD, content=content).status_code == 400


def test_sessions_go_out_and_come_back():
    content = pack({"view": {"name": "Si"}, "look": {"colours": "magma"}, "commands": {"py": "import lacbed"}})
    answer = ask("POST", "/api/session/save", headers=GUARD, content=content)
    assert answer.headers["content-disposition"] == 'attachment; filename="Si.lacbed"'
    back = ask("POST", "/api/session/open", headers=GUARD, content=answer.content)
    ((header, payload),) = unpack(back.content)
    assert (header["view"]["name"], header["look"], header["files"], payload) == (
        "Si",
        {"colours": "magma"},
        [],
        b"",
    )
    for bad, words in (
        ({"view": {"name": "Si"}, "look": {"view": "x"}}, "view of the picture"),
        ({"view": {"name": "Si"}, "look": {}, "commands": {"exe": ""}}, "commands of a session"),
        ({"view": {"name": "Si"}, "look": {}, "result": "guess"}, "no longer kept"),
        ({"view": {}, "look": {}}, "choose a built-in crystal"),
    ):
        answer = ask("POST", "/api/session/save", headers=GUARD, content=pack(bad))
        assert answer.status_code == 400
        assert words in answer.json()["error"]
    answer = ask("POST", "/api/session/open", headers=GUARD, content=b"PK\x03\x04 and more")
    assert answer.status_code == 400
    assert "no session of lacbed" in answer.json()["error"]


def test_figures_of_nothing_are_refused():
    panels = [[[0, 0, 0], 300]]
    for body, words in (({}, "panels"), ({"panels": panels, "results": ["guess"]}, "no longer kept")):
        answer = ask("POST", "/api/figure", headers=GUARD, json=body)
        assert answer.status_code == 400
        assert words in answer.json()["error"]
