"""The patterns of the gallery: `PYTHONPATH=docs python -m lacbed_docs.gallery` computes those that are missing into docs/gallery.

The list below is all there is to it; the page itself is made from the same list when the site is built.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "gallery"
PIXELS = 192


@dataclass(frozen=True)
class Picture:
    """One pattern.

    Attributes:
        name: of the file.
        crystal: a built-in crystal.
        zone: [uvw].
        hkl: the reflection.
        thickness: in Å.
        says: what there is to see.
        voltage: in kV.
        extent: half-width in shortest reciprocal vectors.
        more: further arguments of `lacbed.simulate`.
        colours: a matplotlib colour map.
    """

    name: str
    crystal: str
    zone: tuple[int, int, int]
    hkl: tuple[int, int, int]
    thickness: float
    says: str
    voltage: float = 200.0
    extent: float = 3.0
    more: dict[str, Any] = field(default_factory=lambda: {"absorption": "thomas"})
    colours: str = "gray"

    @property
    def title(self) -> str:
        """Crystal, zone, reflection, thickness and voltage."""
        zone, hkl = (" ".join(str(i).replace("-", "\u2212") for i in v) for v in (self.zone, self.hkl))
        return f"{self.crystal} [{zone}], ({hkl}), {self.thickness:g} Å, {self.voltage:g} kV"

    @property
    def command(self) -> str:
        """The shell command that computes it again."""
        zone, hkl = (",".join(str(i) for i in v) for v in (self.zone, self.hkl))
        words = f"lacbed simulate {self.crystal} --zone {zone} --hkl {hkl} --thickness {self.thickness:g}"
        words += f" --voltage {self.voltage:g} --extent {self.extent:g} --pixels {PIXELS}"
        words += "".join(f" --{key.replace('_', '-')} {value}" for key, value in self.more.items())
        return f"{words} --solver fast --dtype float32 -o {self.name}.png"


PICTURES = (
    Picture("srtio3-001", "SrTiO3", (0, 0, 1), (0, 0, 0), 600, "The direct beam: fourfold, with mirrors."),
    Picture(
        "srtio3-001-200",
        "SrTiO3",
        (0, 0, 1),
        (2, 0, 0),
        600,
        "A diffracted beam is symmetric about its Bragg line.",
    ),
    Picture(
        "srtio3-011",
        "SrTiO3",
        (0, 1, 1),
        (0, 0, 0),
        700,
        "The same crystal along another axis: twofold.",
        extent=2.5,
    ),
    Picture("srtio3-thin", "SrTiO3", (0, 0, 1), (0, 0, 0), 150, "Thin: broad bands, few fringes."),
    Picture("srtio3-thick", "SrTiO3", (0, 0, 1), (0, 0, 0), 1500, "Thick: the bands split into fine fringes."),
    Picture("srtio3-80kv", "SrTiO3", (0, 0, 1), (0, 0, 0), 600, "80 kV: stronger scattering.", voltage=80),
    Picture("srtio3-300kv", "SrTiO3", (0, 0, 1), (0, 0, 0), 600, "300 kV: weaker scattering.", voltage=300),
    Picture("si-001", "Si", (0, 0, 1), (0, 0, 0), 1200, "Silicon: 220 and 400 bands cross."),
    Picture("si-011", "Si", (0, 1, 1), (0, 0, 0), 1000, "The usual axis for cross-sections of wafers."),
    Picture("si-111", "Si", (1, 1, 1), (0, 0, 0), 1000, "Sixfold in a single Laue zone.", extent=2.0),
    Picture("diamond-011", "C", (0, 1, 1), (0, 0, 0), 1500, "Light atoms: thin, sharp lines."),
    Picture("ge-001", "Ge", (0, 0, 1), (2, 2, 0), 800, "220 of germanium."),
    Picture(
        "gaas-011-200", "GaAs", (0, 1, 1), (2, 0, 0), 700, "200 of GaAs, weak and therefore sensitive to charge."
    ),
    Picture("gaas-011-p", "GaAs", (0, 1, 1), (1, 1, -1), 700, "11\u22121; its opposite follows."),
    Picture(
        "gaas-011-m",
        "GaAs",
        (0, 1, 1),
        (-1, -1, 1),
        700,
        "\u22121\u221211: not the previous one rotated by 180°, because GaAs has no centre of symmetry.",
    ),
    Picture("nacl-001", "NaCl", (0, 0, 1), (0, 0, 0), 900, "Rock salt."),
    Picture("mgo-011", "MgO", (0, 1, 1), (0, 0, 0), 1000, "Magnesia along [011]."),
    Picture("cscl-001", "CsCl", (0, 0, 1), (0, 0, 0), 500, "Two heavy ions per cell."),
    Picture("au-001", "Au", (0, 0, 1), (0, 0, 0), 300, "Gold: many beams, strong absorption.", extent=2.0),
    Picture("cu-011", "Cu", (0, 1, 1), (0, 0, 0), 500, "Copper along [011]."),
    Picture(
        "al-111",
        "Al",
        (1, 1, 1),
        (0, 0, 0),
        1500,
        "Aluminium: a hexagon of 220 lines around thickness fringes.",
        extent=1.5,
    ),
    Picture("w-111", "W", (1, 1, 1), (0, 0, 0), 300, "Tungsten, thin: heavy atoms scatter strongly.", extent=1.5),
    Picture("zn-001", "Zn", (0, 0, 1), (0, 0, 0), 600, "A hexagonal metal along c.", extent=2.0),
    Picture("gan-001", "GaN", (0, 0, 1), (0, 0, 0), 600, "Gallium nitride along c: sixfold.", extent=2.0),
    Picture("gan-100", "GaN", (1, 0, 0), (0, 0, 2), 600, "002 along a: the c axis is polar.", extent=4.0),
    Picture("quartz-001", "SiO2", (0, 0, 1), (0, 0, 0), 900, "Quartz along c.", extent=4.0),
    Picture("rutile-001", "TiO2", (0, 0, 1), (0, 0, 0), 600, "Rutile: fourfold.", extent=3.5),
    Picture("rutile-100", "TiO2", (1, 0, 0), (0, 0, 0), 600, "Rutile from the side: twofold.", extent=4.0),
    Picture("corundum-001", "Al2O3", (0, 0, 1), (0, 0, 0), 900, "Sapphire along c."),
    Picture("pyrite-001", "FeS2", (0, 0, 1), (0, 0, 0), 500, "Pyrite: cubic, yet only twofold.", extent=4.0),
    Picture("cu3au-001", "Cu3Au", (0, 0, 1), (1, 0, 0), 300, "A superlattice reflection of ordered Cu₃Au."),
    Picture("caf2-111", "CaF2", (1, 1, 1), (0, 0, 0), 900, "Fluorite along [111].", extent=2.0),
)


def draw(picture: Picture, pixels: int = PIXELS) -> Any:
    """Compute one picture: (pixel, pixel) intensities."""
    import lacbed

    pattern = lacbed.simulate(
        lacbed.Crystal.named(picture.crystal),
        zone_axis=picture.zone,
        energy=picture.voltage * 1e3,
        thicknesses=(picture.thickness,),
        grid=lacbed.TiltGrid(pixels, extent=picture.extent),
        hkl=[picture.hkl],
        solver="fast",
        dtype="float32",
        **picture.more,
    )
    return pattern.values[0, 0]


def save(image: Any, path: Path, colours: str = "gray") -> None:
    """A small PNG: 256 greys, y upwards, twice the pixels for sharp screens."""
    import numpy as np
    from matplotlib.image import imsave
    from scipy.ndimage import zoom

    low, high = np.percentile(image, (0.1, 99.9))
    shown = np.clip((zoom(image, 2, order=3) - low) / (high - low), 0, 1) ** 0.8
    imsave(path, np.round(255 * shown).astype(np.uint8), cmap=colours, vmin=0, vmax=255, origin="lower")
    _to_grey(path)


def _to_grey(path: Path) -> None:
    """One channel in place of four: a quarter of the bytes."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.convert("L").save(path, optimize=True)


def page() -> str:
    """The gallery as Markdown."""
    lines = [
        "# Gallery",
        "",
        f"{len(PICTURES)} patterns computed by `PYTHONPATH=docs python -m lacbed_docs.gallery`. Each is {PIXELS} x {PIXELS} pixels, with",
        "absorption after Thomas et al. (2024) and the [fast solver](physics.md#solvers). y points up. The command under",
        "a picture reproduces it.",
        "",
        '<div class="gallery" markdown>',
        "",
    ]
    for picture in PICTURES:
        lines += [
            '<figure markdown="span">',
            f"![{picture.title}](gallery/{picture.name}.png)",
            f"<figcaption><strong>{picture.title}</strong><br>{picture.says}",
            f"<details><summary>command</summary><code>{picture.command}</code></details></figcaption>",
            "</figure>",
            "",
        ]
    return "\n".join([*lines, "</div>", ""])


def main() -> None:
    """Compute what is missing, or what is named on the command line."""
    FOLDER.mkdir(exist_ok=True)
    for picture in PICTURES:
        path = FOLDER / f"{picture.name}.png"
        if path.exists() if len(sys.argv) == 1 else picture.name not in sys.argv[1:]:
            continue
        start = time.process_time()
        save(draw(picture), path, picture.colours)
        print(
            f"{picture.name:16s} {time.process_time() - start:6.1f} CPU s, {path.stat().st_size // 1024} kB",
            flush=True,
        )


if __name__ == "__main__":
    main()
