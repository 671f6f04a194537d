"""Elements by charge, and the rules by which they fill the prototypes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_RARE = "La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"

POOLS: Mapping[int, tuple[str, ...]] = {
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
        only: elements allowed in a role, where not all of the charge's.
        ratio: bounds of the ratio of radii of the first bond (Pauling's first rule, widened).
        ordered: pairs of roles that may be exchanged; the names of their elements rise.
        may_repeat: whether one element may have two roles.
    """

    prototype: str
    charges: tuple[tuple[str, int], ...]
    neighbours: Mapping[str, int]
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ratio: tuple[float, float] = (0.0, 9.0)
    ordered: tuple[tuple[str, str], ...] = ()
    may_repeat: bool = False


@dataclass(frozen=True)
class MetallicRule:
    """Metals that may fill a prototype.

    Attributes:
        prototype: its name.
        pools: elements of each role.
        packing: volume of the cell over that of its atoms, each in a close packing of its own; below 1 where
            known compounds contract on forming.
        valence: outer electrons of each element; empty if they do not matter.
        counts: numbers of outer electrons for one formula that are allowed.
        ordered: pairs of roles that may be exchanged; the names of their elements rise.
    """

    prototype: str
    pools: tuple[tuple[str, tuple[str, ...]], ...]
    packing: float = 1.0
    valence: Mapping[str, int] = field(default_factory=dict)
    counts: tuple[int, ...] = ()
    ordered: tuple[tuple[str, str], ...] = ()


def _rules(prototype: str, neighbours: Mapping[str, int], sets: str, **rest: object) -> list[IonicRule]:
    """Rules for several sets of charges: "A2 B4 X-2; A1 B5 X-2"."""
    return [
        IonicRule(prototype, tuple((word[0], int(word[1:])) for word in text.split()), neighbours, **rest)  # type: ignore[arg-type]
        for text in sets.split(";")
    ]


_OF, _HALIDES, _O = ("O", "F"), ("F", "Cl", "Br", "I"), {"X": ("O",)}
_SMALL = {
    "C": tuple(["Si", "Ge", "Al", "Ga", "Fe", "V", "As"]),
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
    *_rules(
        "elpasolite",
        {"A": 12, "B": 6, "C": 6, "X": 2},
        "A1 B1 C3 X-1",
        ratio=(0.3, 1.0),
        may_repeat=False,
    ),
    *_rules("elpasolite", {"A": 12, "B": 6, "C": 6, "X": 2}, "A2 B2 C6 X-2; A2 B3 C5 X-2; A2 B1 C7 X-2", only=_O),
    *_rules("K2PtCl6", {"A": 12, "B": 6, "X": 2}, "A1 B4 X-1", ratio=(0.25, 0.6)),
    *_rules("ReO3", {"A": 6, "X": 2}, "A6 X-2; A3 X-1", only={"X": _OF}, ratio=(0.35, 0.8)),
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
        only=_O | _SMALL,
        ratio=(0.36, 0.7),
        may_repeat=True,
    ),
    *_rules("bixbyite", {"A": 6, "X": 4}, "A3 X-2", only=_O, ratio=(0.45, 0.72)),
)

_ALKALI = tuple(["Li", "Na", "K", "Rb", "Cs"])
_EARTH = tuple(["Mg", "Ca", "Sr", "Ba"])
_RARES = ("Sc", "Y", *(e for e in _RARE.split() if e not in ("Eu", "Yb")))
_EARLY = tuple(["Ti", "Zr", "Hf", "V", "Nb", "Ta", "Cr", "Mo", "W"])
_LATE = tuple(["Mn", "Fe", "Co", "Ni", "Cu", "Ru", "Rh", "Pd", "Ag", "Ir", "Pt", "Au"])
_OTHERS = tuple(["Zn", "Cd", "Hg", "Re", "Os", "Tc", "Th", "U"])
_P_BLOCK = tuple(["Al", "Ga", "In", "Tl", "Si", "Ge", "Sn", "Pb", "As", "Sb", "Bi"])
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
