"""The notebooks, from cells written here: `PYTHONPATH=docs python -m lacbed_docs.notebooks` writes them into docs/notebooks.

Text begins with "# "; everything else is code. Tutorials that are also notebooks are made from their pages.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "notebooks"

FIRST_PATTERN = (
    "# A first pattern\n\nA crystal, its projected potential, a LACBED pattern, and a file.",
    """import matplotlib.pyplot as plt

import lacbed

crystal = lacbed.Crystal.named("SrTiO3")
crystal.formula, crystal.space_group, crystal.cell""",
    "# The potential seen by the electrons\n\nOne unit cell, projected along the beam.",
    """potential = lacbed.projected_potential(crystal, pixels=64)
plt.imshow(potential, origin="lower", cmap="magma")
plt.title(f"{potential.attrs['mean_inner_potential']:.1f} V mean inner potential");""",
    "# The pattern\n\nFive thicknesses cost no more than one.",
    """pattern = lacbed.simulate(
    crystal,
    thicknesses=[100, 200, 300, 400, 500],
    hkl=[(0, 0, 0), (2, 0, 0)],
    grid=lacbed.TiltGrid(pixels=48, extent=2),
    beams=101,
)
pattern""",
    """figure, axes = plt.subplots(2, 5, figsize=(12, 5))
for row, hkl in zip(axes, pattern.hkl.values):
    for axis, t in zip(row, pattern.thickness.values):
        axis.imshow(pattern.sel(hkl=hkl, thickness=t), origin="lower", cmap="gray")
        axis.set_title(f"{hkl}  {t:g} Å", fontsize=9)
        axis.set_axis_off()""",
    "# Save it\n\nThe file holds everything needed to reproduce the pattern.",
    """from tempfile import TemporaryDirectory

with TemporaryDirectory() as folder:
    path = lacbed.save_pattern(pattern, f"{folder}/pattern.nc")
    again = lacbed.load_pattern(path)
again.attrs["notes"]""",
)

CONVERGENCE = (
    "# How many beams are enough?\n\n`lacbed.convergence` increases their number until the pattern stops changing.",
    """import matplotlib.pyplot as plt

import lacbed

grid = lacbed.TiltGrid(pixels=12, extent=2)
reports = {
    name: lacbed.convergence(lacbed.Crystal.named(name), thicknesses=[200], grid=grid, max_beams=500)
    for name in ("Si", "SrTiO3")
}
for name, report in reports.items():
    print(name, report.summary)""",
    """for name, report in reports.items():
    beams = [step.beams for step in report.steps[:-1]]
    plt.loglog(beams, [100 * step.z for step in report.steps[:-1]], "o-", label=name)
plt.axhline(0.1, color="gray", ls="--")
plt.xlabel("beams")
plt.ylabel("Z compared with 1.5 times as many (%)")
plt.legend();""",
    "# Heavier atoms need more\n\nThe dashed line is the limit of convergence. What is enough for silicon is not enough for strontium titanate.",
)

INSIDE_Z = (
    "# What Z is sensitive to\n\nZ = 1 - (zero-mean normalised cross-correlation).",
    """import lacbed

crystal = lacbed.Crystal.named("GaAs")
settings = {"grid": lacbed.TiltGrid(pixels=32, extent=2), "beams": 61}
pattern = lacbed.simulate(crystal, thicknesses=[400, 410, 450], **settings)
image = pattern.values[0, 0]""",
    "# Scale and offset do not matter",
    """print("scaled and shifted:", float(lacbed.zncc_loss(3 * image + 0.1, image)))
print("inverted:", float(lacbed.zncc_loss(-image, image)))""",
    "# A small change of thickness does",
    """for t, other in zip(pattern.thickness.values, pattern.values[:, 0]):
    z, change = float(lacbed.zncc_loss(other, image)), float(lacbed.max_difference(other, image))
    print(f"{t:g} Å: Z = {100 * z:6.2f} %, max |ΔI| = {change:.3f}")""",
    "# The overall level of absorption does not matter, only the change of shape",
    """absorbing = lacbed.simulate(crystal, thicknesses=[400], absorption=("proportional", 10.0), **settings).values[0, 0]
print("mean intensity:", round(float(image.mean()), 3), "and", round(float(absorbing.mean()), 3))
print(f"Z = {100 * float(lacbed.zncc_loss(absorbing, image)):.2f} %")""",
)


class Text(str):
    """A cell of text, whatever it begins with."""


_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)


def cells_of(page: str) -> tuple[str, ...]:
    """The text and code of a page in a folder of docs; lines of a shell begin with "!"."""
    cells: list[str] = []
    end = 0
    for block in (*_BLOCK.finditer(page), None):
        text = page[end : block.start() if block else None].strip()
        if text:
            cells.append(Text(text))
        if block is None:
            return tuple(cells)
        code = block[2].rstrip("\n")
        shell = block[1] == "sh"
        cells.append("\n".join(f"!{line}" for line in code.splitlines()) if shell else code)
        end = block.end()
    raise AssertionError


PAGES = {"benchmark": "tutorials/benchmark.md"}
"""Notebooks that are made from pages; the code of the pages is tested there."""

NOTEBOOKS = {
    **{name: cells_of((FOLDER.parent / page).read_text(encoding="utf-8")) for name, page in PAGES.items()},
    "first-pattern": FIRST_PATTERN,
    "convergence": CONVERGENCE,
    "inside-z": INSIDE_Z,
}


def notebook(cells: tuple[str, ...]) -> str:
    """Cells as the text of a notebook, without output."""
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    made = [
        (new_markdown_cell if isinstance(text, Text) or text.startswith("# ") else new_code_cell)(
            str(text), id=f"cell-{i}"
        )
        for i, text in enumerate(cells)
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.writes(new_notebook(cells=made, metadata=metadata)) + "\n"


def main() -> None:
    """Write all notebooks."""
    FOLDER.mkdir(exist_ok=True)
    for name, cells in NOTEBOOKS.items():
        (FOLDER / f"{name}.ipynb").write_text(notebook(cells), encoding="utf-8")


if __name__ == "__main__":
    main()
