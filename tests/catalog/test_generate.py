"""Generated catalogues: the same for the same seed, and structures that could exist."""

import random
from collections import Counter, defaultdict

import numpy as np
import pytest

from lacbed.catalog.bond_lengths import bond_geometry, fit_prototype
from lacbed.catalog.files import read_catalog
from lacbed.catalog.generate import (
    BOND_ERROR,
    all_candidates,
    crystal_of_candidate,
    displacement,
    generate_rows,
    identity,
    largest_count,
    row_of_candidate,
)
from lacbed.catalog.prototypes import IONIC, PROTOTYPES
from lacbed.catalog.rows import crystal_of
from lacbed.crystals.wyckoff import locate
from lacbed.errors import SettingError

EXPECTED = {
    **{"fcc": "A_225_a", "bcc": "A_229_a", "diamond": "A_227_a", "rock salt": "AB_225_a_b", "CsCl": "AB_221_a_b"},
    **{"B2": "AB_221_a_b", "zinc blende": "AB_216_a_c", "fluorite": "AB2_225_a_c", "antifluorite": "AB2_225_a_c"},
    **{"perovskite": "ABC3_221_a_b_c", "antiperovskite": "ABC3_221_a_b_c", "elpasolite": "ABC2D6_225_a_b_c_e"},
    **{"K2PtCl6": "AB2C6_225_a_c_e", "ReO3": "AB3_221_a_d", "Cu2O": "AB2_224_a_b", "spinel": "AB2C4_227_a_d_e"},
    **{"pyrochlore": "A2B2C7_227_c_d_af", "garnet": "A2B3C3D12_230_a_c_d_h", "bixbyite": "A2B3_206_ad_e"},
    **{"pyrite": "AB2_205_a_c", "skutterudite": "AB3_204_c_g", "Heusler L2_1": "ABC2_225_a_b_c"},
    **{"half-Heusler": "ABC_216_a_b_c", "L1_2": "AB3_221_a_c", "A15": "AB3_223_a_c", "Laves C15": "AB2_227_a_d"},
}
MERGED = {"garnet", "pyrochlore"}  # one element may have two roles, as Al in Y3Al5O12
KNOWN = {  # Å, at room temperature
    **{"rock salt/A=Na,X=Cl": 5.640, "diamond/A=Si": 5.431, "perovskite/A=Sr,B=Ti,X=O": 3.905, "fcc/A=Cu": 3.615},
    **{"spinel/A=Mg,B=Al,X=O": 8.083, "garnet/A=Y,B=Al,C=Al,X=O": 12.008, "pyrite/A=Fe,X=S": 5.416},
    **{"pyrochlore/A=Y,B=Ti,X=O,Y=O": 10.095, "skutterudite/A=Co,X=Sb": 9.038, "bixbyite/A=Y,X=O": 10.604},
    **{"fluorite/A=Ca,X=F": 5.463, "A15/A=Nb,B=Sn": 5.290, "ReO3/A=Re,X=O": 3.748, "CsCl/A=Cs,X=Cl": 4.123},
    **{"Cu2O/A=Cu,X=O": 4.270, "Heusler L2_1/X=Cu,Y=Mn,Z=Al": 5.949, "Laves C15/A=Mg,B=Cu": 7.034},
    **{"elpasolite/A=K,B=Na,C=Al,X=F": 8.122, "K2PtCl6/A=K,B=Pt,X=Cl": 9.743, "half-Heusler/X=Ni,Y=Ti,Z=Sn": 5.92},
}


@pytest.fixture(scope="module")
def candidates():
    return all_candidates()


def test_same_seed_same_rows(rows):
    assert generate_rows(120, 3) == rows
    assert generate_rows(40, 3) == rows[:40]
    other = generate_rows(40, 4)
    assert [r["source_id"].rsplit("/", 1)[0] for r in other] != [
        r["source_id"].rsplit("/", 1)[0] for r in rows[:40]
    ]


def test_rows_say_where_they_come_from(rows):
    for row in rows:
        assert (row["source"], row["licence"], row["kind"]) == ("lacbed generate", "CC0-1.0", "generated")
        assert row["source_id"].endswith("/3")
        assert row["experimentally_known"] is None
    assert len({row["source_id"] for row in rows}) == len(rows)
    assert len({row["anonymous_prototype"] for row in rows}) >= 18


def test_too_many_is_said():
    with pytest.raises(SettingError, match=f"at most {largest_count()}"):
        generate_rows(largest_count() + 1)
    for bad in (0, -1, 1.5):
        with pytest.raises(SettingError, match="count must be a whole number"):
            generate_rows(bad)
    with pytest.raises(SettingError, match="seed"):
        generate_rows(1, -1)


def test_prototypes_are_what_they_are_called(candidates):
    counts = Counter(c.prototype for c in candidates)
    assert set(counts) == set(PROTOTYPES) == set(EXPECTED)
    assert len(PROTOTYPES) >= 24
    assert len(candidates) == largest_count() > 10_000
    seen = set()
    for candidate in candidates:
        distinct = len({element for _, element in candidate.elements}) == len(candidate.elements)
        if candidate.prototype not in seen and (distinct or candidate.prototype == "pyrochlore"):
            seen.add(candidate.prototype)
            assert row_of_candidate(candidate, 0)["anonymous_prototype"] == EXPECTED[candidate.prototype]
    assert len(seen) >= len(PROTOTYPES) - 1


def test_structures_could_exist(candidates):
    for candidate in random.Random(5).sample(candidates, 150):
        row = row_of_candidate(candidate, 1)
        assert 1.3 < row["min_distance"] < 5.5, identity(candidate)
        assert 0.3 < row["density"] < 25, identity(candidate)
        b_iso = [site["u_iso"] * 8 * np.pi**2 for site in row["sites"]]
        assert all(0.02 < b < 3.0 for b in b_iso)
        assert crystal_of(row).notes == ()


def test_charges_balance():
    for rule in IONIC:
        prototype, charge = PROTOTYPES[rule.prototype], dict(rule.charges)
        start = np.array(prototype.start)
        total = 0
        for (role, _), (origin, slope) in zip(prototype.sites, bond_geometry(prototype.name).places, strict=True):
            total += charge[role] * locate(prototype.space_group, origin + slope @ start)[0].multiplicity
        assert total == 0, rule


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("spinel", (1.92, 1.93)),
        ("garnet", (1.93, 2.40, 1.77)),
        ("pyrite", (2.26, 2.08)),
        ("elpasolite", (2.30, 1.82, 2.90)),
        ("bixbyite", (2.28,)),
    ],
)
def test_fitted_bonds_have_the_lengths_asked_for(name, wanted):
    (result,) = fit_prototype(name, [wanted])
    assert result.error < BOND_ERROR / 5
    assert 4.0 < result.a < 13.0


def test_spinel_agrees_with_the_formula_for_it():
    # O'Neill & Navrotsky, Am. Mineral. 68 (1983) 181: both bond lengths of a spinel fix a.
    tetrahedral, octahedral = 1.92, 1.93
    root = np.sqrt(33 * octahedral**2 - 8 * tetrahedral**2)
    (found,) = fit_prototype("spinel", [(tetrahedral, octahedral)])
    assert found.a == pytest.approx(8 * (5 * tetrahedral + root) / (11 * np.sqrt(3)), rel=1e-4)


def test_well_known_lattice_parameters(candidates):
    found = {identity(c): c.a for c in candidates}
    errors = {name: found[name] / a - 1 for name, a in KNOWN.items()}
    assert max(map(abs, errors.values())) < 0.06, errors
    assert np.median(np.abs(list(errors.values()))) < 0.015


def test_lattice_parameters_against_the_open_catalogue(candidates, cubic):
    known = defaultdict(list)
    table = read_catalog(cubic, ["compound_id", "a", "experimentally_known"]).to_pylist()
    for row in table:
        if row["experimentally_known"]:
            known[row["compound_id"]].append(row["a"])
    picked = random.Random(2).sample(candidates, 700)
    errors = []
    for candidate in picked:
        row = row_of_candidate(candidate, 0)
        if row["compound_id"] in known:
            errors.append(min(abs(candidate.a / a - 1) for a in known[row["compound_id"]]))
    assert len(errors) > 30
    assert np.median(errors) < 0.03
    assert np.quantile(errors, 0.9) < 0.08


def test_displacements_rise_with_distance():
    low, high = displacement(2.0, 1e-9), displacement(2.0, 1 - 1e-9)
    assert low < displacement(2.0, 0.5) < high
    assert displacement(2.0, 0.5) == pytest.approx(0.0036)
    assert displacement(3.0, 0.5) == pytest.approx(0.0081)


def test_a_candidate_is_a_crystal(candidates):
    crystal = crystal_of_candidate(next(c for c in candidates if c.prototype == "garnet"))
    assert len(crystal.atoms) == 160
