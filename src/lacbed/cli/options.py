"""Options that several commands share, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CrystalArgument = Annotated[
    str,
    typer.Argument(
        metavar="CRYSTAL",
        help="A CIF file, or the name of a built-in crystal (see: lacbed crystals).",
        show_default=False,
    ),
]
BlockOption = Annotated[
    str | None,
    typer.Option("--block", metavar="NAME", help="Data block of a CIF with several crystals.", show_default=False),
]
ZoneOption = Annotated[
    str, typer.Option("--zone", "-z", metavar="U,V,W", help="Zone axis; the beam travels along it.")
]
VoltageOption = Annotated[float, typer.Option("--voltage", "-V", metavar="KV", help="Accelerating voltage in kV.")]
ThicknessOption = Annotated[
    str,
    typer.Option(
        "--thickness",
        "-t",
        metavar="Å,...",
        help="Thicknesses in Å: 300,600,900 or first:last:step (last included).",
    ),
]
HklOption = Annotated[
    str,
    typer.Option(
        "--hkl", metavar="LIST", help='Reflections: "0,0,0 2,0,0", or all, or all:1.5 for |g| up to 1.5 1/Å.'
    ),
]
XDirectionOption = Annotated[
    str | None,
    typer.Option(
        "--x-direction", metavar="H,K,L", help="Reflection along +x, to the right; by default the shortest."
    ),
]
FactorsOption = Annotated[
    str, typer.Option("--factors", help="Scattering factors: kirkland, lobato, peng, doyle-turner or ionic.")
]
AbsorptionOption = Annotated[
    str, typer.Option("--absorption", help="none, proportional:PERCENT, or thomas (Thomas et al. 2024).")
]
OutputOption = Annotated[
    list[Path],
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help="Output file; the suffix sets the format: .nc .zarr .npz .tif .hspy .zspy .png. May be repeated.",
        show_default=False,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]

PixelsOption = Annotated[int, typer.Option("--pixels", "-n", help="Pixels per side.")]
ExtentOption = Annotated[
    float | None,
    typer.Option("--extent", metavar="N", help="Half-width in shortest reciprocal vectors (a*); 4 by default."),
]
KMaxOption = Annotated[
    float | None, typer.Option("--k-max", metavar="1/Å", help="Half-width in 1/Å, instead of --extent.")
]
SemiAngleOption = Annotated[
    float | None, typer.Option("--semi-angle", metavar="MRAD", help="Half-width in mrad, instead of --extent.")
]
ShapeOption = Annotated[str, typer.Option("--shape", help="square or disc.")]
CenterOption = Annotated[
    str, typer.Option("--center", metavar="X,Y", help="Centre of the grid, in the units of its half-width.")
]
LaueOption = Annotated[int, typer.Option("--laue-zones", metavar="N", help="Highest Laue zone to include.")]
FoilOption = Annotated[
    str | None, typer.Option("--foil-normal", metavar="U,V,W", help="Foil normal; by default the zone axis.")
]
RefractionOption = Annotated[
    bool, typer.Option("--refraction/--no-refraction", help="Include refraction by the mean inner potential.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, ...")]

BeamsOption = Annotated[
    str,
    typer.Option("--beams", metavar="auto|N", help="Number of beams, or auto for as many as convergence needs."),
]
BlurOption = Annotated[
    float | None,
    typer.Option("--blur", metavar="PIXELS", help="Initial blur (σ); by default found by the scan."),
]
AlignOption = Annotated[
    str,
    typer.Option(
        "--align",
        metavar="HOW",
        help="How each image is moved individually at the end: none, shift or affine.",
    ),
]
NoAlignOption = Annotated[bool, typer.Option("--no-align", hidden=True)]
MaxShiftOption = Annotated[float, typer.Option("--max-shift", metavar="PIXELS", help="Largest shift of an image.")]
BackgroundOption = Annotated[
    str, typer.Option("--background", metavar="KIND", help="Background of each image: constant or plane.")
]
RobustOption = Annotated[bool, typer.Option("--robust", help="Give outliers less weight (Cauchy weights).")]
