"""Space-group symbols in the spellings of data bases, papers and programs."""

import gemmi
import pytest

from lacbed.crystals.symbols import settings_of, settings_of_number
from lacbed.crystals.symmetry import find_space_group


def first(symbol: str) -> str:
    found = settings_of(symbol)
    return found[0].xhm() if found else ""


@pytest.mark.parametrize("group", list(gemmi.spacegroup_table()), ids=lambda g: g.xhm())
def test_every_tabulated_symbol_in_any_case_and_spacing(group):
    for symbol in (group.xhm(), group.xhm().upper(), group.xhm().replace(" ", ""), group.xhm().replace(" ", "_")):
        assert [g.hall for g in settings_of(symbol)] == [group.hall]


@pytest.mark.parametrize(
    ("symbol", "setting"),
    [
        ("P 4/m -3 2/m", "P m -3 m"),
        ("P4/m-32/m", "P m -3 m"),
        ("F 4/m 3 2/m", "F m -3 m"),
        ("F 41/d -3 2/m :1", "F d -3 m:1"),
        ("I 41/a -3 2/d", "I a -3 d"),
        ("P 42/m -3 2/n", "P m -3 n"),
        ("I 21/a -3", "I a -3"),
        ("P 2/m -3", "P m -3"),
        ("R -3 2/c", "R -3 c:H"),
        ("P -3 1 2/m", "P -3 1 m"),
        ("P -3 2/m 1", "P -3 m 1"),
        ("I 41/a 2/m 2/d", "I 41/a m d:2"),
        ("P 4/m 21/b 2/m", "P 4/m b m"),
        ("P 63/m 2/m 2/c", "P 63/m m c"),
        ("P 21/b 21/n 21/m", "P b n m"),
        ("C 2/m 2/c 21/m", "C m c m"),
        ("I 21/b 21/c 21/a", "I b c a"),
        ("Pm3m", "P m -3 m"),
        ("Fm3", "F m -3"),
        ("Ia3d", "I a -3 d"),
        ("Pa3", "P a -3"),
        ("pm-3m", "P m -3 m"),
        ("P M -3 M", "P m -3 m"),
        ("P2(1)/n", "P 1 21/n 1"),
        ("P 2(1)2(1)2(1)", "P 21 21 21"),
        ("P 2(1)", "P 1 21 1"),
        ("P 6(3)/mmc", "P 63/m m c"),
        ("P 2_1/c", "P 1 21/c 1"),
        ("$P2_{1}/c$", "P 1 21/c 1"),
        ("P 2~1~/c", "P 1 21/c 1"),
        ("P 2<sub>1</sub>/c", "P 1 21/c 1"),
        ("P 2₁/c", "P 1 21/c 1"),
        ("P 1 21/n", "P 1 21/n 1"),
        ("P 1 21/c 1:b1", "P 1 21/c 1"),
        ("P 1 1 21/b", "P 1 1 21/b"),
        ("P 21/b", "P 1 1 21/b"),
        ("Pmnb", "P m n b"),
        ("Cmce", "C m c a"),
        ("A e a m", "A b a m"),
        ("Bmab", "B m a b"),
        ("F m \u22123 m", "F m -3 m"),
        ("F m 3\u0305 m", "F m -3 m"),
        ("F m \u00af3 m", "F m -3 m"),
        ("$Fm\\bar{3}m$", "F m -3 m"),
        ("Fm3barm", "F m -3 m"),
        ("'F m -3 m'", "F m -3 m"),
        ("F m -3 m (No. 225)", "F m -3 m"),
        ("F m -3 m (225)", "F m -3 m"),
        ("Fd-3mS", "F d -3 m:1"),
        ("F d -3 m Z", "F d -3 m:2"),
        ("Fd3m", "F d -3 m:2"),
        ("P n n n O1", "P n n n:1"),
        ("P n n n ORIGIN 1", "P n n n:1"),
        ("P n n n (origin choice 1)", "P n n n:1"),
        ("Fd-3m(1)", "F d -3 m:1"),
        ("R -3 c RS", "R -3 c:R"),
        ("R-3cR", "R -3 c:R"),
        ("R -3 c HR", "R -3 c:H"),
        ("R -3 c HS", "R -3 c:H"),
        ("R -3 c (rhombohedral axes)", "R -3 c:R"),
        ("H -3 m", "R -3 m:H"),
    ],
)
def test_spellings(symbol, setting):
    assert first(symbol) == setting


@pytest.mark.parametrize(
    "symbol",
    [
        "",
        "?",
        "P",
        "P q",
        "P m 3- m",
        "P 42/m -3 2/m",  # no 4_2 in P m -3 m
        "P 21/m 2/m 2/m",
        "P -3 m",  # P -3 m 1, or P -3 1 m
        "P m -3 m:2",
        "P m -3 m S",
        "R -3 m:1",
        "F m -3 m (No. 227)",
        "I 4/m' m'",
        "C 1 2/c 1 (-a,b,c)",
        "P" * 100_000,
        "(" * 2000 + "1",
    ],
)
def test_what_has_no_meaning(symbol):
    assert settings_of(symbol) == ()


def test_open_choices_in_the_usual_order():
    assert [g.xhm() for g in settings_of("F d -3 m")] == ["F d -3 m:2", "F d -3 m:1"]
    assert [g.xhm() for g in settings_of("R -3 m")] == ["R -3 m:H", "R -3 m:R"]
    assert [g.xhm() for g in settings_of("P21/n")] == ["P 1 21/n 1", "P 1 1 21/n", "P 21/n 1 1"]


def test_numbers_begin_with_the_reference_setting():
    for number in range(1, 231):
        assert settings_of_number(number)[0] == gemmi.get_spacegroup_reference_setting(number)


def test_python_takes_the_same_spellings():
    assert find_space_group("F 4/m -3 2/m").xhm() == "F m -3 m"
    assert find_space_group("Fd-3mS").xhm() == "F d -3 m:1"
