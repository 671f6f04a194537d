"""What the tests in a browser ask of the page."""

import json
import os

import numpy as np

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SILICON = "#crystal=Si&g=2&t=300&n=24&tmax=1000"
POLLING = 50
"""Milliseconds between two looks at the page; by default it is looked at, and so painted, at every frame."""


def wait_for_rest(page):
    """Wait until nothing is computed, described, previewed or still to be painted."""
    page.wait_for_function("() => document.getElementById('plate').ariaBusy === 'false'", polling=POLLING)


def wait_for_exact(page, title=None):
    """Wait until the page is at rest and shows a picture within the tolerance, which is what is asked for."""
    page.wait_for_function(
        """(title) => {
          const badge = document.getElementById("badge");
          return document.getElementById("plate").ariaBusy === "false"
            && !badge.hidden && badge.dataset.stage === "exact" && !document.getElementById("copy").disabled
            && (!title || document.getElementById("title").textContent.startsWith(title));
        }""",
        arg=title,
        polling=POLLING,
    )


def choose_crystal(page, text):
    """Type into the list of crystals and take the first that is found."""
    page.fill("#crystal", text)
    page.press("#crystal", "Enter")


def type_in(page, field, text):
    """Fill a field and press Enter."""
    page.fill(field, text)
    page.press(field, "Enter")


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
    """The grey levels that belong to intensities, by the rule of the page, which has them in single precision."""
    image = image.astype(np.float32)
    ordered = np.sort(image.ravel())
    low, high = (ordered[int(np.floor(p * (len(ordered) - 1) + 0.5))] for p in (0.001, 0.999))
    return np.clip((image - low) * 255 / (high - low), 0, 255)


def png_text(path):
    """The text that the page put into a picture."""
    content = path.read_bytes()
    start = content.index(b"iTXtDescription") + len(b"iTXtDescription") + 5
    size = int.from_bytes(content[content.index(b"iTXtDescription") - 4 :][:4], "big")
    return json.loads(content[start : start + size - len(b"Description") - 5])
