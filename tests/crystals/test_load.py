import pytest
from crystal_helpers import PLAIN

from lacbed.crystals.load import load_crystal
from lacbed.crystals.named import named_crystal
from lacbed.errors import CrystalError


def test_name():
    assert load_crystal("srtio3") == named_crystal("SrTiO3")


@pytest.mark.parametrize("name", ["some.cif", "some.CIF", "noending", "Si.cif"])
def test_path(tmp_path, name, monkeypatch):
    (tmp_path / name).write_text(PLAIN)
    assert load_crystal(str(tmp_path / name)).formula == "FeO"
    monkeypatch.chdir(tmp_path)
    assert load_crystal(name).formula == "FeO"


def test_a_file_may_not_hide_a_built_in_crystal(tmp_path, monkeypatch):
    (tmp_path / "Si").write_text(PLAIN)
    monkeypatch.chdir(tmp_path)
    assert load_crystal("Si").formula == "Si"
    assert load_crystal("./Si").formula == "FeO"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere.cif", "no such file: nowhere.cif"),
        ("a/b", "no such file: a/b"),
        (
            "SrTiO4",
            r"no built-in crystal 'SrTiO4'; did you mean SrTiO3.*\?; nor is there a file of that name",
        ),
        ("", "no built-in crystal ''"),
        ("a\0b", "no built-in crystal"),
    ],
)
def test_neither(text, message):
    with pytest.raises(CrystalError, match=message):
        load_crystal(text)


def test_block_of_a_built_in_crystal():
    with pytest.raises(CrystalError, match="Si is a built-in crystal; --block two"):
        load_crystal("Si", "two")


def test_block(tmp_path):
    path = tmp_path / "two.cif"
    path.write_text(PLAIN + PLAIN.replace("data_test", "data_two").replace("Fe", "Ni"))
    assert load_crystal(str(path), "two").formula == "NiO"
