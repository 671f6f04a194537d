"""What the page asks for, checked: plain JSON to a `View`."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from lacbed.app.limits import MAX_CIF_BYTES, MAX_PIXELS, MAX_THICKNESSES
from lacbed.errors import SettingError
from lacbed.io.checks import check_number, check_one_of, is_list, is_number, is_whole

THINNEST, CLOSEST = 100.0, 20.0
"""Å; where the search for the thickness of an experiment begins, and its smallest step."""

FACTORS: tuple[str, ...] = ("kirkland", "lobato", "peng", "doyle-turner", "ionic")
MOST_CHARGES = 20

Absorption = tuple[str, float] | str | None


@dataclass(frozen=True)
class View:
    """One picture that the page wants.

    Attributes:
        name: built-in crystal, or "" if `cif` holds one.
        cif: text of a CIF, or "".
        title: what the CIF is called.
        block: data block of a CIF with several crystals, or "".
        zone_axis: [uvw].
        voltage: in kV.
        extent: half-width in units of the shortest reciprocal vector of the zone.
        b_iso: B in Å² for every site, or None for those of the crystal.
        absorption: as `lacbed.simulate` takes it.
        hkl: the reflection.
        thickness: the one that is looked at, in Å.
        thickness_max: end of the series in Å.
        thickness_step: its step in Å.
        detail: pixels along each side, about; see `pixels`.
        tolerance: largest error of an intensity.
        laue_zones: highest order of Laue zone that takes part.
        factors: table of scattering factors.
        charges: formal charges by element, besides those of the CIF, for factors "ionic".
        foil_normal: [uvw] normal of the foil, or None for the zone axis.
        x_direction: (hkl) along +x, or None for the shortest reciprocal vector of the zone.
        have: thicknesses of the series in Å that the page has already.
    """

    name: str = ""
    cif: str = ""
    title: str = ""
    block: str = ""
    zone_axis: tuple[int, int, int] = (0, 0, 1)
    voltage: float = 200.0
    extent: float = 4.0
    b_iso: float | None = None
    absorption: Absorption = None
    hkl: tuple[int, int, int] = (0, 0, 0)
    thickness: float = 600.0
    thickness_max: float = 2000.0
    thickness_step: float = 20.0
    detail: int = 128
    tolerance: float = 1e-3
    laue_zones: int = 0
    factors: str = "kirkland"
    charges: tuple[tuple[str, int], ...] = ()
    foil_normal: tuple[int, int, int] | None = None
    x_direction: tuple[int, int, int] | None = None
    have: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The view as `parse_view` takes it."""
        absorption = self.absorption[1] if isinstance(self.absorption, tuple) else self.absorption
        return {**asdict(self), "absorption": absorption, "charges": dict(self.charges)}

    @property
    def zone_key(self) -> str:
        """Names what a solved zone depends on: all but reflection and thickness. Its patterns carry the title."""
        free = {
            "hkl": (0, 0, 0),
            "thickness": 600.0,
            "thickness_max": 2000.0,
            "thickness_step": 20.0,
            "have": (),
        }
        return json.dumps(replace(self, **free).to_json(), sort_keys=True)  # type: ignore[arg-type]

    @property
    def pixels(self) -> int:
        """Pixels near `detail`, a whole number per reciprocal vector if that is possible, which is much faster."""
        return whole_pixels(self.extent, self.detail)

    @property
    def thicknesses(self) -> tuple[float, ...]:
        """The series step, 2 step, ... max, and the thickness that is looked at."""
        return tuple(sorted({*self.series(), self.thickness}))

    def series(self, every: int = 1) -> list[float]:
        """step, 2 step, ... max in Å, or each `every`-th of them."""
        step = self.thickness_step * every
        return [round(i * step, 6) for i in range(1, int(self.thickness_max / step + 1e-9) + 1)]

    @property
    def tried_thicknesses(self) -> tuple[float, ...]:
        """The thicknesses among which that of an experiment is sought; the fit looks closer around the best."""
        every = max(1, math.ceil(CLOSEST / self.thickness_step - 1e-9))
        return tuple(t for t in self.series(every) if t >= THINNEST) or (self.thickness_max,)


def whole_pixels(extent: float, detail: int) -> int:
    """The number nearest to `detail` that has a whole number of pixels per reciprocal vector, if there is one."""
    per_vector = max(1, round(detail / (2.0 * extent)))
    pixels = 2.0 * extent * per_vector
    return round(pixels) if abs(pixels - round(pixels)) < 1e-9 and pixels <= MAX_PIXELS else detail


def parse_view(data: Any) -> View:
    """A view from what the page sent.

    Raises:
        SettingError: in plain words, naming what was expected.
    """
    if not isinstance(data, Mapping):
        raise SettingError("the request must be a JSON object")
    name, cif, title, block = (_text(data, key) for key in ("name", "cif", "title", "block"))
    if bool(name) == bool(cif.strip()):
        raise SettingError("choose a built-in crystal or drop a CIF file")
    if len(cif.encode()) > MAX_CIF_BYTES:
        raise SettingError(f"the CIF is larger than {MAX_CIF_BYTES // 1000} kB; expected the CIF of one crystal")
    step = _number(data, "thickness_step", 20.0, 1.0, 1000.0)
    last = _number(data, "thickness_max", 2000.0, step, 20_000.0)
    if last / step > MAX_THICKNESSES:
        raise SettingError(f"the series would have {last / step:.0f} thicknesses, the limit is {MAX_THICKNESSES}")
    return View(
        name=name[:80],
        cif=cif,
        title=title[:80],
        block=block[:80],
        zone_axis=_reduced(_three(data, "zone_axis", (0, 0, 1))),
        voltage=_number(data, "voltage", 200.0, 10.0, 3000.0),
        extent=_number(data, "extent", 4.0, 0.25, 16.0),
        b_iso=None if data.get("b_iso") is None else _number(data, "b_iso", 0.5, 0.0, 20.0),
        absorption=_absorption(data.get("absorption")),
        hkl=_three(data, "hkl", (0, 0, 0)),
        thickness=_number(data, "thickness", 600.0, 1.0, 20_000.0),
        thickness_max=last,
        thickness_step=step,
        detail=int(_number(data, "detail", 128, 16, MAX_PIXELS)),
        tolerance=_number(data, "tolerance", 1e-3, 1e-6, 0.1),
        laue_zones=int(_number(data, "laue_zones", 0, 0, 2)),
        factors=_factors(data),
        charges=_charges(data.get("charges")),
        foil_normal=_direction(data, "foil_normal"),
        x_direction=_direction(data, "x_direction"),
        have=_have(data.get("have", ())),
    )


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str):
        raise SettingError(f"{key} must be text")
    return value


def _number(data: Mapping[str, Any], key: str, default: float, low: float, high: float) -> float:
    return check_number(key.replace("_", " "), data.get(key, default), low, high)


def _factors(data: Mapping[str, Any]) -> str:
    value = data.get("factors", "kirkland")
    check_one_of("factors", value, FACTORS)
    return str(value)


def _charges(value: Any) -> tuple[tuple[str, int], ...]:
    """Formal charges by element; whether the crystal has the elements is checked with it."""
    found = {} if value is None else value
    whole = isinstance(found, Mapping) and all(len(k) <= 2 and is_whole(v, -9, 9) for k, v in found.items())
    if not whole or len(found) > MOST_CHARGES:
        raise SettingError(f"charges are whole numbers by element, such as Mg=2, O=-2; got {value!r:.60}")
    return tuple((str(element), int(charge)) for element, charge in found.items())


def _have(value: Any) -> tuple[float, ...]:
    if not is_list(value, lambda v: is_number(v, 0, 1e6)) or len(value) > 2 * MAX_THICKNESSES:
        raise SettingError("what the page has already must be a list of thicknesses")
    return tuple(round(float(v), 6) for v in value)


_THREE = {
    "hkl": "a reflection",
    "zone_axis": "a zone axis",
    "foil_normal": "a foil normal",
    "x_direction": "the direction of x",
}


def _direction(data: Mapping[str, Any], key: str) -> tuple[int, int, int] | None:
    return None if data.get(key) is None else _three(data, key, (0, 0, 1))


def _reduced(zone: tuple[int, int, int]) -> tuple[int, int, int]:
    """[200] is [100]."""
    common = math.gcd(*zone) or 1
    return zone[0] // common, zone[1] // common, zone[2] // common


def _three(data: Mapping[str, Any], key: str, default: tuple[int, int, int]) -> tuple[int, int, int]:
    value = data.get(key, default)
    label = _THREE[key]
    if not is_list(value, lambda v: is_whole(v, -1000, 1000), 3):
        raise SettingError(f"{label} must be three whole numbers, got {value!r:.60}")
    first, second, third = value
    return first, second, third


def _absorption(value: Any) -> Absorption:
    if value is None or value == "none":
        return None
    if value == "thomas":
        return "thomas"
    if is_number(value, 0, 100):
        return ("proportional", float(value))
    raise SettingError(f"absorption must be none, thomas, or 0 to 100 per cent, got {value!r:.40}")


def file_stem(view: View) -> str:
    """A name for files that is safe everywhere."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", view.name or view.title).strip("_")[:60] or "crystal"


def recipe(view: View, header: Mapping[str, Any], thickness: str = "", hkl: str = "") -> dict[str, str]:
    """Commands for the pattern that was made for a view.

    Args:
        view: what was asked for.
        header: what `describe_pattern` said about the result: what it holds, and by what it was computed.
        thickness: text to put in place of the thickness that is looked at; the page puts its own there.
        hkl: the same for the reflection, of which the label for `sel` is then "@label". A result of all
            reflections is saved whole if this is "all".

    Returns:
        "python" and "shell", which write the pattern at one thickness to a .nc file; "needs", the name of the CIF
        that they read, or ""; and "note", what is to be known about them, or "".
    """
    settings = {
        "thickness": thickness or f"{view.thickness:.10g}",
        "hkl": hkl or ", ".join(str(v) for v in view.hkl),
        "pixels": header["pixels"],
        "out": f"{file_stem(view)}.nc",
        "reach": header.get("reach"),
        "beams": header.get("beams_asked"),
        "opened": header.get("opened"),
        "thicknesses": header["thicknesses"],
    }
    return {
        "python": _python(view, settings),
        "shell": _shell(view, settings),
        "needs": "" if view.name else f"{file_stem(view)}.cif",
        "note": f"The shell command starts afresh; it agrees within the tolerance of {view.tolerance:g}."
        if settings["opened"]
        else "",
    }


def _python(view: View, settings: dict[str, Any]) -> str:
    source = f'named("{view.name}")' if view.name else f'from_cif("{file_stem(view)}.cif")'
    thermal = "" if view.b_iso is None else f".with_b_iso({view.b_iso:.10g})"
    if view.name and view.charges:  # the CIF has them
        thermal += f".with_charges({json.dumps(dict(view.charges))})"
    physics = [
        f"    zone_axis={view.zone_axis},",
        f"    energy={view.voltage * 1e3:.10g},  # eV",
        *([f"    foil_normal={view.foil_normal},"] if view.foil_normal else []),
        *([f"    x_direction={view.x_direction},"] if view.x_direction else []),
        *([f"    laue_zones={view.laue_zones},"] if view.laue_zones else []),
        *([f"    absorption={_absorption_code(view)},"] if view.absorption is not None else []),
        *([f'    factors="{view.factors}",'] if view.factors != "kirkland" else []),
    ]
    grid = f"lacbed.TiltGrid(pixels={settings['pixels']}, extent={view.extent:.10g})"
    one = f"[({settings['hkl']})]"
    every = f'("all", {settings["reach"]!r})' if settings["reach"] else one
    lines = ["import lacbed", "", f"crystal = lacbed.Crystal.{source}{thermal}"]
    if settings["opened"]:
        before, reach = settings["opened"]["before"], settings["opened"]["reach"]
        lines += ["zone = lacbed.Zone(", "    crystal,", *physics, f"    tolerance={view.tolerance:g},"]
        lines += [f"    thickest={settings['opened']['thickest']:.10g},", ")"]
        lines += [f"grid = {grid}"]
        for n, first in enumerate(before):  # what decides the waves
            lines += [f"zone.pattern([{first:.10g}], grid" + ("" if n else f', ("all", {reach!r})') + ")"]
        listed = ", ".join(f"{t:.10g}" for t in settings["thicknesses"])
        lines += [f"pattern = zone.pattern([{listed}], grid, {every})"]
        lines += [f"pattern = pattern.sel(thickness=[{settings['thickness']}])"]
    else:
        lines += ["pattern = lacbed.simulate(", "    crystal,", *physics]
        lines += [
            f"    thicknesses=[{settings['thickness']}],  # Å",
            f"    grid={grid},",
            f"    hkl={every},",
            f"    beams={settings['beams']},",
            ")",
        ]
    if settings["reach"] and settings["hkl"] != "all":
        label = "@label" if settings["hkl"].startswith("@") else settings["hkl"].replace(" ", "")
        lines += [f'pattern = pattern.sel(hkl=["{label}"])']
    return "\n".join([*lines, f'lacbed.save_pattern(pattern, "{settings["out"]}")']) + "\n"


def _absorption_code(view: View) -> str:
    if view.absorption is None:
        return "None"
    if isinstance(view.absorption, str):
        return f'"{view.absorption}"'
    return f'("proportional", {view.absorption[1]:.10g})'


def _shell(view: View, settings: dict[str, Any]) -> str:
    words = ["lacbed", "simulate", view.name or f"{file_stem(view)}.cif"]
    words += ["--zone", _comma(view.zone_axis), "--voltage", f"{view.voltage:.10g}"]
    words += ["--thickness", settings["thickness"]]
    words += ["--hkl", f"all:{settings['reach']!r}" if settings["reach"] else settings["hkl"].replace(" ", "")]
    words += ["--pixels", str(settings["pixels"]), "--extent", f"{view.extent:.10g}"]
    if view.b_iso is not None:
        words += ["--b-iso", f"{view.b_iso:.10g}"]
    if view.absorption is not None:
        words += ["--absorption", _absorption_option(view)]
    if view.factors != "kirkland":
        words += ["--factors", view.factors]
    if view.name and view.charges and view.factors == "ionic":
        words += ["--charges", ",".join(f"{element}={charge}" for element, charge in view.charges)]
    if view.x_direction:
        words += ["--x-direction", _comma(view.x_direction)]
    if view.foil_normal:
        words += ["--foil-normal", _comma(view.foil_normal)]
    if view.laue_zones:
        words += ["--laue-zones", str(view.laue_zones)]
    exact = ["--tolerance", f"{view.tolerance:g}"] if settings["opened"] else ["--beams", str(settings["beams"])]
    return " ".join(shlex.quote(word) for word in [*words, *exact, "-o", settings["out"]]) + "\n"


def _absorption_option(view: View) -> str:
    if view.absorption is None:
        return "none"
    return view.absorption if isinstance(view.absorption, str) else f"proportional:{view.absorption[1]:.10g}"


def _comma(values: tuple[int, ...]) -> str:
    return ",".join(str(v) for v in values)


def fit_recipe(view: View) -> dict[str, str]:
    """Commands that compare the crystal of a view with the experiment in a folder or file called `experiment`.

    Returns:
        "python", "shell" and "needs" as `recipe` does; a crystal with another B or charges is read from its CIF.
    """
    is_own = bool(view.name) and view.b_iso is None and not view.charges
    crystal = view.name if is_own else f"{file_stem(view)}.cif"
    tried = view.tried_thicknesses
    first, last = tried[0], tried[-1]
    step = tried[1] - first if len(tried) > 1 else 1.0
    read = f'named("{crystal}")' if is_own else f'from_cif("{crystal}")'
    python = [
        "import lacbed",
        "import numpy as np",
        "",
        f"crystal = lacbed.Crystal.{read}",
        'experiment = lacbed.load_experiment("experiment")  # the folder, or the file, of the measured patterns',
        f"thicknesses = tuple(np.arange({first:g}, {last + 0.5 * step:g}, {step:g}))  # Å",
        f"settings = lacbed.FitSettings(thicknesses, {_absorption_code(view)}, {json.dumps(view.factors)})",
        "result = lacbed.fit(experiment, crystal, settings)",
        "print(result.thickness, result.merits.z)",
    ]
    physics = ["--absorption", _absorption_option(view)]
    physics += ["--factors", view.factors] if view.factors != "kirkland" else []
    thickness = ["--thickness", f"{first:g}:{last:g}:{step:g}"]
    words = ["lacbed", "fit", "experiment", crystal, *thickness, *physics, "-o", "fit"]
    return {
        "python": "\n".join(python) + "\n",
        "shell": " ".join(shlex.quote(word) for word in words) + "\n",
        "needs": "" if is_own else crystal,
    }
