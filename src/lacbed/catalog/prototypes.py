"""Cubic prototypes, and the elements that may fill them: ions by balanced charges, metals by lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Bond = tuple[str, str, int]
"""Roles of the two atoms, and how many nearest neighbours of the second kind the first has."""


@dataclass(frozen=True)
class Prototype:
    """A structure type, in the setting of International Tables with origin choice 2.

    Attributes:
        name: of the type, as in "generate" rows.
        space_group: number.
        sites: role and coordinates such as "x,1/8,1/8" of each site.
        bonds: whose lengths the radii predict; empty if the volumes of the atoms are added instead.
        start: values of the free x, y, z of each role from which the bonds are fitted.
        stretch: factors on the predicted lengths, where a polyhedron is never regular.
        example: a compound that has it.
    """

    name: str
    space_group: int
    sites: tuple[tuple[str, str], ...]
    example: str
    bonds: tuple[Bond, ...] = ()
    start: tuple[float, ...] = ()
    stretch: tuple[float, ...] = ()


_ORIGIN, _EIGHTH, _QUARTER, _HALF = "0,0,0", "1/8,1/8,1/8", "1/4,1/4,1/4", "1/2,1/2,1/2"

PROTOTYPES: dict[str, Prototype] = {
    p.name: p
    for p in (
        Prototype("fcc", 225, (("A", _ORIGIN),), "Cu"),
        Prototype("bcc", 229, (("A", _ORIGIN),), "W"),
        Prototype("diamond", 227, (("A", _EIGHTH),), "Si", (("A", "A", 4),)),
        Prototype("rock salt", 225, (("A", _ORIGIN), ("X", _HALF)), "NaCl", (("A", "X", 6),)),
        Prototype("CsCl", 221, (("A", _ORIGIN), ("X", _HALF)), "CsCl", (("A", "X", 8),)),
        Prototype("B2", 221, (("A", _ORIGIN), ("B", _HALF)), "CuZn"),
        Prototype("zinc blende", 216, (("A", _ORIGIN), ("X", _QUARTER)), "ZnS", (("A", "X", 4),)),
        Prototype("fluorite", 225, (("A", _ORIGIN), ("X", _QUARTER)), "CaF2", (("A", "X", 8),)),
        Prototype("antifluorite", 225, (("X", _ORIGIN), ("A", _QUARTER)), "Li2O", (("A", "X", 4),)),
        Prototype(
            "perovskite",
            221,
            (("A", _ORIGIN), ("B", _HALF), ("X", "0,1/2,1/2")),
            "SrTiO3",
            (("B", "X", 6), ("A", "X", 12)),
        ),
        Prototype(
            "antiperovskite",
            221,
            (("Y", _ORIGIN), ("X", _HALF), ("A", "0,1/2,1/2")),
            "Na3BrO",
            (("X", "A", 6),),
        ),
        Prototype(
            "elpasolite",
            225,
            (("C", _ORIGIN), ("B", _HALF), ("A", _QUARTER), ("X", "x,0,0")),
            "K2NaAlF6",
            (("B", "X", 6), ("C", "X", 6), ("A", "X", 12)),
            (0.25,),
        ),
        Prototype(
            "K2PtCl6",
            225,
            (("B", _ORIGIN), ("A", _QUARTER), ("X", "x,0,0")),
            "K2PtCl6",
            (("B", "X", 6), ("A", "X", 12)),
            (0.24,),
        ),
        Prototype("ReO3", 221, (("A", _ORIGIN), ("X", "1/2,0,0")), "ReO3", (("A", "X", 6),)),
        Prototype("Cu2O", 224, (("X", _QUARTER), ("A", _ORIGIN)), "Cu2O", (("A", "X", 2),)),
        Prototype(
            "spinel",
            227,
            (("A", _EIGHTH), ("B", _HALF), ("X", "x,x,x")),
            "MgAl2O4",
            (("A", "X", 4), ("B", "X", 6)),
            (0.262,),
        ),
        Prototype(
            "pyrochlore",
            227,
            (("B", _ORIGIN), ("A", _HALF), ("X", "x,1/8,1/8"), ("Y", "3/8,3/8,3/8")),
            "Y2Ti2O7",
            (("B", "X", 6), ("A", "X", 6), ("A", "Y", 2)),
            (0.33,),
            (1.0, 1.035, 0.92),
        ),
        Prototype(
            "garnet",
            230,
            (("B", _ORIGIN), ("A", "1/8,0,1/4"), ("C", "3/8,0,1/4"), ("X", "x,y,z")),
            "Y3Al5O12",
            (("B", "X", 6), ("A", "X", 8), ("C", "X", 4)),
            (-0.03, 0.052, 0.149),
        ),
        Prototype(
            "bixbyite",
            206,
            (("A", _QUARTER), ("A", "x,0,1/4"), ("X", "x,y,z")),
            "Y2O3",
            (("A", "X", 6),),
            (0.968, 0.391, 0.152, 0.380),
        ),
        Prototype(
            "pyrite", 205, (("A", _ORIGIN), ("X", "x,x,x")), "FeS2", (("A", "X", 6), ("X", "X", 1)), (0.386,)
        ),
        Prototype(
            "skutterudite",
            204,
            (("A", _QUARTER), ("X", "0,y,z")),
            "CoAs3",
            (("A", "X", 6), ("X", "X", 2)),
            (0.337, 0.156),
            (1.0, 1.06),
        ),
        Prototype("Heusler L2_1", 225, (("Z", _ORIGIN), ("Y", _HALF), ("X", _QUARTER)), "Cu2MnAl"),
        Prototype("half-Heusler", 216, (("Z", _ORIGIN), ("Y", _HALF), ("X", _QUARTER)), "NiTiSn"),
        Prototype("L1_2", 221, (("A", _ORIGIN), ("B", "0,1/2,1/2")), "Cu3Au"),
        Prototype("A15", 223, (("B", _ORIGIN), ("A", "1/4,0,1/2")), "Nb3Sn"),
        Prototype("Laves C15", 227, (("A", _EIGHTH), ("B", _HALF)), "MgCu2"),
    )
}

_RARE = "La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"

BY_CHARGE: Mapping[int, tuple[str, ...]] = {
    charge: tuple(names.split())
    for charge, names in {
        1: "Li Na K Rb Cs Cu Ag Tl",
        2: "Be Mg Ca Sr Ba Mn Fe Co Ni Cu Zn Cd Hg Pb Eu Yb",
        3: f"Al Ga In Tl Sc Y Ti V Cr Mn Fe Co Ni Rh Bi {_RARE}",
        4: "Si Ge Sn Pb Ti Zr Hf V Mn Mo Ru Rh Ir Pt Pd Re Os Te W Nb Ce Tb Th U Np Pu",
        5: "V Nb Ta Sb Bi U Re Os Ru Mo As P",
        6: "W Mo Te Re U Os",
        7: "I Re Os",
        -1: "F Cl Br I",
        -2: "O S Se Te",
        -3: "N",
    }.items()
}


@dataclass(frozen=True)
class IonicRule:
    """A balanced set of charges for a prototype.

    Attributes:
        prototype: its name.
        charges: of each role.
        neighbours: of each role, for the choice of its radius.
        only: elements allowed in a role, where not all that take its charge.
        ratio: bounds of the ratio of radii of the first bond (Pauling's first rule, widened).
        may_repeat: whether one element may have two roles.
    """

    prototype: str
    charges: tuple[tuple[str, int], ...]
    neighbours: Mapping[str, int]
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ratio: tuple[float, float] = (0.0, 9.0)
    may_repeat: bool = False


@dataclass(frozen=True)
class MetallicRule:
    """Metals that may fill a prototype.

    Attributes:
        prototype: its name.
        pools: elements for each role.
        packing: volume of the cell over that of its atoms, each in a close packing of its own; below 1 where
            known compounds contract on forming.
        valence: outer electrons of each element; empty if they do not matter.
        counts: numbers of outer electrons for one formula that are allowed.
    """

    prototype: str
    pools: tuple[tuple[str, tuple[str, ...]], ...]
    packing: float = 1.0
    valence: Mapping[str, int] = field(default_factory=dict)
    counts: tuple[int, ...] = ()


def _rules(prototype: str, neighbours: Mapping[str, int], sets: str, **rest: object) -> list[IonicRule]:
    """A rule for each set of charges in a text such as "A2 B4 X-2; A1 B5 X-2"."""
    return [
        IonicRule(prototype, tuple((word[0], int(word[1:])) for word in text.split()), neighbours, **rest)  # type: ignore[arg-type]
        for text in sets.split(";")
    ]


_OXIDE = {"X": ("O",)}
_GARNET = {
    "C": ("Si", "Ge", "Al", "Ga", "Fe", "V", "As"),
    "A": tuple(f"Na Mg Ca Mn Fe Co Cd Y Bi {_RARE}".split()),
}

IONIC: tuple[IonicRule, ...] = (
    *_rules("rock salt", {"A": 6, "X": 6}, "A1 X-1; A2 X-2", ratio=(0.3, 0.95)),
    *_rules("CsCl", {"A": 8, "X": 6}, "A1 X-1", ratio=(0.65, 1.2)),
    *_rules("fluorite", {"A": 8, "X": 4}, "A2 X-1; A4 X-2", ratio=(0.6, 1.3), only={"X": ("F", "O", "Cl")}),
    *_rules("antifluorite", {"A": 4, "X": 8}, "A1 X-2", ratio=(0.2, 1.2)),
    *_rules(
        "perovskite", {"A": 12, "B": 6, "X": 2}, "A1 B2 X-1; A2 B4 X-2; A1 B5 X-2; A3 B3 X-2", ratio=(0.33, 0.8)
    ),
    *_rules(
        "antiperovskite",
        {"X": 2, "A": 4, "Y": 6},
        "A1 X-2 Y-1",
        only={"X": ("O",), "A": ("Li", "Na", "K", "Rb")},
    ),
    *_rules("elpasolite", {"A": 12, "B": 6, "C": 6, "X": 2}, "A1 B1 C3 X-1", ratio=(0.3, 1.0)),
    *_rules(
        "elpasolite", {"A": 12, "B": 6, "C": 6, "X": 2}, "A2 B2 C6 X-2; A2 B3 C5 X-2; A2 B1 C7 X-2", only=_OXIDE
    ),
    *_rules("K2PtCl6", {"A": 12, "B": 6, "X": 2}, "A1 B4 X-1", ratio=(0.25, 0.6)),
    *_rules("ReO3", {"A": 6, "X": 2}, "A6 X-2; A3 X-1", only={"X": ("O", "F")}, ratio=(0.35, 0.8)),
    *_rules("Cu2O", {"A": 2, "X": 4}, "A1 X-2", only={"A": ("Cu", "Ag")}),
    *_rules("spinel", {"A": 4, "B": 6, "X": 4}, "A2 B3 X-2; A4 B2 X-2", ratio=(0.15, 0.6)),
    *_rules(
        "pyrochlore",
        {"A": 8, "B": 6, "X": 4, "Y": 4},
        "A3 B4 X-2 Y-2; A2 B5 X-2 Y-2",
        only={"X": ("O",), "Y": ("O",)},
        ratio=(0.38, 0.6),
        may_repeat=True,
    ),
    *_rules(
        "garnet",
        {"A": 8, "B": 6, "C": 4, "X": 4},
        "A2 B3 C4 X-2; A3 B3 C3 X-2; A1 B3 C5 X-2",
        only=_OXIDE | _GARNET,
        ratio=(0.36, 0.7),
        may_repeat=True,
    ),
    *_rules("bixbyite", {"A": 6, "X": 4}, "A3 X-2", only=_OXIDE, ratio=(0.45, 0.72)),
)

_ALKALI = ("Li", "Na", "K", "Rb", "Cs")
_EARTH = ("Mg", "Ca", "Sr", "Ba")
_RARES = ("Sc", "Y", *(e for e in _RARE.split() if e not in ("Eu", "Yb")))
_EARLY = ("Ti", "Zr", "Hf", "V", "Nb", "Ta", "Cr", "Mo", "W")
_LATE = ("Mn", "Fe", "Co", "Ni", "Cu", "Ru", "Rh", "Pd", "Ag", "Ir", "Pt", "Au")
_OTHERS = ("Zn", "Cd", "Hg", "Re", "Os", "Tc", "Th", "U")
_P_BLOCK = ("Al", "Ga", "In", "Tl", "Si", "Ge", "Sn", "Pb", "As", "Sb", "Bi")
_ALL_METALS = (*_ALKALI, *_EARTH, *_RARES, *_EARLY, *_LATE, *_OTHERS, "Be", "Al", "Ga", "In", "Tl", "Sn", "Pb")

_OUTER = {
    element: count
    for count, names in {
        1: "Li Na K Rb Cs",
        2: "Mg Ca Sr Ba Zn Cd Hg Eu Yb",
        3: f"Sc Y Al Ga In Tl {_RARE.replace('Eu ', '').replace('Yb ', '')}",
        4: "Ti Zr Hf Si Ge Sn Pb",
        5: "V Nb Ta As Sb Bi",
        6: "Cr Mo W",
        7: "Mn Tc Re",
        8: "Fe Ru Os",
        9: "Co Rh Ir",
        10: "Ni Pd Pt",
        11: "Cu Ag Au",
    }.items()
    for element in names.split()
}

METALLIC: tuple[MetallicRule, ...] = (
    MetallicRule("fcc", (("A", _ALL_METALS),)),
    MetallicRule("bcc", (("A", _ALL_METALS),)),
    MetallicRule(
        "B2",
        (("A", (*_EARTH, *_RARES, *_EARLY, "Al", "Ga", "In", "Li")), ("B", (*_LATE, "Zn", "Cd", "Hg"))),
        packing=0.935,
    ),
    MetallicRule(
        "L1_2",
        (("A", (*_EARTH, *_RARES, *_EARLY, *_P_BLOCK[:8])), ("B", (*_LATE, "Al", "In", "Sn", "Pb"))),
        packing=0.93,
    ),
    MetallicRule(
        "A15", (("A", ("Ti", "Zr", "V", "Nb", "Ta", "Cr", "Mo", "W")), ("B", (*_P_BLOCK, *_LATE[1:], "Os")))
    ),
    MetallicRule(
        "Laves C15",
        (("A", (*_EARTH[:2], *_RARES, *_EARLY[:6], "U", "Th")), ("B", (*_LATE, "Al", "Mg", "Os"))),
        packing=0.9,
    ),
    MetallicRule(
        "Heusler L2_1",
        (("X", (*_LATE[1:], "Li")), ("Y", (*_RARES, *_EARLY, "Mn", "Fe", "Li", "Mg")), ("Z", _P_BLOCK)),
        packing=0.92,
    ),
    MetallicRule(
        "half-Heusler",
        (
            ("X", (*_LATE[1:], "Mg", "Zn", "Li")),
            ("Y", (*_RARES, *_EARLY, *_ALKALI[:3], *_EARTH, "Mn")),
            ("Z", _P_BLOCK[4:]),
        ),
        valence=_OUTER,
        counts=(8, 18),
    ),
)
