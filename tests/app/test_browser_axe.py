"""Accessibility by axe-core, which is not packaged: set LACBED_AXE to the path of axe.min.js to run this."""

import os
from pathlib import Path

import pytest
from browser_helpers import wait_for_exact, wait_for_rest

AXE = os.environ.get("LACBED_AXE", "")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not AXE, reason="LACBED_AXE names no axe.min.js")]

SIZES = {"laptop": (1366, 768), "phone": (390, 844), "4K": (3840, 2160)}
RUN = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`)"""


def violations(page):
    """What axe finds on the page as it stands, and whether the page scrolls sideways."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(Path(AXE).read_text(encoding="utf-8"))
    found = page.evaluate(RUN)
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        found.append("the page scrolls sideways")
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_no_view_has_a_violation(open_page, size, theme):
    look = {"viewport": dict(zip(("width", "height"), SIZES[size], strict=True)), "color_scheme": theme}
    page = open_page("#crystal=Zn&g=1&n=16&t=100&tmax=100", bypass_csp=True, **look)
    wait_for_exact(page)
    found = {"pattern": violations(page)}
    page.click("#keep")
    page.click("#profile")
    wait_for_rest(page)
    found["compare"] = violations(page)
    page.check("[name=compare][value=difference]", force=True)
    wait_for_rest(page)
    found["difference"] = violations(page)
    page.click("#tab-discs")
    wait_for_rest(page)
    found["discs"] = violations(page)
    page.check("#true-size")
    wait_for_rest(page)
    found["CBED"] = violations(page)
    for tab in ("tilt", "fit"):
        page.click(f"#tab-{tab}")
        wait_for_rest(page)
        found[tab] = violations(page)
    page.click("#tab-pattern")
    wait_for_exact(page)
    page.click("#figure-open")
    page.click("#figure-make")
    page.wait_for_selector("#figure-caption-row:not([hidden])")
    found["figure"] = violations(page)
    page.keyboard.press("Escape")
    page.click("#help-open")
    found["help"] = violations(page)
    assert {view: said for view, said in found.items() if said} == {}
