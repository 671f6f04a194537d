"""The drawings of the site: `PYTHONPATH=docs python -m lacbed_docs.drawings` writes them into docs/images."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "images"
INK, QUIET, ACCENT, BLUE, PALE = "#1c2230", "#8a92a3", "#d2571e", "#2a62a8", "#eef2f7"
STYLE = 'font-family="Helvetica, Arial, sans-serif"'


class Drawing:
    """SVG shapes in the order in which they are drawn."""

    def __init__(self, width: float, height: float) -> None:
        self.size = (width, height)
        self.parts: list[str] = []

    def line(
        self,
        *points: tuple[float, float],
        colour: str = INK,
        width: float = 1.6,
        arrow: bool = False,
        dash: str = "",
    ) -> None:
        """A line through points, with a head at its end if asked."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        tail = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}"{tail}/>'
        )
        if arrow:
            (x0, y0), (x1, y1) = points[-2:]
            angle = math.atan2(y1 - y0, x1 - x0)
            wings = [(x1 - 9 * math.cos(angle + s), y1 - 9 * math.sin(angle + s)) for s in (0.4, -0.4)]
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in [(x1, y1), *wings])
            self.parts.append(f'<polygon points="{corners}" fill="{colour}"/>')

    def circle(
        self, x: float, y: float, r: float, fill: str = "none", stroke: str = INK, opacity: float = 1.0
    ) -> None:
        """A circle."""
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="{fill}" stroke="{stroke}" fill-opacity="{opacity}"/>'
        )

    def box(self, x: float, y: float, w: float, h: float, fill: str = PALE, stroke: str = QUIET) -> None:
        """A rectangle with round corners."""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="5" fill="{fill}" stroke="{stroke}"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = 14,
        colour: str = INK,
        anchor: str = "start",
        bold: bool = False,
    ) -> None:
        """Words."""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"{weight} {STYLE}>'
            f"{escape(words)}</text>"
        )

    def save(self, name: str) -> None:
        """Write it."""
        width, height = self.size
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">'
        body = "\n".join(self.parts)
        (FOLDER / f"{name}.svg").write_text(f"{head}\n{body}\n</svg>\n", encoding="utf-8")


def geometry() -> Drawing:
    """Beam, foil, tilt and diffracted beam."""
    d = Drawing(560, 330)
    d.box(90, 130, 300, 56)
    for i in range(12):
        for j in range(2):
            d.circle(104 + 25 * i, 146 + 25 * j, 3.2, fill=QUIET, stroke="none")
    d.text(400, 163, "foil, thickness t", colour=QUIET)
    d.line((240, 20), (240, 128), colour=QUIET, dash="5 4")
    d.line((180, 26), (238, 128), colour=BLUE, width=2.2, arrow=True)
    d.text(128, 60, "incident k", colour=BLUE)
    d.line((180, 26), (240, 26), colour=ACCENT, arrow=False)
    d.text(188, 18, "(kx, ky)", colour=ACCENT, size=13)
    d.line((240, 186), (300, 292), colour=BLUE, width=2.2, arrow=True)
    d.text(306, 300, "000: k", colour=BLUE)
    d.line((240, 186), (392, 268), colour=ACCENT, width=2.2, arrow=True)
    d.text(398, 274, "k + g, its share is I of g", colour=ACCENT)
    d.line((480, 40), (480, 100), arrow=True)
    d.text(488, 98, "z = [uvw]")
    d.line((480, 40), (540, 40), arrow=True)
    d.text(528, 32, "x")
    d.circle(480, 40, 6, fill="#fff")
    d.circle(480, 40, 2, fill=INK)
    d.text(456, 34, "y")
    d.text(90, 320, "y = z × x points out of the page", colour=QUIET, size=12)
    return d


def lacbed() -> Drawing:
    """Discs of CBED and of LACBED."""
    d = Drawing(560, 230)
    d.text(10, 22, "CBED: small discs in one image", bold=True)
    for i, name in zip((-1, 0, 1), ("-g", "000", "g"), strict=True):
        d.circle(130 + 62 * i, 110, 27, fill=PALE)
        d.circle(130 + 62 * i, 110, 60, stroke=QUIET)
        d.text(130 + 62 * i, 114, name, size=13, anchor="middle")
    d.text(10, 205, "larger ones would overlap", colour=QUIET, size=12)
    d.text(275, 22, "LACBED: one image for each reflection", bold=True)
    for i, name in enumerate(("-g", "000", "g")):
        x = 275 + 96 * i
        d.box(x, 62, 88, 88)
        for s in ((12,), (-12, 12), (-12,))[i]:
            d.line((x + 44 + s, 64), (x + 44 + s, 148), colour=BLUE, width=1.1)
        d.line((x + 2, 106), (x + 86, 106), colour=QUIET, width=0.8, dash="3 3")
        d.line((x + 44, 64), (x + 44, 148), colour=QUIET, width=0.8, dash="3 3")
        d.text(x + 44, 56, name, size=13, anchor="middle")
    d.text(275, 172, "kx →   ky ↑   many times the Bragg angle", colour=QUIET, size=12)
    d.text(275, 190, "lines where a Bragg condition is met", colour=BLUE, size=12)
    return d


def zones() -> Drawing:
    """Tilts folded into the first Brillouin zone."""
    d = Drawing(420, 330)
    cell, x0, y0 = 60, 40, 30
    for i in range(4):
        for j in range(4):
            first = (i, j) == (1, 2)
            d.parts.append(
                f'<rect x="{x0 + cell * i}" y="{y0 + cell * j}" width="{cell}" height="{cell}" '
                f'fill="{"#ffe6d6" if first else "#fff"}" stroke="{QUIET}"/>'
            )
    for i in range(4):
        for j in range(4):
            d.circle(x0 + cell * (i + 0.72), y0 + cell * (j + 0.3), 4.5, fill=ACCENT if (i, j) == (1, 2) else BLUE)
    d.line(
        (x0 + cell * 3.72, y0 + cell * 0.3),
        (x0 + cell * 1.83, y0 + cell * 2.22),
        colour=INK,
        arrow=True,
        dash="4 3",
    )
    d.text(300, 60, "k = q + G", colour=BLUE)
    d.text(296, 190, "one q, one", colour=ACCENT)
    d.text(296, 208, "diagonalisation", colour=ACCENT)
    d.text(40, 300, "first Brillouin zone in colour; 16 tilts, 1 matrix", colour=QUIET, size=13)
    return d


def architecture() -> Drawing:
    """The path of a crystal through the folders."""
    d = Drawing(760, 330)

    def room(x: float, y: float, name: str, where: str, w: float = 118, fill: str = PALE) -> None:
        d.box(x, y, w, 50, fill=fill)
        d.text(x + w / 2, y + 22, name, anchor="middle", bold=True)
        d.text(x + w / 2, y + 40, where, anchor="middle", size=11, colour=QUIET)

    chain = (
        ("crystal", "crystals/"),
        ("potential", "scattering/"),
        ("beams", "geometry/, beams"),
        ("solver", "solvers/"),
        ("pattern", "patterns/"),
    )
    for i, (name, where) in enumerate(chain):
        room(10 + 150 * i, 60, name, where, fill="#ffe6d6" if name == "pattern" else PALE)
        if i:
            d.line((-22 + 150 * i, 85), (9 + 150 * i, 85), arrow=True)
    d.text(10, 40, "simulation.py: the recipe on one screen", colour=ACCENT)
    room(10, 160, "catalogue", "catalog/")
    d.line((69, 160), (69, 111), arrow=True, colour=QUIET)
    room(310, 160, "data set", "datasets/")
    d.line((128, 185), (309, 185), arrow=True, colour=QUIET)
    room(310, 250, "model", "learn/")
    d.line((369, 210), (369, 249), arrow=True, colour=QUIET)
    d.line((428, 275), (626, 275), (626, 111), arrow=True, colour=QUIET)
    d.box(490, 160, 130, 78, fill=PALE)
    d.text(555, 181, "crystal from data", anchor="middle", bold=True)
    for i, where in enumerate(("experiment/,", "refinement/, retrieval/,", "identification/")):
        d.text(555, 198 + 15 * i, where, anchor="middle", size=11, colour=QUIET)
    d.line((560, 160), (560, 136), (617, 136), (617, 111), arrow=True, colour=QUIET)
    d.line((490, 195), (455, 232), (160, 232), (95, 111), arrow=True, colour=ACCENT, dash="5 4")
    d.text(165, 226, "gradients: from pattern to crystal", size=12, colour=ACCENT)
    room(632, 160, "figures, files", "patterns/, cli/, app/", w=124)
    d.line((720, 111), (720, 159), arrow=True, colour=QUIET)
    d.text(
        10,
        318,
        "Imports run from right to left only. Engine, model and experiment all give the same kind of pattern.",
        size=12,
        colour=QUIET,
    )
    return d


DRAWINGS = {"geometry": geometry, "lacbed": lacbed, "zones": zones, "architecture": architecture}


def main() -> None:
    """Write all drawings."""
    for name, draw in DRAWINGS.items():
        draw().save(name)


if __name__ == "__main__":
    main()
