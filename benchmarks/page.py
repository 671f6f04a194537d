"""How long does one wait for the page, and does the map of directions keep up with the hand?

A server as users start it and a headless Chromium that draws without a graphics card, on Linux. Times are what the
page itself notes: every picture that it draws is written down with its moment, and waiting begins with the address
or the click.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from common import number, parser, publish, table

FIRST, FURTHER, COMPLETE, FRAMES = 1.5, 0.3, 5.0, 50.0
"""Goals: seconds to the first picture, to every further one, to a whole zone; frames in a second."""

GDFEO3 = """data_GdFeO3
_cell_length_a 5.349
_cell_length_b 5.611
_cell_length_c 7.669
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P b n m'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_B_iso_or_equiv
Gd 0.98443 0.06284 0.25 0.4
Fe 0 0.5 0 0.3
O1 0.1009 0.4669 0.25 0.5
O2 0.6957 0.3013 0.0506 0.5
"""
"""Marezio, Remeika & Dernier, Acta Cryst. B26 (1970) 2008; B assumed."""

PAGES: dict[str, tuple[str, str]] = {
    "as it opens (SrTiO3 [001])": ("#crystal=SrTiO3", ""),
    "GaAs [110]": ("#crystal=GaAs&zone=1,1,0", ""),
    "GdFeO3 [001]": ("#crystal=Si&n=16&t=200&tmax=200", GDFEO3),
}
"""Address, and a CIF that is dropped then."""

NOTE = """() => {
  window.drawn = [];
  for (const name of ["lacbedShown", "lacbedUnder"]) {
    let last;
    Object.defineProperty(window, name, {
      get: () => last,
      set: (now) => {
        last = now;
        if (now?.stage) window.drawn.push({ name, at: performance.now(), ...structuredClone(now) });
      },
    });
  }
}"""
"""Write down every picture: whose it is, how good, and when."""

REST = "() => document.getElementById('plate').ariaBusy === 'false'"
MINE = "!one.stale && one.at > (window.begun ?? 0) && (!window.dropped || one.of.cif)"
"""Which pictures count: those since the last click, and of the CIF once one was dropped."""

EXACT = f"() => window.drawn.some((one) => one.stage === 'exact' && {MINE})"
CLICK = """([selector, place]) => {
  window.begun = performance.now();
  const found = document.querySelectorAll(selector)[place];
  found.dispatchEvent(new MouseEvent("click", { bubbles: true }));
}"""
THICKNESS = """(value) => {
  const field = document.getElementById("thickness-number");
  window.begun = performance.now();
  field.value = value;
  field.dispatchEvent(new Event("change"));
}"""
DRAG = """(seconds) => new Promise((done) => {
  const canvas = document.getElementById("stereogram");
  const box = canvas.getBoundingClientRect();
  const send = (kind, x, y) => canvas.dispatchEvent(new PointerEvent(kind, {
    clientX: box.left + x * box.width, clientY: box.top + y * box.height,
    pointerId: 1, button: 0, bubbles: true }));
  canvas.setPointerCapture = () => {};
  send("pointerdown", 0.5, 0.5);
  const times = [];
  const step = (now) => {
    times.push(now);
    const turn = (now - times[0]) / 1000;
    if (turn < seconds) {
      send("pointermove", 0.5 + 0.2 * Math.sin(2 * turn), 0.5 + 0.2 * Math.sin(3 * turn));
      return requestAnimationFrame(step);
    }
    send("pointerup", 0.5, 0.5);
    return done(times.slice(1).map((t, i) => t - times[i]));
  };
  requestAnimationFrame(step);
})"""
"""Drag the map with one move of the pointer in every frame; milliseconds between frames."""


@contextmanager
def server() -> Iterator[tuple[str, int]]:
    """Address and process of `lacbed app`."""
    words = [sys.executable, "-c", "import sys; from lacbed.cli import main; sys.exit(main(sys.argv[1:]))"]
    with subprocess.Popen(
        [*words, "app", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[2].rstrip("/"), process.pid
        finally:
            process.terminate()


def descendants(pid: int) -> list[int]:
    """A process and all that it has started."""
    answer = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [pid, *(one for child in answer.split() for one in descendants(int(child)))]


def resident(pid: int) -> float:
    """GiB that a process and all that it has started hold, what they share counted once."""
    total = 0
    for one in descendants(pid):
        try:
            with open(f"/proc/{one}/smaps_rollup", encoding="ascii") as stream:
                total += sum(int(line.split()[1]) for line in stream if line.startswith("Pss:"))
        except OSError:
            continue  # it has just ended
    return total / 2**20


class Page:
    """One tab, and what it has drawn."""

    def __init__(self, browser: Any, address: str, place: str, **look: Any) -> None:
        self.tab = browser.new_context(viewport={"width": 1440, "height": 900}, **look).new_page()
        self.tab.set_default_timeout(600_000)
        self.tab.add_init_script(f"({NOTE})()")
        self.tab.goto(f"{address}/{place}")

    def drop(self, cif: str, voltage: int = 200) -> None:
        """Give the page a CIF, with the settings that it opens with, and begin to wait."""
        self.tab.wait_for_function(REST, polling=20)
        self.tab.evaluate("(hash) => { location.hash = hash; }", f"#crystal=Si&kv={voltage}")
        self.tab.wait_for_function(REST, polling=20)
        self.tab.evaluate("window.begun = performance.now(); window.dropped = true")
        self.tab.set_input_files("#cif", {"name": "a.cif", "mimeType": "text/plain", "buffer": cif.encode()})
        self.tab.wait_for_function(f"() => window.drawn.some((one) => {MINE})", polling=10)

    def rest(self) -> float:
        """Seconds from the beginning of the page, or the last click, until everything is there."""
        self.tab.wait_for_function(REST, polling=20)
        return float(self.tab.evaluate("(performance.now() - (window.begun ?? 0)) / 1000"))

    def wait_for_exact(self) -> float:
        """Seconds from the last click until the picture within the tolerance."""
        self.tab.wait_for_function(EXACT, polling=10)
        return self.seconds()["exact"]

    def seconds(self, name: str = "lacbedShown") -> dict[str, float]:
        """Seconds until the first picture of each quality since the last click, by the moment of drawing."""
        code = f"(name) => window.drawn.filter((one) => one.name === name && {MINE})"
        begun = self.tab.evaluate("window.begun ?? 0")
        found: dict[str, float] = {}
        for one in self.tab.evaluate(code, name):
            found.setdefault(one["stage"], (one["at"] - begun) / 1000)
        return found

    def click(self, selector: str, place: int = 0) -> None:
        """Click and note the moment."""
        self.tab.evaluate(CLICK, [selector, place])

    def close(self) -> None:
        """Close the tab and its session."""
        self.tab.context.close()


def first_pictures(browser: Any, address: str, repeats: int) -> list[tuple[str, ...]]:
    """The page as it opens: first picture, exact picture, everything."""
    rows = []
    for name, (place, cif) in PAGES.items():
        found = []
        for n in range(repeats):
            # Another voltage each time: what has been solved is kept.
            page = Page(browser, address, f"{place}&kv={200 + n}")
            if cif:
                page.drop(cif, 200 + n)
            whole = page.rest()
            stages = page.seconds()
            found.append((min(stages.values()), stages["exact"], whole))
            page.close()
        rows.append((name, *(number(median(column)) for column in zip(*found, strict=True))))
    return rows


def further_pictures(browser: Any, address: str) -> list[tuple[str, ...]]:
    """Reflections and thicknesses: how many, median and longest wait.

    A thickness is asked for when the page is at rest, and another one as soon as it is there, while the page is at
    its other reflections.
    """
    rows = []
    for name, (place, cif) in PAGES.items():
        page = Page(browser, address, place)
        if cif:
            page.drop(cif)
        page.rest()
        count = page.tab.evaluate("document.querySelectorAll('.spot').length")
        waits: dict[str, list[float]] = {"reflection": [], "thickness off the series": [], "another at once": []}
        for spot in range(1, min(count, 13)):
            page.click(".spot", spot)
            waits["reflection"].append(page.wait_for_exact())
        for thickness in (333.3, 1234.5, 871.0, 57.0, 1999.0):
            page.rest()
            page.tab.evaluate(THICKNESS, str(thickness))
            waits["thickness off the series"].append(page.wait_for_exact())
            page.tab.evaluate(THICKNESS, str(thickness - 3.7))
            waits["another at once"].append(page.wait_for_exact())
        page.close()
        rows += [
            (name, kind, str(len(some)), number(median(some)), number(max(some))) for kind, some in waits.items()
        ]
    return rows


def tilting(browser: Any, address: str) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Frames in a second while the map is dragged, and the wait for the patterns of other zone axes."""
    frames, ladder = [], []
    for name in ("Si", "SrTiO3", "Al2O3"):
        page = Page(browser, address, f"#crystal={name}&view=tilt")
        page.tab.wait_for_selector("#tilt-poles button")
        page.rest()
        for _ in range(2):  # the first time patterns are computed on the way
            gaps = sorted(page.tab.evaluate(DRAG, 4))
            page.rest()
        rate = 1000 * len(gaps) / sum(gaps)
        frames.append((name, f"{rate:.0f}", f"{gaps[len(gaps) // 2]:.1f}", f"{gaps[int(0.95 * len(gaps))]:.1f}"))
        page.click("#tilt-reset")
        page.rest()
        for place in (1, 2, 3):
            pole = page.tab.locator("#tilt-poles button").nth(place).inner_text().split("]")[0] + "]"
            page.click("#tilt-poles button", place)
            whole = page.rest()
            stages = page.seconds("lacbedUnder")
            waits = (f"{stages[key]:.2f}" if key in stages else "-" for key in ("preview", "coarse", "exact"))
            ladder.append((f"{name} {pole}", *waits, number(whole)))
        page.close()
    return frames, ladder


def together(browser: Any, address: str, pid: int, count: int) -> str:
    """Many sessions at once, each with a crystal of its own: all get their patterns, in bounded memory."""
    names = ("Si", "Cu", "NaCl", "W", "MgO", "Al", "Ge", "GaAs", "Fe", "Au")
    begun, before = time.perf_counter(), resident(pid)
    tabs = [
        # Nobody looks at thirty tabs: what moves while a page waits is not painted.
        Page(browser, address, f"#crystal={names[i % 10]}&kv={100 + 10 * (i // 10)}", reduced_motion="reduce")
        for i in range(count)
    ]
    most, firsts, wholes, words = before, [], [], []
    waiting = list(tabs)
    while waiting:
        most = max(most, resident(pid))
        for page in list(waiting):
            if page.tab.evaluate(REST):
                wholes.append(time.perf_counter() - begun)
                stages = page.seconds()
                firsts.append(min(stages.values(), default=float("inf")))
                if "exact" not in stages:
                    words.append(page.tab.inner_text("#status"))
                waiting.remove(page)
        time.sleep(0.2)
    for page in tabs:
        page.close()
    said = f"; without a whole answer: {len(words)} ({'; '.join(sorted(set(words)))})" if words else ""
    return (
        f"{count} sessions opened one after another with full computations: first picture after "
        f"{number(median(firsts))} s in the median and {number(max(firsts))} s at most, all complete after "
        f"{number(max(wholes))} s; the server and its workers held {before:.1f} GiB before and {most:.1f} GiB at "
        f"most{said}."
    )


def main() -> None:
    """Run all parts, print the tables."""
    arguments = parser(__doc__)
    arguments.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome"))
    arguments.add_argument("--sessions", type=int, default=30)
    options = arguments.parse_args()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver, server() as (address, pid):
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = driver.chromium.launch(executable_path=options.browser, args=flags)
        Page(browser, address, "").rest()
        parts = [
            f"Goals: first picture {FIRST} s, further reflections and thicknesses {FURTHER} s, GaAs [110] and "
            f"GdFeO3 complete {COMPLETE:g} s, {FRAMES:g} frames a second.",
        ]

        def tell(*lines: str) -> None:
            print(*lines, sep="\n\n", file=sys.stderr, flush=True)
            parts.extend(lines)

        tell(
            "Seconds from the address to the first picture, to the one within the tolerance, and until all "
            "thicknesses of the series and all reflections are there.",
            table(
                ("page", "first / s", "exact / s", "complete / s"),
                first_pictures(browser, address, options.repeats),
            ),
        )
        tell(
            "Seconds from a click to the picture within the tolerance, once the page is complete: reflections one "
            "after another, thicknesses on a page at rest, and others as soon as those are there.",
            table(("page", "what", "count", "median / s", "longest / s"), further_pictures(browser, address)),
        )
        frames, ladder = tilting(browser, address)
        tell(
            "The map of directions dragged for four seconds, one move in every frame, with first pictures of the "
            "zone axes on the way beside it.",
            table(("crystal", "frames a second", "median gap / ms", "p95 / ms"), frames),
            "Seconds from the click on a zone axis until its pattern is there as a preview, within 1e-2, and "
            "within the tolerance.",
            table(("zone axis", "preview", "1e-2", "tolerance", "all at rest"), ladder),
        )
        if options.sessions:
            tell(together(browser, address, pid, options.sessions))
        browser.close()
    publish("The page", parts, options)


if __name__ == "__main__":
    main()
