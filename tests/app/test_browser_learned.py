"""Learned pictures and answers that come late, in a real headless Chromium."""

import json

import numpy as np
import pytest
from browser_helpers import pixels, type_in, wait_for_exact, wait_for_rest

import lacbed
from lacbed.app.limits import pack

pytestmark = pytest.mark.browser


def test_the_learned_picture_and_the_exact_one_beside_each_other(same_page):
    page = same_page
    ramp = np.linspace(0, 1, 16, dtype="<f4").repeat(16)
    header = {
        "kind": "pattern",
        "pixels": 16,
        "hkl": [[0, 0, 0]],
        "gx": [0],
        "gy": [0],
        "k_first": -1,
        "k_step": 0.125,
        "wavelength": 0.025,
        "beams": 99,
        "notes": [],
        "seconds": 0.01,
        "thicknesses": [300],
        "remarks": [],
    }
    said = {"python": "", "shell": "", "needs": ""}
    guess = pack({**header, "stage": "learned", "expected_z": [0.012]}, (ramp + ramp[::-1] ** 4).tobytes())
    series = {
        **header,
        "stage": "exact",
        "converged": True,
        "recipe": said,
        "thicknesses": [300, 310],
        "part": True,
    }
    exact = pack(series, np.concatenate([ramp, ramp**2]).tobytes())
    further = pack({**header, "stage": "learned", "expected_z": [0.5], "thicknesses": [310]}, ramp.tobytes())
    answers = {("simulate", 300): guess + exact, ("preview", 310): further}

    def answer(route):
        asked = route.request.url.rpartition("/")[2], json.loads(route.request.post_data)["thickness"]
        route.fulfill(body=answers.get(asked, b""), content_type="application/octet-stream")

    page.route("**/api/stream/*", answer)
    type_in(page, "#voltage-number", "150")
    page.wait_for_selector("#models:not([hidden])")
    wait_for_rest(page)
    z = float(lacbed.zncc_loss((ramp + ramp[::-1] ** 4).reshape(16, 16), ramp.reshape(16, 16)))
    assert f"Z = {100 * z:.2g} %" in page.inner_text("#models")
    page.locator("#models button", has_text="Learned").click()
    page.wait_for_function("() => document.getElementById('badge').dataset.stage === 'learned'")
    assert "expects Z ≈ 1.2 %" in page.inner_text("#badge")
    assert "learned prediction" in page.inner_text("#subtitle")
    page.locator("#models button", has_text="Difference").click()
    page.wait_for_function("() => document.getElementById('badge').textContent.includes('−')")
    assert "learned − exact" in page.inner_text("#subtitle")
    with page.expect_download() as waiting:
        page.click("#save-picture")
    assert waiting.value.suggested_filename == "Si-learned-minus-exact.png"
    assert b"learned \xe2\x88\x92 exact" in waiting.value.path().read_bytes()
    type_in(
        page, "#thickness-number", "310"
    )  # the learned picture of another thickness comes when it is looked at
    wait_for_rest(page)
    z = float(lacbed.zncc_loss(ramp.reshape(16, 16), (ramp**2).reshape(16, 16)))
    assert f"Z = {100 * z:.2g} %" in page.inner_text("#models")


def test_the_packaged_model_comes_first_and_is_held_against_the_exact_picture(open_page):
    page = open_page("#crystal=Si&abs=thomas&tmax=500&t=300")
    wait_for_exact(page, "Si")
    times = page.evaluate("window.lacbedTimes")
    assert times["learned"] < times["exact"]
    said = page.inner_text("#models")
    z = float(said.partition("Z = ")[2].removesuffix(" %").replace(" × 10⁻⁴", "e-4"))
    assert 0 < z < 0.5
    page.locator("#models button", has_text="Learned").click()
    page.wait_for_function("() => document.getElementById('badge').dataset.stage === 'learned'")
    assert page.locator("#models [aria-checked=true]").inner_text() == "Learned"


@pytest.fixture
def held(open_page):
    """A page with its exact picture, and requests of a task that wait until `held.pop()` lets them go."""
    page, waiting = open_page(), []
    wait_for_exact(page)

    def keep(route):
        waiting.append(route)

    def hold(task):
        page.route(f"**/api/stream/{task}", keep, times=1)

    return page, hold, waiting


def wait_for_request(page, waiting):
    while not waiting:
        page.wait_for_timeout(20)


def test_choosing_a_disc_does_not_lose_the_answer_that_is_on_its_way(held):
    page, hold, waiting = held
    page.click("#tab-discs")
    wait_for_exact(page)
    hold("montage")
    type_in(page, "#voltage-number", "100")
    wait_for_request(page, waiting)
    page.click("#picture")  # the disc of 000, still at 200 kV
    assert page.get_attribute("#plate", "aria-busy") == "true"
    assert "200 kV" in page.inner_text("#subtitle")
    page.wait_for_function(
        "() => document.getElementById('badge').hidden && document.getElementById('copy').disabled"
    )
    waiting.pop().continue_()
    wait_for_exact(page)
    assert "energy=100000" in page.inner_text("#code")


def test_a_thickness_beside_the_series_is_computed(held):
    page, hold, waiting = held
    hold("simulate")
    page.click("#spot-2_2_0")
    wait_for_request(page, waiting)
    type_in(page, "#thickness-number", "333")
    wait_for_exact(page)
    assert "sel(thickness=[333])" in page.inner_text("#code")


def test_late_previews_do_not_replace_the_exact_picture(held):
    page, hold, waiting = held
    hold("preview")
    drag = """(event) => {
      const slider = document.getElementById("voltage");
      slider.value = Number(slider.value) + 20;
      slider.dispatchEvent(new Event(event));
    }"""
    page.evaluate(drag, "input")
    page.evaluate(drag, "input")
    wait_for_request(page, waiting)
    page.evaluate(drag, "change")
    page.wait_for_function("() => !document.getElementById('copy').disabled")
    exact = pixels(page)
    assert page.get_attribute("#plate", "aria-busy") == "true"
    waiting.pop().continue_()
    wait_for_exact(page)
    assert "260 kV" in page.inner_text("#subtitle")
    np.testing.assert_array_equal(pixels(page), exact)
