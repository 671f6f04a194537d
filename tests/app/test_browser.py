"""The page in a real headless Chromium."""

import json
import os
import shutil
from urllib.parse import urlsplit

import numpy as np
import pytest

import lacbed
from lacbed.app.messages import pack

pytestmark = pytest.mark.browser

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SILICON = "#crystal=Si&g=2&t=300&n=48&tmax=1000"
ONE_CELL = """data_mine
_cell_length_a 4.05
_cell_length_b 4.05
_cell_length_c 4.05
_space_group_name_H-M_alt 'F m -3 m'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_B_iso_or_equiv
Al 0 0 0 0.8
"""


@pytest.fixture(scope="module")
def chromium():
    """A browser; without one the tests are skipped, but never in CI."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    playwright = pytest.importorskip("playwright.sync_api") if not os.environ.get("CI") else None
    if playwright is None:
        from playwright import sync_api as playwright  # noqa: PLC0415
    if program is None:
        message = f"none of {', '.join(PROGRAMS)} is on this machine"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, address):
    """Opens the page in a session of its own; at the end nothing may have gone wrong or outside."""
    contexts, problems, hosts = [], [], set()

    def open_one(place=SILICON, **look):
        context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **look})
        contexts.append(context)
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


def wait_for_rest(page):
    """Wait until nothing is computed, described, previewed or still to be painted."""
    page.wait_for_function("() => document.getElementById('plate').ariaBusy === 'false'")


def wait_for_exact(page, title=None):
    """Wait until the page is at rest and shows an exact picture."""
    page.wait_for_function(
        """(title) => {
          const badge = document.getElementById("badge");
          return document.getElementById("plate").ariaBusy === "false"
            && !badge.hidden && badge.dataset.stage === "exact" && !document.getElementById("copy").disabled
            && (!title || document.getElementById("title").textContent.startsWith(title));
        }""",
        arg=title,
    )


def pixels(page):
    """Grey levels of the picture, first row at the bottom, as the engine has it."""
    values = page.evaluate(
        """() => {
          const canvas = document.getElementById("picture");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return Array.from(data.filter((_, i) => i % 4 === 0));
        }"""
    )
    side = round(len(values) ** 0.5)
    return np.array(values).reshape(side, side)[::-1]


def engine(page, folder):
    """What the Python code on the page computes."""
    code = page.inner_text("#code")
    here = os.getcwd()
    os.chdir(folder)
    try:
        names = {}
        exec(compile(code, "page", "exec"), names)
    finally:
        os.chdir(here)
    return names["pattern"]


def as_grey(image):
    """The grey levels that belong to intensities, by the rule of the page."""
    ordered = np.sort(image.astype(np.float32).ravel())
    low, high = (ordered[int(np.floor(p * (len(ordered) - 1) + 0.5))] for p in (0.001, 0.999))
    return np.clip((image - low) * 255 / (high - low), 0, 255)


def test_pixels_are_the_engines_and_a_thickness_answers_at_once(open_page, tmp_path):
    page = open_page()
    wait_for_exact(page, "Si")
    times = page.evaluate("window.lacbedTimes")
    print(f"the first picture took {min(times.values()):.0f} ms")
    assert min(times.values()) < times["exact"]  # a preview, or the learned picture, comes first
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/api/" in request.url else None)
    first = pixels(page)
    assert first.shape == (48, 48)
    np.testing.assert_allclose(first, as_grey(engine(page, tmp_path).values[0, 0]), atol=1.01)
    milliseconds = page.evaluate(
        """async () => {
          const slider = document.getElementById("thickness");
          const taken = [];
          for (const wanted of [400, 500, 600, 700, 800]) {
            const start = performance.now();
            slider.value = wanted;
            slider.dispatchEvent(new Event("input"));
            while (window.lacbedShown.thickness !== wanted) await new Promise(requestAnimationFrame);
            taken.push(performance.now() - start);
          }
          return Math.min(...taken);
        }"""
    )
    print(f"a change of thickness took {milliseconds:.0f} ms")
    assert asked == []  # so that it takes 20 to 40 ms on a quiet machine
    second = pixels(page)
    assert np.abs(second - first).max() > 50
    assert "thicknesses=[800]" in page.inner_text("#code")
    np.testing.assert_allclose(second, as_grey(engine(page, tmp_path).values[0, 0]), atol=1.01)


def test_a_dropped_cif(open_page, tmp_path):
    page = open_page()
    wait_for_exact(page)
    page.evaluate(
        """(text) => {
          const data = new DataTransfer();
          data.items.add(new File([text], "my crystal.cif"));
          const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
          document.body.dispatchEvent(event);
        }""",
        ONE_CELL,
    )
    wait_for_exact(page, "my crystal")
    assert "4.05" in page.inner_text("#facts")
    assert "my_crystal.cif" in page.inner_text("#needs")
    with page.expect_download() as waiting:
        page.click("#save-cif")
    assert waiting.value.suggested_filename == "my_crystal.cif"
    waiting.value.save_as(tmp_path / "my_crystal.cif")
    np.testing.assert_allclose(pixels(page), as_grey(engine(page, tmp_path).values[0, 0]), atol=1.01)


@pytest.mark.parametrize(
    ("text", "words"), [("hello", "not a CIF"), ("", "empty"), (ONE_CELL.replace("Al 0", "Qq 0"), "Qq")]
)
def test_a_bad_cif_is_explained(open_page, text, words):
    page = open_page()
    wait_for_exact(page)
    page.set_input_files("#cif", {"name": "bad.cif", "mimeType": "text/plain", "buffer": text.encode()})
    page.wait_for_selector("#error:not([hidden])")
    assert words in page.inner_text("#error")
    page.select_option("#crystal", "Cu")
    wait_for_exact(page)
    assert page.inner_text("#title").startswith("Cu")
    assert page.is_hidden("#error")


def test_files_are_downloaded(open_page, tmp_path):
    page = open_page()
    wait_for_exact(page)
    for selector, name in (
        ('[data-format=".nc"]', "Si.nc"),
        ('[data-format=".tif"]', "Si.tif"),
        ("#save-picture", "Si.png"),
    ):
        with page.expect_download() as waiting:
            page.click(selector)
        assert waiting.value.suggested_filename == name
        waiting.value.save_as(tmp_path / name)
    expected = engine(page, tmp_path / "..")
    for name in ("Si.nc", "Si.tif"):
        np.testing.assert_allclose(lacbed.load_pattern(tmp_path / name).values, expected.values, atol=1e-6)
    assert (tmp_path / "Si.png").read_bytes().startswith(b"\x89PNG")


def test_settings_reflections_and_discs(open_page):
    page = open_page()
    wait_for_exact(page)
    before = pixels(page)
    page.fill("#voltage-number", "100")
    page.press("#voltage-number", "Enter")
    wait_for_exact(page)
    assert "100 kV" in page.inner_text("#subtitle")
    assert np.abs(pixels(page) - before).max() > 20
    page.click("#spot-2_2_0")
    wait_for_exact(page)
    assert "220" in page.inner_text("#subtitle")
    assert "hkl=[(2, 2, 0)]" in page.inner_text("#code")
    page.click("#tab-discs")
    wait_for_exact(page)
    assert 'hkl=("all"' in page.inner_text("#code")
    box = page.locator("#picture").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_function("() => document.getElementById('readout').textContent.startsWith('000')")
    page.locator("#zones button", has_text="[110]").click()
    wait_for_exact(page)
    assert page.evaluate("document.getElementById('title').textContent").endswith("[110]")


def test_measured_patterns_beside_the_best_fit(open_page, tmp_path):
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
    page = open_page("#crystal=Si&g=1&n=16&tmax=400")
    page.click("#tab-fit")
    page.set_input_files("#measured", sorted(tmp_path.iterdir()))
    page.wait_for_selector("#fit-pairs figure")
    wait_for_rest(page)
    thickness, _, said = page.inner_text("#fit-summary").partition(" Å fits best")
    assert abs(float(thickness) - 310) < 15  # two small images; the fit itself is tested elsewhere
    assert "(stated: 0.2500)" in said
    assert abs(float(said.partition("turned by ")[2].partition("°")[0].replace("−", "-"))) < 1
    assert page.locator("#fit-pairs figure").count() == 2
    assert page.inner_text("#title") == "Si [110]"
    assert 'load_experiment("experiment")' in page.inner_text("#code")
    assert page.is_hidden("#microscope")


def test_read_out_by_pointer_and_keys(open_page):
    page = open_page()
    wait_for_exact(page)
    box = page.locator("#picture").bounding_box()
    page.mouse.move(box["x"] + 0.75 * box["width"], box["y"] + 0.5 * box["height"])
    page.wait_for_function("() => document.getElementById('readout').textContent.includes('mrad')")
    text = page.inner_text("#readout")
    assert "000" in text
    assert "Å⁻¹" in text
    assert "I = 0." in text
    page.focus("#picture")
    page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_function("() => document.getElementById('spoken').textContent.includes('mrad')")
    assert page.inner_text("#readout") != text
    page.check("#lines")
    page.wait_for_selector("#overlay .bragg", state="attached")
    page.check("[name=scale][value=log]", force=True)
    page.select_option("#colours", "viridis")
    page.wait_for_function(
        "() => { const d = document.getElementById('picture').getContext('2d').getImageData(0, 0, 1, 1).data;"
        " return d[0] !== d[1]; }"
    )


def test_cancel(open_page):
    page = open_page("#crystal=Mg2SiO4&zone=1,1,0&g=7&abs=thomas")
    page.wait_for_function("() => document.getElementById('status').textContent.startsWith('Finding')")
    page.click("#cancel")
    page.wait_for_function("() => document.getElementById('status').textContent === 'Cancelled.'")
    assert page.is_hidden("#progress")
    assert page.locator("#copy").is_disabled()
    page.select_option("#crystal", "Cu")
    page.wait_for_function("() => document.getElementById('title').textContent.startsWith('Cu')")
    page.wait_for_function("() => document.getElementById('badge').hidden === false")


def test_two_sessions_do_not_mix(open_page, tmp_path):
    one, two = open_page(), open_page("#crystal=Cu&kv=300&g=2&t=500&n=48&tmax=1000")
    wait_for_exact(one, "Si")
    wait_for_exact(two, "Cu")
    for page, name in ((one, "Si"), (two, "Cu")):
        assert f'named("{name}")' in page.inner_text("#code")
        np.testing.assert_allclose(pixels(page), as_grey(engine(page, tmp_path).values[0, 0]), atol=1.01)


def test_the_learned_picture_and_the_exact_one_beside_each_other(open_page):
    page = open_page(SILICON)
    wait_for_exact(page)
    ramp = np.linspace(0, 1, 16, dtype="<f4").repeat(16)
    header = {
        "kind": "pattern", "pixels": 16, "hkl": [[0, 0, 0]], "gx": [0], "gy": [0], "k_first": -1, "k_step": 0.125,
        "wavelength": 0.025, "beams": 99, "notes": [], "seconds": 0.01, "thicknesses": [300], "remarks": [],
    }  # fmt: skip
    said = {"python": "", "shell": "", "needs": ""}
    guess = pack({**header, "stage": "learned", "expected_z": [0.012]}, (ramp + ramp[::-1] ** 4).tobytes())
    series = {**header, "stage": "exact", "converged": True, "recipe": said, "thicknesses": [300, 310]}
    exact = pack(series, np.concatenate([ramp, ramp**2]).tobytes())
    further = pack({**header, "stage": "learned", "expected_z": [0.5], "thicknesses": [310]}, ramp.tobytes())
    answers = {300: [guess, guess + exact], 310: [further]}

    def answer(route):
        wanted = json.loads(route.request.post_data)["thickness"]
        route.fulfill(body=answers[wanted].pop(0), content_type="application/octet-stream")

    page.route("**/api/stream/*", answer)
    page.route("**/api/describe", lambda route: route.abort())
    page.click("#spot-2_2_0")
    wait_for_rest(page)
    assert page.get_attribute("#badge", "data-stage") == "learned"
    assert "expects Z ≈ 1.2 %" in page.inner_text("#badge")
    assert page.is_hidden("#models")
    page.click("#spot-0_0_0")
    wait_for_exact(page)
    z = float(lacbed.zncc_loss((ramp + ramp[::-1] ** 4).reshape(16, 16), ramp.reshape(16, 16)))
    assert f"Z = {100 * z:.2g} %" in page.inner_text("#models")
    page.locator("#models button", has_text="Difference").click()
    page.wait_for_function("() => document.getElementById('badge').textContent.includes('−')")
    page.fill("#thickness-number", "310")  # the learned picture of another thickness comes when it is looked at
    page.press("#thickness-number", "Enter")
    wait_for_rest(page)
    z = float(lacbed.zncc_loss(ramp.reshape(16, 16), (ramp**2).reshape(16, 16)))
    assert f"Z = {100 * z:.2g} %" in page.inner_text("#models")
    assert answers == {300: [], 310: []}


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
    page.fill("#voltage-number", "100")
    page.press("#voltage-number", "Enter")
    wait_for_request(page, waiting)
    page.click("#picture")  # the disc of 000, still at 200 kV
    assert page.get_attribute("#plate", "aria-busy") == "true"
    page.wait_for_function("() => document.getElementById('badge').hidden")
    assert page.locator("#copy").is_disabled()
    waiting.pop().continue_()
    wait_for_exact(page)
    assert "energy=100000" in page.inner_text("#code")


def test_a_thickness_beside_the_series_is_computed(held):
    page, hold, waiting = held
    hold("simulate")
    page.click("#spot-2_2_0")
    wait_for_request(page, waiting)
    page.fill("#thickness-number", "333")
    page.press("#thickness-number", "Enter")
    wait_for_exact(page)
    assert "thicknesses=[333]" in page.inner_text("#code")


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


@pytest.mark.parametrize("look", [{"width": 1440, "height": 900}, {"width": 390, "height": 844}])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_everything_has_a_name(open_page, look, scheme):
    page = open_page(viewport=look, color_scheme=scheme)
    wait_for_exact(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas[tabindex], [role=listbox]")]
          .filter((e) => e.checkVisibility() && !(e.labels?.length || e.getAttribute("aria-label")
            || e.getAttribute("aria-labelledby") || e.textContent.trim()))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    faint = page.evaluate(CONTRAST)
    assert faint == []


CONTRAST = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const light = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
    return "white";
  };
  return [...document.querySelectorAll("h1, h2, p, dt, dd, label, button, summary, small, option, select, pre")]
    .filter((e) => e.checkVisibility() && e.textContent.trim() && !e.disabled && !e.closest(".badge, .models"))
    .map((e) => [e, [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => b - a)])
    .filter(([e, [high, low]]) => (high + 0.05) / (low + 0.05) < 4.5)
    .map(([e, pair]) => [e.outerHTML.slice(0, 80), pair]);
}"""
