"""Random actions: whatever is done, a picture and a file carry the label that is their own."""

import os
import random

import numpy as np
import pytest
from browser_helpers import as_grey, choose_crystal, pixels, type_in, wait_for_rest

import lacbed

pytestmark = pytest.mark.browser

ACTIONS, SEED = (int(n) for n in (*os.environ.get("LACBED_MONKEY", "14").split(","), "21")[:2])
"""Set it to 500 for the long test, or to 500,1 for other actions."""

START = "#crystal=Si&g=1&n=16&t=200&tmax=200"


def actions(page, chance):
    """What can be done, each by a word."""
    return {
        "crystal": lambda: choose_crystal(page, chance.choice(["Si", "Cu", "NaCl", "W", "Nonsense"])),
        "bad CIF": lambda: page.set_input_files(
            "#cif", {"name": "b.cif", "mimeType": "text/plain", "buffer": b"data_"}
        ),
        "zone": lambda: type_in(page, "#zone", chance.choice(["0 0 1", "1-10", "1 1 1", "9 9", "2 0 0"])),
        "voltage": lambda: type_in(page, "#voltage-number", chance.choice(["100", "300", "2,5", "80,5"])),
        "thickness": lambda: type_where_shown(page, chance.choice(["100", "120", "33", "-1"])),
        "reflection": lambda: page.evaluate(PICK, chance.random()),
        "drag": lambda: page.evaluate(DRAG, chance.choice([50, 90, 150])),
        "view": lambda: page.click(chance.choice(["#tab-pattern", "#tab-discs", "#tab-pattern", "#tab-tilt"])),
        "pole": lambda: page.evaluate(POLE, chance.random()),
        "tilt": lambda: page.evaluate(TILT, chance.choice(["ArrowUp", "ArrowLeft", "0"])),
        "keep": lambda: click_if_shown(page, "keep"),
        "drop": lambda: click_if_shown(page, "kept-drop"),
        "compare": lambda: click_if_shown(page, "swipe", "difference", chance=chance),
        "cbed": lambda: click_if_shown(page, "true-size"),
        "undo": lambda: click_if_shown(page, chance.choice(["undo", "undo", "redo"])),
        "colours": lambda: (
            page.is_visible("#colours") and page.select_option("#colours", chance.choice(["gray", "viridis"]))
        ),
        "cancel": lambda: page.evaluate("document.getElementById('cancel').click()"),
        "wait": lambda: wait_for_rest(page),
    }


def type_where_shown(page, text):
    """Type a thickness, where there is one to type."""
    if page.is_visible("#thickness-number"):
        type_in(page, "#thickness-number", text)


def click_if_shown(page, *names, chance=None):
    """Click a button if it can be clicked, or one of the ways to compare if it is shown."""
    if chance is not None:
        value = chance.choice(names)
        if page.is_visible("#compare"):
            page.check(f"[name=compare][value={value}]", force=True)
    elif page.is_visible(f"#{names[0]}") and page.is_enabled(f"#{names[0]}"):
        page.click(f"#{names[0]}")


POLE = """(share) => {
  const poles = [...document.querySelectorAll("#tilt-poles button:not(:disabled)")];
  if (!document.getElementById("tilt").hidden) poles[Math.floor(share * poles.length)]?.click();
}"""
PICK = """(share) => {
  const spots = [...document.querySelectorAll(".spot")];
  spots[Math.floor(share * spots.length)]?.dispatchEvent(new MouseEvent("click", { bubbles: true }));
}"""
TILT = """(key) => {
  const map = document.getElementById("stereogram");
  map.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey: true }));
}"""
DRAG = """(thickness) => {
  const slider = document.getElementById("thickness");
  slider.value = thickness;
  slider.dispatchEvent(new Event("input"));
  slider.dispatchEvent(new Event("change"));
}"""
LABELS = """() => new Promise((painted) => requestAnimationFrame(painted)).then(() => {
  const text = (id) => document.getElementById(id).textContent;
  const shown = window.lacbedShown;
  return {
    title: text("title"), text: text("subtitle"), tab: document.title, shown,
    under: window.lacbedUnder, underTitle: text("under-title"), underText: text("under-note"),
    badge: text("under-badge"),
    aria: document.getElementById("picture").getAttribute("aria-label"),
    view: document.querySelector(".stage-head [aria-selected=true]").id.slice(4),
  };
})"""
"""What stands on the screen after the next frame, in which everything that was changed is drawn at once."""


def check_labels(found):
    """Title, subtitle, label for screen readers and tab say what the picture was computed for."""
    shown = found["shown"]
    if not shown or not shown.get("of"):
        return
    of = shown["of"]
    assert found["title"].startswith(of["name"].replace("SrTiO3", "SrTiO₃")), found
    assert "".join(map(str, map(abs, of["zone_axis"]))) in found["title"].replace("\u0305", ""), found
    assert f"{of['voltage']:g} kV" in found["text"], found
    assert found["tab"].startswith(of["name"]), found
    if found["view"] == "tilt":
        check_under(found)
        return
    assert f", {round(shown['thickness'], 2):g} Å" in found["text"], found
    if other := shown.get("against") or shown.get("beside"):
        label = found["text"].partition("A: ")[2]
        assert label.startswith(other["of"]["name"]), found
        assert f"{other['of']['voltage']:g} kV" in label, found
        assert f", {round(other['thickness'], 2):g} Å" in label, found
    if found["view"] == "pattern":
        assert "".join(map(str, map(abs, shown["hkl"]))) in found["text"].replace("\u0305", ""), found
        assert found["title"] in found["aria"], found
        assert found["text"] in found["aria"], found


def check_under(found):
    """The pattern beside the stereogram says what it is and how far it is right."""
    under = found["under"]
    if not under:
        return
    of = under["of"]
    assert found["underTitle"].startswith(of["name"]), found
    assert "".join(map(str, map(abs, of["zone_axis"]))) in found["underTitle"].replace("\u0305", ""), found
    assert f"{of['voltage']:g} kV, {round(under['thickness'], 2):g} Å" in found["underText"], found
    words = {"preview": "Preview", "coarse": "Half", "exact": "Computed", "learned": "Learned"}
    assert found["badge"].startswith("Not " if under["stale"] else words[under["stage"]]), found


def check_file(page):
    """The numbers that are downloaded are those of the picture, and say the same of themselves as the page."""
    button = page.locator('[data-format=".nc"]')
    if not button.is_visible() or button.is_disabled():
        return
    found = page.evaluate(LABELS)
    with page.expect_download() as waiting:
        page.click('[data-format=".nc"]')
    path = waiting.value.path()
    named = path.with_name(f"{path.name}.nc")
    path.rename(named)
    pattern = lacbed.load_pattern(named)
    of = found["shown"]["of"]
    assert waiting.value.suggested_filename == f"{of['name']}.nc"
    assert pattern.attrs["crystal"] == of["name"]
    assert list(pattern.attrs["zone_axis"]) == of["zone_axis"]
    assert pattern.attrs["energy"] == pytest.approx(1e3 * of["voltage"])
    assert pattern["thickness"].values == pytest.approx([found["shown"]["thickness"]])
    check_labels(found)
    if found["view"] == "pattern":
        assert pattern["hkl"].values.tolist() == [",".join(map(str, found["shown"]["hkl"]))]
        is_plain = not (found["shown"].get("against") or found["shown"].get("beside") or found["shown"]["stale"])
        if page.input_value("#colours") == "gray" and is_plain:
            image = pattern.values[0, 0]
            if np.ptp(image) > 1e-6:
                np.testing.assert_allclose(pixels(page), as_grey(image), atol=1.01)


def test_random_actions_never_mislabel_anything(open_page):
    chance = random.Random(SEED)
    page = open_page(START)
    wait_for_rest(page)
    page.set_default_timeout(60_000)
    done = []
    possible = actions(page, chance)
    for step in range(ACTIONS):
        word = chance.choice(list(possible))
        done.append(word)
        possible[word]()
        check_labels(page.evaluate(LABELS))
        if step % 7 == 6:
            wait_for_rest(page)
            check_file(page)
    print(" ".join(done))
