import time

import gemmi
import numpy as np
import pytest
from crystal_helpers import distances, fitting_cell, indices, structure_factors

from lacbed.crystals import Crystal, Site
from lacbed.crystals.cell import direct_basis
from lacbed.crystals.site import B_PER_U
from lacbed.errors import CrystalError

U_GENERAL = (0.011, 0.017, 0.023, 0.003, -0.004, 0.002)
HEXAGONAL = (4.7, 4.7, 13.0, 90.0, 90.0, 120.0)


@pytest.mark.parametrize(
    ("number", "cell", "xyz", "multiplicity", "exact"),
    [
        (194, (3.2, 3.2, 5.2, 90, 90, 120), (0.3333, 0.6667, 0.25), 2, (1 / 3, 2 / 3, 0.25)),
        (194, (3.2, 3.2, 5.2, 90, 90, 120), (0.333, 0.667, 0.25), 2, (1 / 3, 2 / 3, 0.25)),
        (194, (3.2, 3.2, 5.2, 90, 90, 120), (-0.6667, -0.3333, 1.25), 2, (1 / 3, 2 / 3, 0.25)),
        (227, (5.43,) * 3 + (90,) * 3, (0.125, 0.1251, 0.1249), 8, (0.125, 0.125, 0.125)),
        (167, HEXAGONAL, (0.0, 0.0001, 0.1478), 12, (0.0, 0.0, 0.1478)),
        (167, HEXAGONAL, (0.306, 0.0, 0.2499), 18, (0.306, 0.0, 0.25)),
        (221, (3.9,) * 3 + (90,) * 3, (0.9999, 0.5001, 0.5), 3, (0.0, 0.5, 0.5)),
    ],
)
def test_rounded_special_positions(number, cell, xyz, multiplicity, exact):
    crystal = Crystal.build("box", tuple(map(float, cell)), number, [Site("O1", "O", xyz)])
    assert len(crystal.atoms) == multiplicity
    assert np.all((crystal.atoms.xyz >= 0) & (crystal.atoms.xyz < 1))
    gap = crystal.atoms.xyz - np.array(exact)
    gap -= np.round(gap)
    # On the position itself, not near it: it differs from a free coordinate by that coordinate's rounding.
    assert np.abs(gap).max(axis=1).min() < 2e-4
    again = Crystal.build("box", crystal.cell, number, [Site("O1", "O", tuple(crystal.atoms.xyz[0]))])
    assert np.allclose(again.atoms.xyz, crystal.atoms.xyz, atol=1e-12)


def test_a_position_near_an_axis_stays_general_when_it_is_far_enough():
    crystal = Crystal.build("box", 8.0, 221, [Site("O1", "O", (0.03, 0.0, 0.0), 1 / 6)])
    assert len(crystal.atoms) == 6


def test_mixed_site():
    sites = [Site("Ge1", "Ge", (0, 0, 0), 0.975, 0.006), Site("Sn1", "Sn", (0, 0, 0), 0.025, 0.006)]
    crystal = Crystal.build("GeSn", 5.64, "F d -3 m:1", sites)
    assert len(crystal.atoms) == 16
    assert crystal.atoms.occupancy.sum() == pytest.approx(8.0)
    assert crystal.formula == "Ge39Sn"


def test_mixed_site_overfilled():
    sites = [Site("Ge1", "Ge", (0, 0, 0), 0.9), Site("Sn1", "Sn", (0.01, 0, 0), 0.2)]
    with pytest.raises(CrystalError, match=r"collide: 0\.056 Å apart with occupancies that sum to 1\.100"):
        Crystal.build("GeSn", 5.64, 1, sites)


def test_three_thirds_are_one():
    thirds = [Site(e, e, (0, 0, 0), 0.3333) for e in ("Fe", "Co", "Ni")]
    atoms = Crystal.build("alloy", 3.6, 225, thirds).atoms
    assert len(atoms.xyz) == 12
    assert atoms.occupancy.sum() == pytest.approx(4 * 0.9999)


def test_collision_across_a_face():
    with pytest.raises(CrystalError, match=r"collide: 0\.160 Å"):
        Crystal.build("box", 4.0, 1, [Site("O1", "O", (0.98, 0.5, 0.5)), Site("O2", "O", (0.02, 0.5, 0.5))])


def test_collision_across_a_corner():
    with pytest.raises(CrystalError, match="collide"):
        Crystal.build("box", 4.0, 1, [Site("O1", "O", (0.97,) * 3), Site("O2", "O", (0.02,) * 3)])


def test_collision_with_own_image_under_an_operation():
    with pytest.raises(CrystalError, match="O1 and an image of it collide"):
        Crystal.build("box", 4.0, "P -1", [Site("O1", "O", (0.03, 0.0, 0.0))])


SETTINGS_WITH_SKEW = [
    "P -1",
    "P 1 21/c 1",
    "C 1 2/c 1",
    "I 1 2/a 1",
    "P 1 1 2/m",
    "P 31",
    "P 32 2 1",
    "R -3 c:H",
]
SETTINGS_WITH_SKEW += [
    "R 3 m:R",
    "P 63/m",
    "F d -3 m:1",
    "F d -3 m:2",
    "P 41 3 2",
    "P n m a",
    "P b n m",
    "I 41/a:2",
]


def gemmi_factors(crystal, hkl):
    """Structure factors from gemmi's own reading of the CIF, its own symmetry and its own U_ij."""
    small = gemmi.make_small_structure_from_block(gemmi.cif.read_string(crystal.to_cif()).sole_block())
    small.change_occupancies_to_crystallographic()
    calculator = gemmi.StructureFactorCalculatorX(small.cell)
    return np.array([calculator.calculate_sf_from_small_structure(small, list(map(int, h))) for h in hkl])


@pytest.mark.parametrize("symbol", SETTINGS_WITH_SKEW)
def test_anisotropic_displacements_against_gemmi(symbol):
    group = gemmi.find_spacegroup_by_name(symbol)
    sites = [
        # A place at least 1.1 Å from its images in all of these, as gemmi counts images within 0.4 Å as one.
        Site("Fe1", "Fe", (0.0948, 0.0049, 0.3229), 0.9, None, U_GENERAL),
        Site("O1", "O", (0.0948, 0.0149, 0.3229), 0.05, 0.012),
    ]
    crystal = Crystal.build("box", fitting_cell(group), symbol, sites)
    hkl = indices(3)
    expected = gemmi_factors(crystal, hkl)
    # gemmi keeps cell and coordinates in double precision; the rest is the order of summation.
    assert np.allclose(structure_factors(crystal, hkl), expected, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("symbol", ["P -1", "P 1 21/c 1", "R -3 c:H", "R -3 c:R", "F m -3 m"])
def test_u_of_an_isotropic_atom_given_as_tensor(symbol):
    cell = fitting_cell(gemmi.find_spacegroup_by_name(symbol))
    direct = direct_basis(cell)
    reciprocal = np.linalg.inv(direct).T
    lengths = np.linalg.norm(reciprocal, axis=0)
    u = 0.013 * (reciprocal.T @ reciprocal) / np.outer(lengths, lengths)
    tensor = (u[0, 0], u[1, 1], u[2, 2], u[1, 2], u[0, 2], u[0, 1])
    xyz = (0.0371, 0.0893, 0.1517)
    one = Crystal.build("iso", cell, symbol, [Site("O", "O", xyz, 1.0, 0.013)]).atoms
    two = Crystal.build("iso", cell, symbol, [Site("O", "O", xyz, 1.0, None, tensor)]).atoms
    assert np.allclose(one.beta, two.beta, rtol=1e-10, atol=1e-14)
    assert np.allclose(two.b_iso, B_PER_U * 0.013)


def test_tensor_gets_the_symmetry_of_its_site():
    crystal = Crystal.build("box", 4.0, 221, [Site("Fe", "Fe", (0, 0, 0), 1.0, None, U_GENERAL)])
    mean = 2 * np.pi**2 * np.mean(U_GENERAL[:3]) / 16.0
    assert np.allclose(crystal.atoms.beta[0], mean * np.eye(3))


def change_basis(crystal, matrix):
    """The same crystal in P 1 with basis vectors A' = A M, M integer of determinant 1: new cell, xyz and U."""
    direct = crystal.direct @ matrix
    edges = np.linalg.norm(direct, axis=0)
    unit = direct / edges
    angle = [np.degrees(np.arccos(unit[:, i] @ unit[:, j])) for i, j in ((1, 2), (0, 2), (0, 1))]
    inverse = np.linalg.inv(matrix)
    stars = np.linalg.norm(np.linalg.inv(direct), axis=1)
    sites = []
    for n, element in enumerate(crystal.atoms.elements):
        u = inverse @ crystal.atoms.beta[n] @ inverse.T / (2 * np.pi**2 * np.outer(stars, stars))
        tensor = (u[0, 0], u[1, 1], u[2, 2], u[1, 2], u[0, 2], u[0, 1])
        xyz = tuple((inverse @ crystal.atoms.xyz[n]).tolist())
        sites.append(Site(f"{element}{n}", element, xyz, crystal.atoms.occupancy[n], None, tensor))
    return Crystal("other cell", (*edges.tolist(), *map(float, angle)), tuple(sites))


@pytest.mark.parametrize("symbol", ["P 1 21/c 1", "P 31 2 1", "P -1"])
def test_same_crystal_in_another_cell_scatters_the_same(symbol):
    cell = fitting_cell(gemmi.find_spacegroup_by_name(symbol), (6.0, 7.0, 8.0))
    first = Crystal.build("a", cell, symbol, [Site("Fe", "Fe", (0.0371, 0.1, 0.16), 0.9, None, U_GENERAL)])
    matrix = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
    second = change_basis(first, matrix)
    hkl = indices(3)
    assert np.allclose(structure_factors(first, hkl), structure_factors(second, hkl @ matrix), atol=1e-9)


def test_monoclinic_axes_relabelled():
    """The same crystal with unique axis b and with unique axis c, U_ij carried along."""
    u11, u22, u33, u23, u13, u12 = U_GENERAL
    b = Crystal.build(
        "b",
        (6.0, 7.0, 8.0, 90, 105, 90),
        "P 1 21/c 1",
        [Site("Fe", "Fe", (0.04, 0.1, 0.16), 1, None, U_GENERAL)],
    )
    turned = Site("Fe", "Fe", (0.16, 0.04, 0.1), 1, None, (u33, u11, u22, u12, u23, u13))
    c = Crystal.build("c", (8.0, 6.0, 7.0, 90, 90, 105), "P 1 1 21/a", [turned])
    hkl = indices(3)
    turned_hkl = hkl[:, [2, 0, 1]]
    assert np.allclose(np.abs(structure_factors(b, hkl)), np.abs(structure_factors(c, turned_hkl)), atol=1e-9)


def test_hexagonal_and_rhombohedral_axes():
    a, c = 3.86, 13.7
    edge = np.sqrt(a * a / 3 + c * c / 9)
    alpha = float(np.degrees(np.arccos((c * c / 9 - a * a / 6) / edge**2)))
    hexagonal = Crystal.build(
        "H",
        (a, a, c, 90, 90, 120),
        "R -3 m:H",
        [Site("Bi", "Bi", (0, 0, 0)), Site("Te", "Te", (0, 0, 0.212))],
    )
    rhombohedral = Crystal.build(
        "R",
        (edge,) * 3 + (alpha,) * 3,
        "R -3 m:R",
        [Site("Bi", "Bi", (0, 0, 0)), Site("Te", "Te", (0.212,) * 3)],
    )
    assert len(hexagonal.atoms) == 3 * len(rhombohedral.atoms) == 9
    assert hexagonal.volume == pytest.approx(3 * rhombohedral.volume)
    table = distances(rhombohedral)
    assert np.allclose(distances(hexagonal), np.repeat(table, 3, axis=0), atol=1e-6)


def test_origin_choices_of_diamond_spinel():
    two = [("Mg", (0.125,) * 3), ("Al", (0.5,) * 3), ("O", (0.2623,) * 3)]
    one = [(e, tuple(v + 0.125 for v in xyz)) for e, xyz in two]
    first = Crystal.build("1", 8.08, "F d -3 m:1", [Site(e, e, x) for e, x in one])
    second = Crystal.build("2", 8.08, "F d -3 m:2", [Site(e, e, x) for e, x in two])
    assert len(first.atoms) == len(second.atoms) == 56
    assert np.allclose(distances(first), distances(second), atol=1e-6)
    hkl = indices(2)
    assert np.allclose(np.abs(structure_factors(first, hkl)), np.abs(structure_factors(second, hkl)), atol=1e-9)


def test_sign_of_the_phase_and_handedness():
    """F = f exp(+2 pi i h r): the imaginary part of GaAs 111 tells the two polarities apart."""
    crystal = Crystal.build("GaAs", 5.65, 216, [Site("Ga", "Ga", (0, 0, 0)), Site("As", "As", (0.25,) * 3)])
    f = structure_factors(crystal, np.array([[1, 1, 1], [-1, -1, -1]]))
    assert f[0].imag < 0 < f[1].imag


def test_arrays_become_plain_tuples():
    u = np.array([0.01, 0.01, 0.01, 0.0, 0.0, 0.0])
    site = Site("Fe", "Fe", np.array([0, 0.5, 0.25]), u_iso=None, u_aniso=u)
    assert site == Site("Fe", "Fe", (0.0, 0.5, 0.25), u_iso=None, u_aniso=tuple(u.tolist()))
    crystal = Crystal("box", [4, 5, 6, 90, 90, 90], [site], ["x,y,z"])
    assert hash(crystal) == hash(Crystal("box", (4.0, 5.0, 6.0, 90.0, 90.0, 90.0), (site,)))


def test_large_cells_are_quick():
    rng = np.random.default_rng(3)
    sites = [Site(f"O{n}", "O", tuple(x), 0.02) for n, x in enumerate(rng.random((7, 3)).tolist())]
    start = time.perf_counter()
    crystal = Crystal.build("zeolite", 33.7, 227, sites)
    assert len(crystal.atoms) == 7 * 192
    assert time.perf_counter() - start < 0.5  # measured 0.02 s


def test_too_many_atoms():
    sites = tuple(Site("O", "O", x, 1e-3) for x in np.random.default_rng(1).random((120, 3)).tolist())
    with pytest.raises(CrystalError, match="more than 20000 atoms"):
        Crystal.build("huge", 50.0, 227, sites)


def test_a_heap_of_atoms_is_refused_at_once():
    start = time.perf_counter()
    with pytest.raises(CrystalError, match="over 60 atoms lie within"):
        Crystal("heap", (10.0, 10.0, 10.0, 90.0, 90.0, 90.0), (Site("O", "O", (0.1, 0.1, 0.1), 1e-5),) * 15_000)
    assert time.perf_counter() - start < 10


def test_orbits_agree_with_gemmi_for_special_positions():
    group = gemmi.find_spacegroup_by_number(225)
    for xyz in (
        (0, 0, 0),
        (0.25, 0.25, 0.25),
        (0.3, 0, 0),
        (0.2, 0.2, 0.2),
        (0, 0.17, 0.17),
        (0.1, 0.1, 0.31),
    ):
        images = {
            tuple(np.round(np.mod(np.array(op.apply_to_xyz(list(xyz))) + 1e-9, 1), 5)) for op in group.operations()
        }
        assert len(Crystal.build("x", 12.0, 225, [Site("O", "O", xyz)]).atoms) == len(images)


@pytest.mark.parametrize(
    ("xyz", "occupancy", "count"),
    [
        ((0.00697, 0, 0), 1 / 6, 24),
        ((0.00697, 0, 0), 0.16, 24),
        ((0.00697, 0, 0), 0.2, 4),  # six times 0.2 is more than one atom
        ((0.00697, 0, 0), 1.0, 4),
        ((0.00697, 0.0001, 0), 1 / 6, 24),
        ((0.0002, 0, 0), 1 / 6, 4),  # 0.001 Å
        ((0.005, 0.005, 0.005), 1 / 8, 32),
        ((0.2500, 0.2500, 0.007), 1 / 6, 48),
    ],
)
def test_split_positions_are_decided_by_occupancy(xyz, occupancy, count):
    crystal = Crystal.build("split", 6.46, 225, [Site("Pb1", "Pb", xyz, occupancy)])
    assert len(crystal.atoms) == count


@pytest.mark.parametrize("xyz", [(0.333, 0.667, 0.25), (0.33, 0.67, 0.25), (0.333, 0.666, 0.25)])
@pytest.mark.parametrize("occupancy", [0.05, 0.3, 1.0])
def test_rounded_coordinates_are_no_split_position(xyz, occupancy):
    crystal = Crystal.build("x", (4, 4, 6, 90, 90, 120), 194, [Site("Li1", "Li", xyz, occupancy)])
    assert len(crystal.atoms) == 2


def test_a_dopant_stays_with_its_host():
    host, dopant = (Site(e, e, (0.0041, 0, 0), share) for e, share in (("Mg", 0.95), ("Zn", 0.05)))
    crystal = Crystal.build("doped", 6.46, 225, [host, dopant])
    assert np.bincount(crystal.atoms.site).tolist() == [4, 4]


def test_colliding_atoms_are_named_by_label():
    sites = [Site("M(1)", "Fe", (0, 0, 0)), Site("M(2)", "Ni", (0.05, 0, 0), 0.5)]
    with pytest.raises(CrystalError, match=r"M\(1\) and M\(2\) collide: 0\.200 Å apart with occupancies"):
        Crystal.build("box", 4.0, 1, sites)
