"""Accessibility by axe-core, which is not packaged: set LACBED_AXE to the path of axe.min.js to run this."""

import os
from pathlib import Path

import pytest
from browser_helpers import wait_for_exact, wait_for_rest

AXE = os.environ.get("LACBED_AXE", "")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(not AXE, reason="LACBED_AXE names no axe.min.js")]

LAPTOP = {"width": 1366, "height": 768}
LOOKS = {
    "light": (LAPTOP, {"color_scheme": "light"}),
    "dark": (LAPTOP, {"color_scheme": "dark"}),
    "forced colours": (LAPTOP, {"forced_colors": "active"}),
    "narrow": ({"width": 390, "height": 844}, {"color_scheme": "dark"}),
    "narrow and light": ({"width": 390, "height": 844}, {"color_scheme": "light"}),
    "4K": ({"width": 3840, "height": 2160}, {"color_scheme": "light"}),
    "4K and dark": ({"width": 3840, "height": 2160}, {"color_scheme": "dark"}),
    "zoomed to 200 %": ({"width": 683, "height": 384}, {"color_scheme": "light"}),
}
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


def in_every_look(page):
    """Violations by look, as far as there are any."""
    found = {}
    for name, (size, media) in LOOKS.items():
        page.set_viewport_size(size)
        page.emulate_media(**{"color_scheme": "light", "forced_colors": "none"} | media)
        wait_for_rest(page)
        if said := violations(page):
            found[name] = said
    page.set_viewport_size(LAPTOP)
    page.emulate_media(color_scheme="light", forced_colors="none")
    wait_for_rest(page)
    return found


def test_no_view_has_a_violation_in_any_look(open_page):
    page = open_page("#crystal=Zn&g=1&n=16&t=100&tmax=100", bypass_csp=True)
    wait_for_exact(page)
    found = {"pattern": in_every_look(page)}
    page.click("#keep")
    page.click("#profile")
    wait_for_rest(page)
    found["compare"] = in_every_look(page)
    page.check("[name=compare][value=difference]", force=True)
    wait_for_rest(page)
    found["difference"] = in_every_look(page)
    page.click("#tab-discs")
    wait_for_rest(page)
    found["discs"] = in_every_look(page)
    page.check("#true-size")
    wait_for_rest(page)
    found["CBED"] = in_every_look(page)
    for tab in ("tilt", "fit"):
        page.click(f"#tab-{tab}")
        wait_for_rest(page)
        found[tab] = in_every_look(page)
    page.click("#tab-pattern")
    wait_for_exact(page)
    page.click("#figure-open")
    page.click("#figure-make")
    page.wait_for_selector("#figure-caption-row:not([hidden])")
    found["figure"] = in_every_look(page)
    page.keyboard.press("Escape")
    page.click("#help-open")
    found["help"] = in_every_look(page)
    assert {view: said for view, said in found.items() if said} == {}
