"""Files after public reports of what readers of CIFs get wrong, each with its right answer."""

from collections import Counter

import pytest

from lacbed.crystals.cif import read_cif
from lacbed.errors import CrystalError


def content(crystal) -> dict[str, float]:
    counts: Counter = Counter()
    for element, occupancy in zip(crystal.atoms.elements, crystal.atoms.occupancy.tolist(), strict=True):
        counts[element] += occupancy
    return {element: round(n, 3) for element, n in counts.items()}


@pytest.mark.parametrize(
    ("file", "setting", "atoms", "note"),
    [
        ("symmetry_in_other_tags/hm_full_tag.cif", "P m -3 m", {"Sr": 1, "Ti": 1, "O": 3}, ""),
        ("full_HM_symbol/full_HM_no_ops.cif", "F m -3 m", {"Na": 4, "Cl": 4}, ""),
        ("full_HM_symbol/full_HM_identity_only.cif", "F m -3 m", {"Na": 4, "Cl": 4}, "lists 1 operation"),
        ("full_HM_symbol/short_HM_identity_only.cif", "F m -3 m", {"Na": 4, "Cl": 4}, "lists 1 operation"),
        ("setting_dropped_for_number/Fd-3mS_number.cif", "F d -3 m:1", {"Si": 8}, ""),
        ("setting_dropped_for_number/R_RS_and_number.cif", "R -3 c:R", {"Ca": 2, "C": 2, "O": 6}, ""),
        ("setting_dropped_for_number/mono_P21n_paren_num.cif", "P 1 21/n 1", {"Fe": 4, "O": 4}, ""),
        ("setting_dropped_for_number/mono_Pbnm_full_num.cif", "P b n m", {"Fe": 8, "O": 8}, ""),
        ("content_contradicts_file/Fd3m_open.cif", "F d -3 m:1", {"Si": 8}, "without origin choice"),
        ("content_contradicts_file/number_only_227.cif", "F d -3 m:1", {"Si": 8}, "from its number 227"),
        ("rhombohedral_axes/R_RS.cif", "R -3 c:R", {"Ca": 2, "C": 2, "O": 6}, ""),
        ("rhombohedral_axes/R_RS_and_number.cif", "R -3 c:R", {"Ca": 2, "C": 2, "O": 6}, ""),
        ("monoclinic_unique_axis/mono_P21b.cif", "P 1 1 21/b", {"Fe": 4, "O": 4}, ""),
        ("monoclinic_unique_axis/mono_P21m_uniquec.cif", "P 1 1 21/m", {"Fe": 4, "O": 4}, ""),
        ("monoclinic_unique_axis/mono_P21n_paren.cif", "P 1 21/n 1", {"Fe": 4, "O": 4}, ""),
        (
            "duplicate_tag_of_PETS/duplicate_tag.cif",
            "P m -3 m",
            {"Sr": 1, "Ti": 1, "O": 3},
            "repeated",
        ),
        ("operations_in_fifths/ops_fifths.cif", "", {"Sr": 5, "Ti": 5, "O": 15}, ""),
        ("operations_question_mark/ops_question_mark.cif", "F m -3 m", {"Na": 4, "Cl": 4}, ""),
        ("cr_only/cr_only.cif", "F m -3 m", {"Na": 4, "Cl": 4}, ""),
    ],
)
def test_right_answer(shared, file, setting, atoms, note):
    crystal = read_cif(shared(f"cases/{file}"))
    assert crystal.space_group == setting
    assert content(crystal) == atoms
    assert any(note in text for text in (*crystal.notes, ""))
    assert not any("no symmetry given" in text for text in crystal.notes)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("superspace_and_old_magcif/old_magcif.cif", "expected the CIF of the nuclear structure"),
        (
            "placeholder_blocks_and_two_blocks/two_real_blocks.cif",
            r"\(T100K, T300K\); choose one with --block",
        ),
    ],
)
def test_refused(shared, file, message):
    with pytest.raises(CrystalError, match=message):
        read_cif(shared(f"cases/{file}"))


def test_block_by_name(shared):
    crystal = read_cif(shared("cases/placeholder_blocks_and_two_blocks/two_real_blocks.cif"), "T300K")
    assert content(crystal) == {"Sr": 1, "Ti": 1, "O": 3}


def test_nearly_cubic_cell_is_a_cube(shared):
    from lacbed.learn.domain import is_cubic  # it needs no model

    assert is_cubic(read_cif(shared("cases/predict_relaxed_cell/sto_relaxed.cif")))
