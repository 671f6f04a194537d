"""What the page tells about a crystal: facts, the projected potential and the map of reflections."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lacbed.app.limits import MAX_REFLECTIONS, MAX_VALUES
from lacbed.app.request import View
from lacbed.constants import wavelength
from lacbed.crystals import Crystal
from lacbed.errors import SettingError

if TYPE_CHECKING:
    from lacbed.geometry.frame import Frame

POTENTIAL_PIXELS = 128
MAX_SITES = 60
_SPOTS = 400
_LINES, _TRIED = 90, 2500
"""Pairs of Bragg lines on the stereogram, and reflections among which the strongest are sought."""
_ATOMS = 400
"""Atoms of a cell that are drawn at most."""


def crystal_of(view: View) -> Crystal:
    """The crystal of a view, with Debye-Waller factors and charges replaced if the view says so.

    Raises:
        CrystalError: if there is none of that name, the CIF cannot be used, or charges do not suit it.
        SettingError: if it has no charges and the factors need them.
    """
    if view.name:
        crystal = Crystal.named(view.name)
    else:
        title, block = view.title or None, view.block or None
        crystal = Crystal.from_cif_text(view.cif, title, block, view.title or "the text")
    crystal = crystal if view.b_iso is None else crystal.with_b_iso(view.b_iso)
    if view.charges:
        crystal = crystal.with_charges(dict(view.charges))
    if view.factors == "ionic" and not any(site.charge for site in crystal.sites):
        elements = list(dict.fromkeys(site.element for site in crystal.sites))
        raise SettingError(
            f"factors of ions need charges, and {crystal.name} has none: write them into Charges, beside the "
            f"factors, for {', '.join(elements)}, such as {elements[0]}=2; or use a CIF with atom types like O2-"
        )
    return crystal


def describe(view: View) -> tuple[dict[str, Any], np.ndarray]:
    """Facts about the crystal in the orientation of the view, and the potential (v, u) in V Å as float32.

    Raises:
        CrystalError: see `crystal_of`; SettingError: on an impossible zone axis.
    """
    from lacbed.geometry.frame import make_frame  # slow to import, and only workers need it
    from lacbed.projection import projected_potential

    crystal = crystal_of(replace(view, factors="kirkland"))  # of the facts none needs charges
    frame = make_frame(crystal, view.zone_axis)
    potential = projected_potential(crystal, view.zone_axis, POTENTIAL_PIXELS)
    facts = {
        "name": crystal.name,
        "formula": crystal.formula,
        "space_group": crystal.space_group,
        "cell": list(crystal.cell),
        "volume": crystal.volume,
        "atoms": len(crystal.atoms.elements),
        "sites": _sites(crystal),
        "more_sites": max(0, len(crystal.sites) - MAX_SITES),
        "notes": list(crystal.notes),
        "source": crystal.source,
        "zone_axis": list(frame.zone_axis),
        "x_direction": list(frame.x_direction),
        "shortest": frame.shortest,
        "wavelength": wavelength(view.voltage * 1e3),
        "period": potential.attrs["period"],
        "mean_inner_potential": potential.attrs["mean_inner_potential"],
        "potential": {
            "pixels": POTENTIAL_PIXELS,
            "cell": potential.attrs["cell"],
            "low": float(potential.min()),
            "high": float(potential.max()),
        },
        "spots": spots(crystal, frame, view),
        "stereogram": stereogram(crystal, frame, view.voltage * 1e3),
        **atoms(crystal),
        "cif": crystal.to_cif(),
    }
    return facts, potential.values.astype("<f4")


def _sites(crystal: Crystal) -> list[dict[str, Any]]:
    b_of_site = dict(zip(crystal.atoms.site.tolist(), crystal.atoms.b_iso.tolist(), strict=True))
    return [
        {
            "label": site.label,
            "element": site.element,
            "xyz": list(site.xyz),
            "occupancy": site.occupancy,
            "b_iso": b_of_site.get(i),
        }
        for i, site in enumerate(crystal.sites[:MAX_SITES])
    ]


def spots(crystal: Crystal, frame: Frame, view: View) -> list[dict[str, Any]]:
    """Reflections that can be chosen: place in 1/Å, spacing, and the two-beam extinction distance ξ_g = K / |U_g|.

    The reach is one and a half times the extent of the view, at most 400 reflections.
    """
    from lacbed.beams import reflections_within
    from lacbed.potential import potential_coefficients

    reach = _reach(crystal, frame, 1.5 * max(2.0, min(view.extent, 6.0)) * frame.shortest, _SPOTS)
    found = np.array(reflections_within(crystal, frame, reach))
    vectors = frame.vectors(found)
    elastic, _ = potential_coefficients(crystal, found, view.voltage * 1e3)
    strength = elastic.abs().numpy()
    strength[0] = 0.0
    largest = float(strength.max()) or 1.0
    wave_number = 1.0 / wavelength(view.voltage * 1e3)
    listed = []
    for g, vector, u in zip(found.tolist(), vectors, strength, strict=True):
        length = float(np.linalg.norm(vector))
        forbidden = u < 1e-6 * largest
        listed.append(
            {
                "hkl": g,
                "x": float(vector[0]),
                "y": float(vector[1]),
                "strength": 0.0 if forbidden else float(u / largest),
                "spacing": 1.0 / length if length else None,
                "extinction": None if forbidden else wave_number / float(u),
            }
        )
    return listed


def stereogram(crystal: Crystal, frame: Frame, energy: float) -> dict[str, Any]:
    """What a map of all directions is drawn from: both bases along (x, y, z = zone axis), and the strongest lines.

    Returns:
        "reciprocal": a*, b*, c* in 1/Å as rows; "direct": a, b, c in Å as rows; "lines": [h, k, l, strength] with
        one of g and -g, strength being |U_g| / max |U|.
    """
    from lacbed.potential import potential_coefficients

    reciprocal = frame.vectors(np.eye(3))
    direct = np.linalg.inv(reciprocal).T
    reach = (3.0 * _TRIED * abs(np.linalg.det(reciprocal)) / (4.0 * math.pi)) ** (1 / 3)
    most = np.maximum(1, np.floor(reach * np.linalg.norm(direct, axis=1) + 1e-9)).astype(int)  # |h| <= |g| |a|
    grid = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in most), indexing="ij"), axis=-1).reshape(-1, 3)
    half = grid[len(grid) // 2 + 1 :]  # one of g and -g, without 0
    found = half[np.linalg.norm(frame.vectors(half), axis=1) <= reach]
    if not len(found):
        found = np.eye(3, dtype=int)
    elastic, _ = potential_coefficients(crystal, found, energy)
    strength = elastic.abs().numpy()
    strength = strength / (float(strength.max()) or 1.0)
    best = [i for i in np.argsort(-strength, kind="stable")[:_LINES] if strength[i] > 1e-3]
    return {
        "reciprocal": reciprocal.tolist(),
        "direct": direct.tolist(),
        "lines": [[*map(int, found[i]), round(float(strength[i]), 6)] for i in best],
    }


def atoms(crystal: Crystal) -> dict[str, Any]:
    """What a cell is drawn from.

    Returns:
        "elements": symbol, atomic number and covalent radius in Å of each kind of atom that is drawn; "drawn":
        rows [number of the element, u, v, w, occupancy], one for each place in the cell, with the element that has
        the largest share of it and the sum of all shares; none if the cell has too many.
    """
    import gemmi

    places: dict[tuple[float, ...], list[tuple[float, str]]] = {}
    for element, xyz, share in zip(
        crystal.atoms.elements, crystal.atoms.xyz, crystal.atoms.occupancy, strict=True
    ):
        key = tuple(((xyz * 1000.0).round() % 1000 / 1000).tolist())
        places.setdefault(key, []).append((float(share), element))
    if len(places) > _ATOMS:
        return {"elements": [], "drawn": []}
    rows = [(max(shares)[1], place, min(1.0, sum(s for s, _ in shares))) for place, shares in places.items()]
    symbols = list(dict.fromkeys(element for element, _, _ in rows))
    known = {symbol: gemmi.Element(symbol) for symbol in symbols}
    return {
        "elements": [
            {"symbol": s, "number": e.atomic_number, "radius": float(e.covalent_r)} for s, e in known.items()
        ],
        "drawn": [[symbols.index(s), *place, round(total, 4)] for s, place, total in rows],
    }


def montage_reach(crystal: Crystal, frame: Frame, view: View) -> float:
    """|g| in 1/Å up to which all reflections are shown: the extent, or what the limits of their number allow."""
    most = max(9, min(MAX_REFLECTIONS, MAX_VALUES // view.pixels**2))
    return _reach(crystal, frame, (view.extent + 1e-6) * frame.shortest, most)


def _reach(crystal: Crystal, frame: Frame, wanted: float, most: int) -> float:
    """The wanted |g|, or less if more than `most` reflections would lie within."""
    from lacbed.geometry.folding import zone_of_allowed

    area = abs(float(np.linalg.det(frame.vectors(zone_of_allowed(crystal, frame))[:, :2])))
    return min(wanted, math.sqrt(0.9 * most * area / math.pi))
