"""What is kept and taken along, in a real headless Chromium: figures, sessions, undo."""

import io
import json
import zipfile

import pytest
from browser_helpers import choose_crystal, type_in, wait_for_exact, wait_for_rest

import lacbed

pytestmark = pytest.mark.browser


def test_a_figure_is_composed(open_page):
    page = open_page("#crystal=SrTiO3&g=1&n=16&t=300&tmax=300")
    wait_for_exact(page)
    page.click("#figure-open")
    page.select_option("#figure-what", "thicknesses")
    page.select_option("#figure-count", "3")
    assert page.inner_text("#figure-note").startswith("3 panels: 000; ")
    page.click("#figure-make")
    page.wait_for_selector("#figure-caption-row:not([hidden])")
    caption = page.inner_text("#figure-caption")
    assert "SrTiO₃ along [001] at 200 kV" in caption
    assert "300 Å" in caption
    with page.expect_download() as waiting:
        page.click("#figure-save")
    assert waiting.value.suggested_filename == "SrTiO3-figure.svg"
    assert caption.partition(";")[0] in waiting.value.path().read_text("utf-8")
    page.select_option("#figure-what", "reflections")
    page.check("[name=figure-format][value='.pdf']", force=True)
    assert page.is_hidden("#figure-caption-row")  # the caption of another figure is not left standing
    page.click("#figure-make")
    page.wait_for_selector("#figure-caption-row:not([hidden])")
    with page.expect_download() as waiting:
        page.click("#figure-save")
    assert waiting.value.path().read_bytes().startswith(b"%PDF")


def test_a_session_opens_everything_again(open_page, tmp_path):
    page = open_page("#crystal=Si&g=1&n=16&t=300&tmax=300")
    wait_for_exact(page)
    cif = lacbed.Crystal.named("Cu").to_cif()
    page.set_input_files("#cif", {"name": "my copper.cif", "mimeType": "text/plain", "buffer": cif.encode()})
    wait_for_exact(page, "my copper")
    page.select_option("#colours", "viridis")
    page.select_option("#unit", "degree")
    with page.expect_download() as waiting:
        page.click("#save-session")
    assert waiting.value.suggested_filename == "my_copper.lacbed"
    kept = tmp_path / "my_copper.lacbed"
    waiting.value.save_as(kept)
    with zipfile.ZipFile(kept) as archive:
        assert {"session.json", "crystal.cif", "pattern.nc", "commands.py"} <= set(archive.namelist())
        assert json.loads(archive.read("session.json"))["view"]["thickness"] == 300
        (tmp_path / "pattern.nc").write_bytes(archive.read("pattern.nc"))
    assert lacbed.load_pattern(tmp_path / "pattern.nc").attrs["crystal"] == "my copper"
    other = open_page("#crystal=Si&g=1&n=16&t=100&tmax=100")
    wait_for_exact(other)
    other.set_input_files("#session", kept)
    wait_for_exact(other, "my copper")
    assert other.input_value("#colours") == "viridis"
    assert other.input_value("#unit") == "degree"
    assert "300 Å" in other.inner_text("#subtitle")
    before = other.inner_text("#title")
    broken = io.BytesIO()
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("evil.pkl", b"")
    other.set_input_files("#session", {"name": "b.lacbed", "mimeType": "", "buffer": broken.getvalue()})
    other.wait_for_selector("#error:not([hidden])")
    assert "b.lacbed is not opened: the session holds 'evil.pkl'" in other.inner_text("#error")
    assert other.inner_text("#title") == before


def test_settings_are_undone_and_done_again(open_page):
    page = open_page("#crystal=Si&g=1&n=16&t=100&tmax=100")
    wait_for_exact(page)
    assert page.is_disabled("#undo")
    type_in(page, "#extent-number", "0.5")
    wait_for_exact(page)
    cif = lacbed.Crystal.named("Cu").to_cif()
    page.set_input_files("#cif", {"name": "mine.cif", "mimeType": "text/plain", "buffer": cif.encode()})
    wait_for_exact(page, "mine")
    choose_crystal(page, "copper")
    wait_for_exact(page, "Cu")
    page.click("#undo")
    wait_for_exact(page, "mine")
    page.focus("#picture")
    page.keyboard.press("Control+z")
    wait_for_exact(page, "Si")
    assert page.input_value("#extent-number") == "0.5"
    page.keyboard.press("Control+z")
    wait_for_rest(page)
    assert page.input_value("#extent-number") == "1"
    assert page.is_disabled("#undo")
    for _ in range(3):
        page.click("#redo")
    wait_for_exact(page, "Cu")
    assert page.is_disabled("#redo")


KEPT = """async ([name, keep]) => {
  const { shown } = await import("/static/state.js");
  const { keepWork, takeWork } = await import("/static/tabstore.js");
  if (keep) {
    shown.files = [new File(["x"], name)];
    await keepWork();
  }
  shown.files = null;
  await takeWork();
  return [shown.files?.[0].name, sessionStorage.getItem("lacbed-tab")];
}"""


@pytest.mark.parametrize("locks", [True, False])
def test_a_tab_that_is_duplicated_has_its_own_work(open_page, locks):
    page = open_page("#crystal=Si&g=1&n=16&view=fit")  # which computes nothing
    if not locks:  # as in a page of another machine without encryption
        page.context.add_init_script("Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })")
        page.reload()
    wait_for_rest(page)
    first, name = page.evaluate(KEPT, ["first.nc", True])
    assert first == "first.nc"
    with page.context.expect_page() as waiting:
        page.evaluate("() => { window.open(location.href) }")  # with a copy of what is stored for the session
    other = waiting.value
    wait_for_rest(other)
    copied, other_name = other.evaluate(KEPT, ["", False])
    assert copied == "first.nc"
    assert other_name != name
    other.evaluate(KEPT, ["second.nc", True])
    for tab, files in ((page, "first.nc"), (other, "second.nc")):
        before = tab.evaluate("sessionStorage.getItem('lacbed-tab')")
        tab.reload()
        wait_for_rest(tab)
        assert tab.evaluate(KEPT, ["", False]) == [files, before]
