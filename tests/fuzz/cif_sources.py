"""Whole CIFs to damage: crystals of all systems as this package, ASE, pymatgen and data bases write them."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from math import gcd

import gemmi
import numpy as np

from lacbed.crystals import Crystal, Site
from lacbed.crystals.wyckoff import positions_of

NAMES = (
    "Al2SiO5",
    "ZrO2",
    "CuO",
    "CaMgSi2O6",
    "CaTiO3",
    "Mg2SiO4",
    "TiO2",
    "SiO2",
    "Al2O3",
    "MgSiO3",
    "GaN",
    "Mg",
    "Si",
    "GaAs",
    "NaCl",
    "SrTiO3",
    "MgAl2O4",
    "Fe3O4",
    "FeS2",
    "Mn",
)
"""Built-in crystals, from triclinic to cubic."""

PROGRAMS = ("own", "ASE", "pymatgen", "COD", "ICSD", "hand")


def whole_cifs(programs: tuple[str, ...] = PROGRAMS) -> dict[str, str]:
    """Text by name; a program that is not installed is left out."""
    writers = {
        "own": Crystal.to_cif,
        "ASE": as_ase,
        "pymatgen": as_pymatgen,
        "COD": as_cod,
        "ICSD": as_icsd,
        "hand": by_hand,
    }
    crystals = [*map(Crystal.named, NAMES), mixed()]
    texts = {f"{crystal.name} by {p}": writers[p](crystal) for p in programs for crystal in crystals}
    return {name: text for name, text in texts.items() if text}


def mixed() -> Crystal:
    """Two metals that share a place."""
    metals = [Site("Mg1", "Mg", (0, 0, 0), 0.6, 0.006), Site("Fe1", "Fe", (0, 0, 0), 0.4, 0.006)]
    return Crystal.build("mixed", 4.2, 225, [*metals, Site("O1", "O", (0.5, 0.5, 0.5), 1.0, 0.008)])


def as_ase(crystal: Crystal) -> str:
    """As ASE writes it: every atom in P 1, without displacements."""
    try:
        from ase import Atoms
        from ase import io as ase_io
    except ImportError:
        return ""
    atoms = Atoms(crystal.atoms.elements, scaled_positions=crystal.atoms.xyz, cell=crystal.direct.T, pbc=True)
    if crystal.atoms.occupancy.min() < 1:
        atoms = ase_io.read(io.StringIO(crystal.to_cif()), format="cif")
    file = io.BytesIO()
    ase_io.write(file, atoms, format="cif")
    return file.getvalue().decode()


def as_pymatgen(crystal: Crystal) -> str:
    """As pymatgen writes it with its symmetry."""
    try:
        from pymatgen.core import Lattice, Structure
        from pymatgen.io.cif import CifWriter
    except ImportError:
        return ""
    shares: dict[tuple[float, ...], dict[str, float]] = {}
    for element, point, share in zip(
        crystal.atoms.elements, crystal.atoms.xyz.tolist(), crystal.atoms.occupancy.tolist(), strict=True
    ):
        shares.setdefault(tuple(point), {})[element] = share
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spglib announces changes
        structure = Structure(Lattice(crystal.direct.T), list(shares.values()), list(shares))
        return str(CifWriter(structure, symprec=0.01))


def as_cod(crystal: Crystal) -> str:
    """As the Crystallography Open Database keeps refinements: operations, content, U and U_ij."""
    lines = [*_head(crystal), "loop_", "_symmetry_equiv_pos_as_xyz", *crystal.operations]
    tensors = [s for s in crystal.sites if s.u_aniso is not None]
    columns = (
        "label",
        "type_symbol",
        "fract_x",
        "fract_y",
        "fract_z",
        "U_iso_or_equiv",
        "adp_type",
        "occupancy",
        "symmetry_multiplicity",
        "Wyckoff_symbol",
    )
    lines += ["loop_", *(f"_atom_site_{name}" for name in columns)]
    for index, site in enumerate(crystal.sites):
        many, letter = _place(crystal, index)
        u = (
            site.u_iso
            if site.u_aniso is None
            else float(crystal.atoms.b_iso[crystal.atoms.site == index][0]) / 78.957
        )
        where = " ".join(_rounded(v) for v in site.xyz)
        kind = "Uiso" if site.u_aniso is None else "Uani"
        lines.append(f"{site.label} {site.element} {where} {u:.5f}(8) {kind} {site.occupancy:g} {many} {letter}")
    if tensors:
        order = ("11", "22", "33", "12", "13", "23")
        lines += ["loop_", "_atom_site_aniso_label", *(f"_atom_site_aniso_U_{ij}" for ij in order)]
        for site in tensors:
            u11, u22, u33, u23, u13, u12 = site.u_aniso or ()
            values = " ".join(f"{v:.5f}(9)" for v in (u11, u22, u33, u12, u13, u23))
            lines.append(f"{site.label} {values}")
    return "\n".join(lines) + "\n"


def as_icsd(crystal: Crystal) -> str:
    """As the Inorganic Crystal Structure Database exports it: numbered operations, B, oxidation numbers."""
    lines = [*_head(crystal), "loop_", "_space_group_symop_id", "_space_group_symop_operation_xyz"]
    lines += [f"{number} '{text}'" for number, text in enumerate(crystal.operations, start=1)]
    kinds = sorted({site.element for site in crystal.sites})
    lines += ["loop_", "_atom_type_symbol", "_atom_type_oxidation_number", *(f"{kind}0+ 0" for kind in kinds)]
    columns = (
        "label",
        "type_symbol",
        "symmetry_multiplicity",
        "Wyckoff_symbol",
        "fract_x",
        "fract_y",
        "fract_z",
        "B_iso_or_equiv",
        "occupancy",
        "attached_hydrogens",
    )
    lines += ["loop_", *(f"_atom_site_{name}" for name in columns)]
    for index, site in enumerate(crystal.sites):
        many, letter = _place(crystal, index)
        b = float(crystal.atoms.b_iso[crystal.atoms.site == index][0])
        where = " ".join(_rounded(v, "(2)") for v in site.xyz)
        share = "1." if site.occupancy == 1 else f"{site.occupancy:g}"
        lines.append(f"{site.label} {site.element}0+ {many} {letter} {where} {b:.3f} {share} 0")
    return "\n".join([*lines, "#End of data_1-ICSD", ""])


def by_hand(crystal: Crystal) -> str:
    """As people type them: cell, symbol, atoms with B."""
    tags = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = [f"data_{crystal.name}", f"_symmetry_space_group_name_H-M   '{crystal.space_group}'"]
    lines += [f"_cell_{tag} {_rounded(v)}" for tag, v in zip(tags, crystal.cell, strict=True)]
    columns = ("label", "fract_x", "fract_y", "fract_z", "occupancy", "B_iso_or_equiv")
    lines += ["loop_", *(f"_atom_site_{name}" for name in columns)]
    for index, site in enumerate(crystal.sites):
        b = float(crystal.atoms.b_iso[crystal.atoms.site == index][0])
        lines.append(f"{site.label} {' '.join(_rounded(v) for v in site.xyz)} {site.occupancy:g} {b:.2f}")
    return "\n".join(lines)


def _head(crystal: Crystal) -> list[str]:
    counts = Counter[str]()
    for element, share in zip(crystal.atoms.elements, crystal.atoms.occupancy.tolist(), strict=True):
        counts[element] += share
    z = gcd(*(round(n) for n in counts.values())) if all(abs(n - round(n)) < 1e-6 for n in counts.values()) else 4
    weight = sum(n * gemmi.Element(e).weight for e, n in counts.items())
    electrons = sum(n * gemmi.Element(e).atomic_number for e, n in counts.items())
    group = gemmi.SpaceGroup(crystal.space_group)
    formula = " ".join(
        f"{e}{n / z:g}".removesuffix("1") if n == z else f"{e}{n / z:g}" for e, n in sorted(counts.items())
    )
    tags = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    cell = [f"_cell_{tag} {_rounded(v, '(1)')}" for tag, v in zip(tags, crystal.cell, strict=True)]
    return [
        "data_7200001",
        "loop_",
        "_publ_author_name",
        "'Weiss, A.'",
        "'Braun, B.'",
        "_publ_section_title",
        ";",
        f" The structure of {crystal.name}, refined",
        ";",
        "_journal_year 1999",
        "_journal_page_first 123",
        f"_chemical_formula_sum '{formula}'",
        f"_chemical_formula_weight {weight / z:.2f}",
        f"_space_group_IT_number {group.number}",
        f"_symmetry_space_group_name_H-M '{group.xhm()}'",
        f"_symmetry_space_group_name_Hall '{group.hall}'",
        f"_symmetry_cell_setting {group.crystal_system_str()}",
        *cell,
        f"_cell_formula_units_Z {z}",
        f"_cell_volume {crystal.volume:.2f}",
        f"_exptl_crystal_density_diffrn {weight * 1.660539 / crystal.volume:.3f}",
        f"_exptl_crystal_F_000 {electrons:g}",
        "_cell_measurement_temperature 293",
        "_refine_ls_R_factor_all 0.031",
    ]


def _rounded(value: float, uncertainty: str = "") -> str:
    """Five decimals with an uncertainty; exact values as they are."""
    return f"{value:g}" if round(value, 3) == value else f"{value:.5f}{uncertainty}"


def _place(crystal: Crystal, index: int) -> tuple[int, str]:
    """Multiplicity and a Wyckoff letter that has it."""
    many = int(np.sum(crystal.atoms.site == index))
    letters = {p.multiplicity: p.letter for p in positions_of(gemmi.SpaceGroup(crystal.space_group).number)}
    return many, letters[many]
