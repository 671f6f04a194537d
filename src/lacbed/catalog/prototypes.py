"""Cubic prototypes: space group, sites with free coordinates, and the bonds that fix the lattice parameter."""

from __future__ import annotations

from dataclasses import dataclass

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


_O, _Q, _H, _E = "0,0,0", "1/4,1/4,1/4", "1/2,1/2,1/2", "1/8,1/8,1/8"

PROTOTYPES: dict[str, Prototype] = {
    p.name: p
    for p in (
        Prototype("fcc", 225, (("A", _O),), "Cu"),
        Prototype("bcc", 229, (("A", _O),), "W"),
        Prototype("diamond", 227, (("A", _E),), "Si", (("A", "A", 4),)),
        Prototype("rock salt", 225, (("A", _O), ("X", _H)), "NaCl", (("A", "X", 6),)),
        Prototype("CsCl", 221, (("A", _O), ("X", _H)), "CsCl", (("A", "X", 8),)),
        Prototype("B2", 221, (("A", _O), ("B", _H)), "CuZn"),
        Prototype("zinc blende", 216, (("A", _O), ("X", _Q)), "ZnS", (("A", "X", 4),)),
        Prototype("fluorite", 225, (("A", _O), ("X", _Q)), "CaF2", (("A", "X", 8),)),
        Prototype("antifluorite", 225, (("X", _O), ("A", _Q)), "Li2O", (("A", "X", 4),)),
        Prototype(
            "perovskite",
            221,
            (("A", _O), ("B", _H), ("X", "0,1/2,1/2")),
            "SrTiO3",
            (("B", "X", 6), ("A", "X", 12)),
        ),
        Prototype(
            "antiperovskite",
            221,
            (("Y", _O), ("X", _H), ("A", "0,1/2,1/2")),
            "Na3BrO",
            (("X", "A", 6),),
        ),
        Prototype(
            "elpasolite",
            225,
            (("C", _O), ("B", _H), ("A", _Q), ("X", "x,0,0")),
            "K2NaAlF6",
            (("B", "X", 6), ("C", "X", 6), ("A", "X", 12)),
            (0.25,),
        ),
        Prototype(
            "K2PtCl6",
            225,
            (("B", _O), ("A", _Q), ("X", "x,0,0")),
            "K2PtCl6",
            (("B", "X", 6), ("A", "X", 12)),
            (0.24,),
        ),
        Prototype("ReO3", 221, (("A", _O), ("X", "1/2,0,0")), "ReO3", (("A", "X", 6),)),
        Prototype("Cu2O", 224, (("X", _Q), ("A", _O)), "Cu2O", (("A", "X", 2),)),
        Prototype(
            "spinel",
            227,
            (("A", _E), ("B", _H), ("X", "x,x,x")),
            "MgAl2O4",
            (("A", "X", 4), ("B", "X", 6)),
            (0.262,),
        ),
        Prototype(
            "pyrochlore",
            227,
            (("B", _O), ("A", _H), ("X", "x,1/8,1/8"), ("Y", "3/8,3/8,3/8")),
            "Y2Ti2O7",
            (("B", "X", 6), ("A", "X", 6), ("A", "Y", 2)),
            (0.33,),
            (1.0, 1.035, 0.92),
        ),
        Prototype(
            "garnet",
            230,
            (("B", _O), ("A", "1/8,0,1/4"), ("C", "3/8,0,1/4"), ("X", "x,y,z")),
            "Y3Al5O12",
            (("B", "X", 6), ("A", "X", 8), ("C", "X", 4)),
            (-0.03, 0.052, 0.149),
        ),
        Prototype(
            "bixbyite",
            206,
            (("A", _Q), ("A", "x,0,1/4"), ("X", "x,y,z")),
            "Y2O3",
            (("A", "X", 6),),
            (0.968, 0.391, 0.152, 0.380),
        ),
        Prototype("pyrite", 205, (("A", _O), ("X", "x,x,x")), "FeS2", (("A", "X", 6), ("X", "X", 1)), (0.386,)),
        Prototype(
            "skutterudite",
            204,
            (("A", _Q), ("X", "0,y,z")),
            "CoAs3",
            (("A", "X", 6), ("X", "X", 2)),
            (0.337, 0.156),
            (1.0, 1.06),
        ),
        Prototype("Heusler L2_1", 225, (("Z", _O), ("Y", _H), ("X", _Q)), "Cu2MnAl"),
        Prototype("half-Heusler", 216, (("Z", _O), ("Y", _H), ("X", _Q)), "NiTiSn"),
        Prototype("L1_2", 221, (("A", _O), ("B", "0,1/2,1/2")), "Cu3Au"),
        Prototype("A15", 223, (("B", _O), ("A", "1/4,0,1/2")), "Nb3Sn"),
        Prototype("Laves C15", 227, (("A", _E), ("B", _H)), "MgCu2"),
    )
}
