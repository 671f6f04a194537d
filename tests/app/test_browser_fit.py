"""Measured patterns on the page, in a real headless Chromium."""

import json

import numpy as np
import pytest
from browser_helpers import wait_for_rest

import lacbed

pytestmark = pytest.mark.browser


@pytest.fixture
def measured(tmp_path):
    """A folder with two images of silicon, 310 Å thick, and something that is none of it."""
    hkl = [(0, 0, 0), (1, -1, 1)]
    grid = lacbed.TiltGrid(pixels=16, k_max=0.25)
    truth = lacbed.simulate(lacbed.Crystal.named("Si"), (1, 1, 0), 200e3, [310], grid, hkl, beams=41)
    np.savez(tmp_path / "images.npz", images=truth.values[0, :, ::-1], hkl=np.array(hkl))
    geometry = {
        "accelerating_voltage_kV": 200,
        "zone_axis_uvw_direct": [1, 1, 0],
        "x_direction_hkl_reciprocal": truth.attrs["x_direction"],
        "half_width_inv_A": 0.25,
        "orientation": "-y+x",
    }
    (tmp_path / "experiment.json").write_text(json.dumps({"material": "mine", "geometry": geometry}))
    (tmp_path / "photograph.png").write_bytes(b"left alone")
    return tmp_path


def test_measured_patterns_beside_the_best_fit(open_page, measured):
    page = open_page("#crystal=Si&g=1&n=16&tmax=400")
    page.click("#tab-fit")
    page.set_input_files("#measured", sorted(measured.iterdir()))
    page.wait_for_selector("#fit-pairs figure")
    assert "as the files state" in page.inner_text("#fit-summary")  # seen before the fit is there
    assert page.inner_text("#title").split()[0] in ("mine", "Si")  # until the fit it has no crystal
    wait_for_rest(page)
    thickness, _, said = page.inner_text("#fit-summary").partition(" Å fits best")
    assert abs(float(thickness) - 310) < 15  # two small images; the fit itself is tested elsewhere
    assert "(stated: 0.2500)" in said
    assert abs(float(said.partition("rotated by ")[2].partition("°")[0].replace("−", "-"))) < 1
    assert page.locator("#fit-pairs figure").count() == 2
    assert page.inner_text("#title") == "Si [110]"
    assert 'load_experiment("experiment")' in page.inner_text("#code")
    assert page.is_hidden("#microscope")
    assert page.locator("#fit-pairs figure").first.locator("canvas").count() == 3  # with the difference
    page.locator("#fit-pairs button").first.click()
    assert "Z" in page.inner_text("#large-title")
    page.locator("#large button").click()
    with page.expect_download() as waiting:
        page.click("#save-fit")
    assert waiting.value.suggested_filename == "Si-fit.csv"
    assert waiting.value.path().read_text("utf-8").splitlines()[2] == "h,k,l,Z,Z shifted"
    page.click("#use-fit")
    wait_for_rest(page)
    assert f"{float(thickness):.1f}".rstrip("0").rstrip(".") in page.inner_text("#subtitle")
    assert page.inner_text("#title") == "Si [110]"


def _drop(page, folder):
    browser = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        browser.send("Input.dispatchDragEvent", {"type": kind, "x": 400, "y": 300, "data": data})


def test_a_folder_may_be_dropped(open_page, measured):
    (measured / "crystal.cif").write_text(lacbed.Crystal.named("Si").to_cif())
    page = open_page("#crystal=Cu&g=1&n=16&tmax=400")
    wait_for_rest(page)
    _drop(page, measured)
    page.wait_for_selector("#fit-pairs figure")
    wait_for_rest(page)
    assert page.locator("#fit-pairs figure").count() == 2
    assert page.inner_text("#title").startswith("Si [110]")  # the CIF of the folder, not its file's name


def test_a_folder_dropped_before_the_page_is_ready_waits_for_it(open_page, measured):
    page = open_page("#crystal=Si&g=1&n=16&tmax=400")
    wait_for_rest(page)
    waiting = []
    page.route("**/api/about", lambda route: waiting.append(route))  # noqa: PLW0108  a bound method is refused
    page.reload()
    page.locator("#status", has_text="Waiting").wait_for()
    _drop(page, measured)
    page.wait_for_timeout(200)
    assert page.locator("#fit-pairs figure").count() == 0
    waiting[0].continue_()
    page.wait_for_selector("#fit-pairs figure")
    wait_for_rest(page)
    assert page.locator("#fit-pairs figure").count() == 2
