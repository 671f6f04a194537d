"""The server as users start it, and what speaks to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser_helpers import PROGRAMS, SILICON, wait_for_exact


@pytest.fixture(scope="session")
def server() -> Iterator[tuple[str, int]]:
    """URL and process of a running `lacbed app`."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-c", "import sys; from lacbed.cli import main; sys.exit(main(sys.argv[1:]))"]
    process = subprocess.Popen([*words, "app", "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "http://127.0.0.1:" in line
    yield line.split()[2].rstrip("/"), process.pid
    process.terminate()
    process.wait(timeout=120)
    process.stdout.close()


@pytest.fixture(scope="session")
def address(server: tuple[str, int]) -> str:
    """URL of the running server."""
    return server[0]


@pytest.fixture(scope="module")  # its event loop must not outlive the tests that need it
def chromium() -> Iterator[Any]:
    """A browser; without one the tests are skipped, but never in CI."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    playwright = pytest.importorskip("playwright.sync_api") if not os.environ.get("CI") else None
    if playwright is None:
        from playwright import sync_api as playwright
    if program is None:
        message = f"none of {', '.join(PROGRAMS)} is on this machine"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with playwright.sync_playwright() as driver:
        # Where there is no graphics card, one that is emulated costs more than drawing without one.
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


# What moves while the page waits is painted 60 times a second, by the processor that the engine needs.
LOOK = {"viewport": {"width": 1440, "height": 900}, "reduced_motion": "reduce"}


@pytest.fixture
def open_page(chromium: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page in a session of its own; at the end nothing may have gone wrong or outside."""
    with pages(chromium, address) as open_one:
        yield open_one


@pytest.fixture(scope="module")
def first_page(request: pytest.FixtureRequest, chromium: Any, address: str) -> Iterator[tuple[Any, str]]:
    """A page that the tests of a file share, with what the file names in `SAME` or silicon, and its address."""
    with pages(chromium, address) as open_one:
        page = open_one(getattr(request.module, "SAME", SILICON))
        wait_for_exact(page)
        yield page, page.url


@pytest.fixture
def same_page(first_page: tuple[Any, str]) -> Any:
    """The shared page, brought back to its link; what a link does not hold stays as the test before it left it."""
    page, home = first_page
    if page.url != home:
        page.evaluate(FOLLOW, home.partition("#")[2])
        wait_for_exact(page)
    return page


FOLLOW = """(hash) => new Promise((done) => {
  addEventListener("hashchange", done, { once: true });
  location.hash = hash;
})"""


@contextmanager
def pages(chromium: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens pages, and closes them at the end."""
    contexts: list[Any] = []
    problems: list[str] = []
    hosts: set[str] = set()

    def open_one(place: str = SILICON, steps: int = 10, **look: Any) -> Any:
        context = chromium.new_context(**LOOK | look)
        contexts.append(context)
        if steps != STEPS:
            context.route("**/static/state.js", lambda route: shorten(route, steps))
        page = context.new_page()
        page.set_default_timeout(240_000)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda entry: problems.append(entry.text) if entry.type == "error" else None)
        page.goto(f"{address}/{place}")
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert hosts <= {urlsplit(address).netloc, ""}  # "" are blobs made in the page
    assert [p for p in problems if "status of 400" not in p] == []


STEPS = 100
"""Thicknesses of a series on the page, of which most tests need a few."""


def shorten(route: Any, steps: int) -> None:
    """Give the page series of so many thicknesses."""
    answer = route.fetch()
    before = answer.text()
    after = before.replace(f"last / {STEPS};", f"last / {steps};")
    assert after != before
    route.fulfill(response=answer, body=after)
