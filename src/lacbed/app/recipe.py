"""The Python and the shell command that compute a picture again."""

from __future__ import annotations

import re
import shlex
from typing import Any

from lacbed.app.request import View


def file_stem(view: View) -> str:
    """A name for files that is safe everywhere."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", view.name or view.title).strip("_")[:60] or "crystal"


def recipe(view: View, header: dict[str, Any], thickness: str = "") -> dict[str, str]:
    """Commands for the pattern that was made for a view.

    Args:
        view: what was asked for.
        header: what `describe_pattern` said about the result; its number of beams is made explicit, because
            the page looked for enough of them over its whole series of thicknesses.
        thickness: text to put in place of the view's thickness; the page puts its own there.

    Returns:
        "python" and "shell", which write the pattern at the view's thickness to a .nc file; and "needs", the name
        of the CIF that they read, or "".
    """
    reach = header.get("reach")
    settings = {
        "thickness": thickness or f"{view.thickness:.10g}",
        "pixels": header["pixels"],
        "beams": header.get("beams_asked") or header["beams"],
        "out": f"{file_stem(view)}.nc",
        "reach": reach,
    }
    return {
        "python": _python(view, settings),
        "shell": _shell(view, settings),
        "needs": "" if view.name else f"{file_stem(view)}.cif",
    }


def _python(view: View, settings: dict[str, Any]) -> str:
    source = f'named("{view.name}")' if view.name else f'from_cif("{file_stem(view)}.cif")'
    thermal = "" if view.b_iso is None else f".with_b_iso({view.b_iso:.10g})"
    hkl = f'("all", {settings["reach"]!r})' if settings["reach"] else f"[{view.hkl}]"
    lines = [
        "import lacbed",
        "",
        f"crystal = lacbed.Crystal.{source}{thermal}",
        "pattern = lacbed.simulate(",
        "    crystal,",
        f"    zone_axis={view.zone_axis},",
        f"    energy={view.voltage * 1e3:.10g},  # eV",
        f"    thicknesses=[{settings['thickness']}],  # Å",
        f"    grid=lacbed.TiltGrid(pixels={settings['pixels']}, extent={view.extent:.10g}),",
        f"    hkl={hkl},",
        *([f"    absorption={_absorption(view)},"] if view.absorption is not None else []),
        f"    beams={settings['beams']},",
        ")",
        f'lacbed.save_pattern(pattern, "{settings["out"]}")',
    ]
    return "\n".join(lines) + "\n"


def _absorption(view: View) -> str:
    if view.absorption is None:
        return "None"
    if isinstance(view.absorption, str):
        return f'"{view.absorption}"'
    return f'("proportional", {view.absorption[1]:.10g})'


def _shell(view: View, settings: dict[str, Any]) -> str:
    words = ["lacbed", "simulate", view.name or f"{file_stem(view)}.cif"]
    words += ["--zone", _comma(view.zone_axis), "--voltage", f"{view.voltage:.10g}"]
    words += ["--thickness", settings["thickness"]]
    words += ["--hkl", f"all:{settings['reach']!r}" if settings["reach"] else _comma(view.hkl)]
    words += ["--pixels", str(settings["pixels"]), "--extent", f"{view.extent:.10g}"]
    if view.b_iso is not None:
        words += ["--b-iso", f"{view.b_iso:.10g}"]
    if view.absorption is not None:
        words += ["--absorption", _absorption_option(view)]
    words += ["--beams", str(settings["beams"]), "-o", settings["out"]]
    return " ".join(shlex.quote(word) for word in words) + "\n"


def _absorption_option(view: View) -> str:
    if view.absorption is None:
        return "none"
    return view.absorption if isinstance(view.absorption, str) else f"proportional:{view.absorption[1]:.10g}"


def _comma(values: tuple[int, ...]) -> str:
    return ",".join(str(v) for v in values)


def fit_recipe(view: View) -> dict[str, str]:
    """Commands that compare the crystal of a view with the experiment in a folder or file called `experiment`.

    Returns:
        "python", "shell" and "needs" as `recipe` does; a crystal with another B is read from its CIF.
    """
    is_own = bool(view.name) and view.b_iso is None
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
        f"result = lacbed.fit(experiment, crystal, lacbed.FitSettings(thicknesses, {_absorption(view)}))",
        "print(result.thickness, result.merits.z)",
    ]
    absorption = ["--absorption", _absorption_option(view)]
    thickness = ["--thickness", f"{first:g}:{last:g}:{step:g}"]
    words = ["lacbed", "fit", "experiment", crystal, *thickness, *absorption, "-o", "fit"]
    return {
        "python": "\n".join(python) + "\n",
        "shell": " ".join(shlex.quote(word) for word in words) + "\n",
        "needs": "" if is_own else crystal,
    }
