"""The simulation that a Felix input asks for, as settings, as Python and as a shell command."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import numpy as np

from lacbed.crystals import Crystal
from lacbed.crystals.cif import read_cif
from lacbed.crystals.site import DEFAULT_B_ISO
from lacbed.errors import FileFormatError
from lacbed.felix.input import HKL, FelixInput
from lacbed.geometry.folding import is_allowed, zone_of_allowed
from lacbed.geometry.frame import Frame, make_frame
from lacbed.geometry.tilts import TiltGrid


def in_inverse_angstrom(felix: FelixInput, crystal: Crystal) -> FelixInput:
    """The input with its half-width turned from shortest allowed reflections of the zone into 1/Å."""
    basis = zone_of_allowed(crystal, frame_of(felix, crystal))
    shortest = float(np.linalg.norm(crystal.reciprocal @ basis[0]))
    return replace(felix, half_width=felix.half_width * shortest)


def frame_of(felix: FelixInput, crystal: Crystal) -> Frame:
    """How the crystal stands; Felix takes the same axes as this program (z along the beam, y = z × x)."""
    return make_frame(crystal, felix.zone_axis, felix.foil_normal, felix.x_direction)


def crystal_of(felix: FelixInput, block: str | None = None) -> tuple[Crystal, float | None]:
    """The crystal of felix.cif, or of one data block of it, and the B of all its atoms from felix.inp, or None.

    Raises:
        FileFormatError: if there is no felix.cif.
        CrystalError: if it cannot be used.
    """
    if not felix.cif.is_file():
        raise FileFormatError(f"{str(felix.folder)!r} holds no felix.cif, the crystal that belongs to felix.inp")
    crystal = read_cif(felix.cif, block)
    without = [s for s in crystal.sites if s.u_aniso is None and s.b_iso == DEFAULT_B_ISO]
    lacks = any(note.startswith("no Debye-Waller factor") for note in crystal.notes)
    if lacks and felix.b_iso > 0 and len(without) == len(crystal.sites):
        return crystal.with_b_iso(felix.b_iso), felix.b_iso
    return crystal, None


def settings_of(felix: FelixInput, crystal: Crystal) -> tuple[dict[str, Any], list[str]]:
    """The arguments of `lacbed.simulate`, and remarks on reflections that were left out."""
    wanted: list[HKL] = []
    outside: list[HKL] = []
    for g in felix.hkl or ((0, 0, 0),):
        inside = sum(i * u for i, u in zip(g, felix.zone_axis, strict=True)) == 0
        (wanted if inside and bool(is_allowed(crystal, np.array(g))) else outside).append(g)
    remarks = [] if felix.hkl else ["there is no felix.hkl; the direct beam is computed"]
    if outside:
        names = "  ".join(_comma(g) for g in outside)
        remarks.append(f"left out, because they are not in the zone or forbidden by the lattice: {names}")
    if not wanted:
        raise FileFormatError(
            f"no reflection of {str(felix.folder / 'felix.hkl')!r} lies in the zone {felix.zone_axis}"
        )
    settings: dict[str, Any] = {
        "zone_axis": felix.zone_axis,
        "energy": felix.voltage * 1e3,
        "thicknesses": felix.thicknesses,
        "grid": TiltGrid(felix.pixels, k_max=felix.half_width),
        "hkl": tuple(wanted),
        "foil_normal": felix.foil_normal,
        "x_direction": felix.x_direction,
        "refraction": False,
        "absorption": felix.absorption,
        "factors": felix.factors,
    }
    return settings, remarks


def shell_text(
    cif: str, settings: dict[str, Any], b_iso: float | None, solver: str, block: str | None = None
) -> str:
    """The command that computes it."""
    chosen = [] if block is None else ["--block", block]
    words = ["lacbed", "simulate", cif, *chosen, "--zone", _comma(settings["zone_axis"])]
    words += ["--voltage", f"{settings['energy'] / 1e3:.10g}", "--thickness", _series(settings["thicknesses"])]
    words += ["--hkl", " ".join(_comma(g) for g in settings["hkl"])]
    words += ["--pixels", str(settings["grid"].pixels), "--k-max", f"{settings['grid'].k_max:.10g}"]
    for name in ("x_direction", "foil_normal"):
        if settings[name] is not None:
            words += [f"--{name.replace('_', '-')}", _comma(settings[name])]
    words += ["--factors", settings["factors"]] if settings["factors"] != "kirkland" else []
    if settings["absorption"] is not None:
        kind = settings["absorption"]
        words += ["--absorption", kind if isinstance(kind, str) else f"proportional:{kind[1]:.10g}"]
    words += [] if b_iso is None else ["--b-iso", f"{b_iso:.10g}"]
    words += ["--no-refraction"] + ([] if solver == "auto" else ["--solver", solver]) + ["-o", "pattern.nc"]
    return " ".join(shlex.quote(word) for word in words)


def python_text(
    cif: str, settings: dict[str, Any], b_iso: float | None, solver: str, block: str | None = None
) -> str:
    """The Python that computes it."""
    grid = settings["grid"]
    shown = {
        "zone_axis": repr(settings["zone_axis"]),
        "energy": f"{settings['energy']:.10g},  # eV",
        "thicknesses": f"{list(settings['thicknesses'])},  # Å",
        "grid": f"lacbed.TiltGrid(pixels={grid.pixels}, k_max={grid.k_max:.10g}),  # 1/Å",
        "hkl": repr(list(settings["hkl"])),
        "foil_normal": repr(settings["foil_normal"]),
        "x_direction": repr(settings["x_direction"]),
        "refraction": "False,  # as Felix",
        "absorption": repr(settings["absorption"]),
        "factors": repr(settings["factors"]),
        "solver": repr(solver),
    }
    plain = {"None", "'kirkland'", "'auto'"}
    arguments = [
        f"    {name}={text if '  #' in text else text + ','}" for name, text in shown.items() if text not in plain
    ]
    chosen = "" if block is None else f", block={block!r}"
    thermal = "" if b_iso is None else f".with_b_iso({b_iso:.10g})"
    return "\n".join(
        [
            "import lacbed",
            "",
            f"crystal = lacbed.Crystal.from_cif({cif!r}{chosen}){thermal}",
            "pattern = lacbed.simulate(",
            "    crystal,",
            *arguments,
            ")",
            'lacbed.save_pattern(pattern, "pattern.nc")',
        ]
    )


def _comma(values: Any) -> str:
    return ",".join(f"{v:g}" for v in values)


def _series(values: tuple[float, ...]) -> str:
    if len(values) < 3:
        return ",".join(f"{v:.10g}" for v in values)
    return f"{values[0]:.10g}:{values[-1]:.10g}:{values[1] - values[0]:.10g}"
