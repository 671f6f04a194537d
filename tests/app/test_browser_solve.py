"""An unknown crystal on the page, in a real headless Chromium: from the cell to a candidate that is fitted."""

import pytest
from app_helpers import magnesia
from browser_helpers import wait_for_rest

import lacbed

pytestmark = pytest.mark.browser


def test_a_search_is_cancelled_and_a_candidate_becomes_the_crystal(open_page, tmp_path):
    path = lacbed.save_pattern(magnesia(), tmp_path / "mine.npz")
    page = open_page("#crystal=Cu&g=1&n=16&tmax=500")
    page.click("#tab-fit")
    page.set_input_files("#measured", path)
    page.wait_for_selector("#fit-pairs figure")
    page.click("#solve-open")
    for key in ("b", "c", "alpha", "beta", "gamma"):
        page.fill(f"#solve-{key}", "")
    page.fill("#solve-a", "6,5")
    page.click("#solve-begin")
    page.wait_for_selector("#error:not([hidden])")
    assert "Bragg lines of the cell 6.5" in page.inner_text("#error")
    page.fill("#solve-a", "4,211")
    page.fill("#solve-few", "2")
    page.fill("#solve-many", "2")
    page.fill("#solve-thin", "430")
    page.fill("#solve-thick", "470")
    page.fill("#solve-elements", "Mg, O")
    page.fill("#solve-group", "225")
    page.click("#solve-begin")
    page.wait_for_selector("#error:not([hidden])")
    assert "write it without the comma" in page.inner_text("#error")
    page.fill("#solve-a", "4.211")
    page.click("#solve-begin")
    page.wait_for_selector("#solve-result:not([hidden])")
    assert page.inner_text("#solve-title").startswith("Best so far from the images of")
    page.evaluate("document.getElementById('cancel').click()")
    page.wait_for_selector("#solve-answer:not([hidden])")
    wait_for_rest(page)
    assert page.inner_text("#solve-title").startswith("Answer from the images of")
    assert "olved (score" in page.inner_text("#solve-words")
    assert page.locator("#solve-columns tr").count() == 2
    assert page.is_enabled("#solve-folder")
    page.locator("#solve-candidates button").first.click()
    page.wait_for_selector("#fit-pairs.three figure")
    wait_for_rest(page)
    assert page.inner_text("#title").endswith("candidate 1 [110]")
    assert page.is_visible("#solve-answer")  # it stays beside the fit
    words = page.inner_text("#solve-words")
    with page.expect_download() as waiting:
        page.click("#save-session")
    kept = tmp_path / "kept.lacbed"
    waiting.value.save_as(kept)
    page.reload()
    check_answer(page, words)
    other = open_page("#crystal=Cu&g=1&n=16&tmax=500")
    wait_for_rest(other)
    other.set_input_files("#session", kept)
    check_answer(other, words)


def check_answer(page, words):
    """The answer is there without a search, and can be taken along and searched on from."""
    page.wait_for_selector("#solve-answer:not([hidden])")
    page.wait_for_selector("#fit-pairs figure")
    assert page.inner_text("#solve-words") == words
    assert page.locator("#solve-columns tr").count() == 2
    assert page.locator("#solve-pairs figure").count() > 4
    assert page.is_enabled("#solve-folder")
    assert page.is_visible("#solve-go-on")
