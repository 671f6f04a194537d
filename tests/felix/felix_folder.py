"""A small input folder as Felix has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import lacbed

FORTRAN = """\
# Input file for Felix version :master: v1.3 :
# ------------------------------------

# ------------------------------------

# control flags
IWriteFLAG                = 1
IScatterFactorMethodFLAG  = {factors}
IHolzFLAG                 = 0
IAbsorbFLAG               = {absorption}
IByteSize                 = 8

# radius of the beam in pixels
IPixelCount               = {radius}

# beam selection criteria
IMinReflectionPool        = 200
IMinStrongBeams           = 60
IMinWeakBeams             = 0
RgLimit                   = 3.0

# crystal settings
RDebyeWallerConstant      = 0.7
RAbsorptionPer            = 10.0

# microscope settings
ROuterConvergenceAngle    = {half_width}
IIncidentBeamDirection    = [0,0,1]
IXDirection               = [1,0,0]
INormalDirection          = {normal}
RAcceleratingVoltage (kV) = 200.0
RAcceptanceAngle          = 0.0

# Image Output Options
RInitialThickness         = {first}
RFinalThickness           = {last}
RDeltaThickness           = 100.0
RPrecision                = 0.00002

#Refinement Specific Flags
IRefineModeFLAG           = S
RBlurRadius               = 0.0
"""

PYTHON = """\
# Input file for Felix version :main:
Typical exit criteria 0.05% = 0.0005
scatter_factor_method     = 3
absorption_method         = 2
min_strong_beams          = 20
incident_beam_direction   = [-1, 1, 0]
x_direction               = [1, 1, 0]
normal                    = [0, 1, 0]
initial_thickness         = 1100.0
final_thickness           = 1150.0
delta_thickness           = 20.0
debye_waller_constant     = 0.0
absorption_per            = 10.0
convergence_angle         = 0.725  # 1/A
accelerating_voltage_kv   = 80.0
image_radius              = 42
refine_mode               = 'S'
"""

VALUES = {
    "factors": 0,
    "absorption": 0,
    "radius": 6,
    "half_width": 0.3,
    "normal": "[0,0,1]",
    "first": 300.0,
    "last": 400.0,
}
HKL = ((0, 0, 0), (2, 0, 0), (0, 2, 0), (-2, -2, 0))


def make_folder(folder: Path, crystal: lacbed.Crystal, text: str = FORTRAN, **values: object) -> Path:
    """felix.inp, felix.cif and felix.hkl."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "felix.inp").write_text(text.format(**(VALUES | values)), encoding="utf-8")
    (folder / "felix.cif").write_text(crystal.to_cif(), encoding="utf-8")
    lines = [f"[{h},{k},{l}]" for h, k, l in HKL]  # noqa: E741
    (folder / "felix.hkl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_images(
    folder: Path, images: np.ndarray, dtype: str = "<f8", ending: str = ".bin", name: str = "GaAs"
) -> None:
    """(reflection, row, column) as Felix writes them: one file each, row by row."""
    folder.mkdir(parents=True, exist_ok=True)
    for (h, k, l), image in zip(HKL, images, strict=True):  # noqa: E741
        np.ascontiguousarray(image, dtype=dtype).tofile(folder / f"{name}_{h:+d}{k:+d}{l:+d}{ending}")
