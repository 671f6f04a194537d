"""Ways of looking in a real headless Chromium: CBED, A and B."""

import json

import numpy as np
import pytest
from browser_helpers import engine, png_text, type_in, wait_for_exact, wait_for_rest

import lacbed

pytestmark = pytest.mark.browser

SAME = "#crystal=SrTiO3&g=2&t=300&n=32&tmax=300"


def test_cbed_is_what_the_engine_assembles(same_page, tmp_path):
    page = same_page
    page.click("#tab-discs")
    wait_for_rest(page)
    page.check("#true-size")
    type_in(page, "#semi-number", "4,5")
    wait_for_rest(page)
    assert "CBED, semi-angle 4.5" in page.inner_text("#subtitle")
    assert "semi=4.5" in page.url
    found = page.evaluate(
        """async () => {
          const { cbedOf } = await import("/static/cbed.js");
          const { shownDiscs } = await import("/static/facts.js");
          const { values, size, step } = cbedOf(shownDiscs().pattern, 4.5);
          return { values: Array.from(values), size, step };
        }"""
    )
    code = page.inner_text("#code")
    assert "assemble_cbed(pattern, semi_angle=4.5)" in code
    expected = lacbed.assemble_cbed(engine(page, tmp_path), 4.5)
    image = np.reshape(found["values"], (found["size"], found["size"]))
    assert image.shape == expected.shape[1:]
    np.testing.assert_allclose(image, expected.values[0], atol=2e-6)
    assert float(expected.max()) > 0.3
    with page.expect_download() as waiting:
        page.click("#save-picture")
    assert waiting.value.suggested_filename == "SrTiO3-cbed.png"
    told = png_text(waiting.value.path())
    assert told["semi_angle_mrad"] == 4.5
    page.locator("#picture").dblclick()
    wait_for_exact(page)
    assert page.inner_text("#zoom-level") == "1 ×"
    assert page.get_attribute("#tab-pattern", "aria-selected") == "true"


def test_a_and_b_by_swipe_and_difference(same_page):
    page = same_page
    page.click("#keep")
    wait_for_rest(page)
    assert "300 Å" in page.inner_text("#kept-name")
    type_in(page, "#thickness-number", "150")
    wait_for_exact(page)
    assert "right of the line; on its left A: SrTiO₃" in page.inner_text("#subtitle")
    page.click("#zoom-in")
    wait_for_rest(page)
    with page.expect_download() as waiting:
        page.click("#save-picture")
    told = png_text(waiting.value.path())
    assert (told["settings"]["thickness"], told["A"]["thickness"]) == (150, 300)
    assert told["part"] == {"x": 0.5, "y": 0.5, "times": 2}  # what is seen is what is saved
    assert told["caption"].endswith("; a part, enlarged 2 times")
    page.click("#zoom-all")
    page.check("[name=compare][value=difference]", force=True)
    wait_for_rest(page)
    assert "minus A" in page.inner_text("#subtitle")
    assert page.inner_text("#badge").startswith("B − A")
    different = page.evaluate(
        """async () => {
          const { current, exact, shown } = await import("/static/state.js");
          const now = current();
          const own = exact().values.map((v, i) => v - shown.kept.values[i]);
          return Math.max(...now.values.map((v, i) => Math.abs(v - own[i]))) + (Math.max(...own) > 0.05 ? 0 : 1);
        }"""
    )
    assert different < 1e-6
    z = float(page.inner_text("#kept-note").removeprefix("Z = ").removesuffix(" %").replace("−", "-"))
    assert 1 < z < 200
    # Another half-width: A is put on the pixels of B, and has none beyond its own edge.
    type_in(page, "#extent-number", "3")
    wait_for_exact(page)
    known = page.evaluate(
        """async () => {
          const { current } = await import("/static/state.js");
          const values = current().values;
          return values.filter(Number.isFinite).length / values.length;
        }"""
    )
    assert abs(known - 4 / 9) < 0.08
    page.click("#kept-drop")
    wait_for_rest(page)
    assert page.is_hidden("#compare")
    assert "A:" not in page.inner_text("#subtitle")


def test_the_line_is_dragged_and_moved_by_keys(open_page):
    page = open_page(SAME)
    wait_for_exact(page)
    page.click("#keep")
    wait_for_rest(page)
    box = page.locator("#frame").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 0.25 * box["width"], y, steps=4)
    page.mouse.up()
    wait_for_rest(page)
    assert 70 <= int(page.input_value("#swipe")) <= 80
    before = page.evaluate("document.getElementById('kept').style.clipPath")
    page.focus("#swipe")
    page.keyboard.press("ArrowLeft")
    wait_for_rest(page)
    assert page.evaluate("document.getElementById('kept').style.clipPath") != before
    assert json.loads(page.evaluate("JSON.stringify(window.lacbedShown.stale)")) is False
