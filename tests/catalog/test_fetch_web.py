"""Asking a server: retries, pauses, and one sentence for everything that goes wrong."""

import socket
import time

import pytest

from lacbed.errors import FetchError

web = pytest.importorskip("lacbed.catalog.fetch.web", exc_type=ImportError)

SEARCH = "/cod/result?el1=Si"


@pytest.fixture
def session():
    return web.polite_session(0.0)


@pytest.mark.parametrize("statuses", [[503], [429, 502], [500, 504, 503]])
def test_faults_that_pass_are_waited_out(stand_in, session, statuses):
    stand_in.trouble.statuses = list(statuses)
    assert session.json_of(f"{stand_in.url}{SEARCH}")[0]["file"]
    assert len(stand_in.asked) == len(statuses) + 1


def test_a_fault_that_stays_is_an_error_after_some_patience(stand_in, session):
    stand_in.trouble.dead_after = 0
    with pytest.raises(FetchError, match=r"127\.0\.0\.1:\d+ has a fault \(status 500\)"):
        session.json_of(f"{stand_in.url}{SEARCH}")
    assert len(stand_in.asked) == web.RETRIES + 1


def test_retry_after_is_obeyed(stand_in, session):
    stand_in.trouble.statuses, stand_in.trouble.retry_after = [429], "1"
    before = time.monotonic()
    session.json_of(f"{stand_in.url}{SEARCH}")
    assert time.monotonic() - before >= 1.0


def test_a_server_that_wants_a_long_pause_is_left_alone(stand_in, session):
    stand_in.trouble.statuses, stand_in.trouble.retry_after = [503], "3600"
    with pytest.raises(FetchError, match="asks to wait for 3600 s"):
        session.json_of(f"{stand_in.url}{SEARCH}")
    assert len(stand_in.asked) == 1


def test_a_retry_after_that_is_nonsense_is_passed_over(stand_in, session):
    stand_in.trouble.statuses, stand_in.trouble.retry_after = [503], "soon"
    assert session.json_of(f"{stand_in.url}{SEARCH}")


def test_requests_keep_their_distance_over_all_sessions(stand_in):
    before = time.monotonic()
    for _ in range(3):
        web.polite_session(0.1).json_of(f"{stand_in.url}{SEARCH}")
    assert time.monotonic() - before >= 0.2


def test_the_program_says_who_it_is(stand_in, session):
    session.json_of(f"{stand_in.url}{SEARCH}")
    assert stand_in.headers[0]["User-Agent"].startswith("lacbed/")


def test_an_answer_that_breaks_off_is_asked_for_again(stand_in, session):
    stand_in.trouble.break_at = 5
    assert session.json_of(f"{stand_in.url}{SEARCH}")[0]["file"]
    assert len(stand_in.asked) == 2


def test_other_answers_are_one_sentence(stand_in, session):
    with pytest.raises(FetchError, match="status 404 to /nowhere"):
        session.json_of(f"{stand_in.url}/nowhere")
    assert session.bytes_of(f"{stand_in.url}/nowhere", missing_ok=True) is None
    with pytest.raises(FetchError, match="more than 0 MB"):
        session.bytes_of(f"{stand_in.url}{SEARCH}", largest=10)
    stand_in.trouble.statuses = [403]
    with pytest.raises(FetchError, match="refuses access"):
        session.json_of(f"{stand_in.url}{SEARCH}")
    stand_in.trouble.html = True
    with pytest.raises(FetchError, match="not JSON"):
        session.json_of(f"{stand_in.url}{SEARCH}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "http://no-such-host.invalid/x"])
def test_no_network(session, monkeypatch, url):
    monkeypatch.setattr(web, "BACKOFF", 0.001)
    with pytest.raises(FetchError, match="cannot be reached"):
        web.polite_session(0.0).json_of(url)


def test_a_silent_server(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setattr(web, "TIMEOUT", (0.2, 0.1))
        monkeypatch.setattr(web, "BACKOFF", 0.001)
        with pytest.raises(FetchError, match="does not answer in time"):
            web.polite_session(0.0).json_of(f"http://127.0.0.1:{deaf.getsockname()[1]}/x")
