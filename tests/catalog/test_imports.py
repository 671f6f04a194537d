"""Importing CIFs and catalogues: standard setting, duplicates, and failures with their reasons."""

import builtins
import zipfile

import pytest

from lacbed.catalog.files import table_of, write_catalog
from lacbed.catalog.imports import Provenance, import_source, row_of_cif
from lacbed.catalog.rows import crystal_of, deduplicated
from lacbed.crystals import Crystal, Site
from lacbed.errors import FileFormatError, MissingExtraError


def _p1(crystal):
    """All atoms of the cell, moved, without symmetry and without displacements."""
    lines = ["data_x"]
    lines += [f"_cell_length_{n} {v}" for n, v in zip("abc", crystal.cell[:3], strict=True)]
    lines += [f"_cell_angle_{n} {v}" for n, v in zip(("alpha", "beta", "gamma"), crystal.cell[3:], strict=True)]
    lines += ["loop_", "_atom_site_type_symbol", *(f"_atom_site_fract_{x}" for x in "xyz")]
    for element, (x, y, z) in zip(crystal.atoms.elements, crystal.atoms.xyz, strict=True):
        lines.append(f"{element} {x + 0.137:.6f} {y + 0.02:.6f} {z - 0.3:.6f}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", ["Si", "SrTiO3", "GaAs", "MgO"])
def test_a_cell_without_symmetry_becomes_the_standard_one(name):
    pytest.importorskip("spglib")
    crystal = Crystal.named(name)
    row = row_of_cif(_p1(crystal), "x.cif", Provenance())
    direct = row_of_cif(crystal.to_cif(), "x.cif", Provenance())
    assert row["compound_id"] == direct["compound_id"]
    assert row["a"] == pytest.approx(crystal.cell[0], abs=1e-4)
    assert row["has_u_iso"] is False
    assert direct["has_u_iso"] is True
    assert "file" in row["note"]


def test_hexagonal_and_mixed_crystals(tmp_path):
    pytest.importorskip("spglib")
    wurtzite = Crystal.build(
        "ZnO",
        (3.25, 3.25, 5.207, 90, 90, 120),
        186,
        [Site("Zn", "Zn", (1 / 3, 2 / 3, 0)), Site("O", "O", (1 / 3, 2 / 3, 0.382))],
    )
    row = row_of_cif(wurtzite.to_cif(), "x.cif", Provenance())
    assert (row["space_group"], row["gamma"], row["anonymous_prototype"]) == (186, 120.0, "AB_186_b_b")
    alloy = Crystal.build("SiGe", 5.5, 227, [Site(e, e, (0.125,) * 3, 0.5) for e in ("Si", "Ge")])
    row = row_of_cif(alloy.to_cif(), "x.cif", Provenance())
    assert (row["formula"], row["ordered"], row["n_sites_prim"]) == ("SiGe", False, 2)
    assert row["wyckoff_signature"] == "Ge0.5/Si0.5:a"
    assert len(crystal_of(row).sites) == 2


def _fill(folder):
    (folder / "deep").mkdir(parents=True)
    (folder / "si.cif").write_text(Crystal.named("Si").to_cif(), encoding="utf-8")
    (folder / "deep" / "same.cif").write_text(_p1(Crystal.named("Si")), encoding="utf-8")
    (folder / "bad.cif").write_text("hello\n", encoding="utf-8")
    (folder / "readme.txt").write_text("not a CIF", encoding="utf-8")


def test_a_folder_and_its_zip_give_the_same(tmp_path):
    pytest.importorskip("spglib")
    folder = tmp_path / "cifs"
    _fill(folder)
    archive = tmp_path / "cifs.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted(folder.rglob("*")):
            out.write(path, path.relative_to(folder).as_posix())
    provenance = Provenance("lab", "CC-BY-4.0")
    first, second = import_source(folder, provenance), import_source(archive, provenance)
    assert first == second
    assert [row["source_id"] for row in first.rows] == ["si.cif"]
    assert first.rows[0]["licence"] == "CC-BY-4.0"
    assert first.duplicates == [("deep/same.cif", "si.cif")]
    ((name, why),) = first.failures
    assert name == "bad.cif"
    assert "not a CIF" in why


def test_entries_of_the_cod_are_recognised():
    pytest.importorskip("spglib")
    text = Crystal.named("Si").to_cif().replace("_cell_length_a", "_cod_database_code 9008566\n_cell_length_a", 1)
    row = row_of_cif(text, "x.cif", Provenance())
    assert (row["source"], row["source_id"], row["licence"]) == ("COD", "9008566", "CC0-1.0")


def test_each_block_with_atoms_is_a_structure(tmp_path):
    pytest.importorskip("spglib")
    blocks = [f"data_{name}\n" + Crystal.named(name).to_cif().split("\n", 1)[1] for name in ("MgO", "Si")]
    blocks[1] = blocks[1].replace("_cell_length_a", "_cod_database_code 9008566\n_cell_length_a", 1)
    bad = "data_bad\nloop_\n_atom_site_label\n_atom_site_fract_x\nO1 0\n"
    (tmp_path / "two.cif").write_text(
        "\n".join(["data_global\n_journal_year 2000\n", *blocks, bad]), encoding="utf-8"
    )
    imported = import_source(tmp_path)
    found = [(row["formula"], row["source"], row["source_id"]) for row in imported.rows]
    assert found == [("MgO", "CIF", "two.cif#MgO"), ("Si", "COD", "9008566")]
    assert imported.failures == [("two.cif (bad)", imported.failures[0][1])]
    assert "no unit cell" in imported.failures[0][1]
    assert not imported.failures[0][1].startswith("two.cif")


def test_blank_blocks_are_left_out_and_files_are_read_as_elsewhere(tmp_path):
    pytest.importorskip("spglib")
    blank = "data_blank\nloop_\n" + "".join(f"_atom_site_fract_{x}\n" for x in "xyz") + "? ? ?\n"
    magnesia, silicon = (Crystal.named(name).to_cif() for name in ("MgO", "Si"))
    (tmp_path / "blank.cif").write_text(blank + magnesia)
    (tmp_path / "old.cif").write_bytes(silicon.replace("\n", "\r").encode("utf-16"))
    imported = import_source(tmp_path)
    assert [(row["formula"], row["source_id"]) for row in imported.rows] == [
        ("MgO", "blank.cif"),
        ("Si", "old.cif"),
    ]
    assert not imported.failures


def test_a_distance_of_nothing_is_explained_where_images_were_merged(tmp_path):
    lines = ["data_x", *(f"_cell_length_{n} 4.0" for n in "abc"), "_symmetry_space_group_name_H-M 'P m -3 m'"]
    lines += ["loop_", "_atom_site_type_symbol", *(f"_atom_site_fract_{x}" for x in "xyz")]
    (tmp_path / "x.cif").write_text("\n".join([*lines, "Na 0 0 0", "Cl 0.01 0 0", ""]), encoding="utf-8")
    ((_, why),) = import_source(tmp_path).failures
    assert "collide: 0.000 Å apart (images within 0.1 Å of each other are one atom) with" in why


def test_damaged_sources(tmp_path):
    with pytest.raises(FileFormatError, match="no such file"):
        import_source(tmp_path / "none")
    with pytest.raises(FileFormatError, match=r"no \.cif files"):
        import_source(tmp_path)
    other = tmp_path / "x.txt"
    other.write_text("hello", encoding="utf-8")
    with pytest.raises(FileFormatError, match="neither"):
        import_source(other)
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("a.txt", "a")
    with pytest.raises(FileFormatError, match=r"no \.cif files"):
        import_source(archive)
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(FileFormatError, match="neither"):
        import_source(archive)


def test_a_damaged_entry_of_a_zip_is_one_failure(tmp_path):
    pytest.importorskip("spglib")
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("a.cif", "data_a\n" + "#" * 500)
        out.writestr("b.cif", Crystal.named("Si").to_cif())
    content = bytearray(archive.read_bytes())
    at = content.index(b"#" * 100)
    content[at : at + 20] = b"?" * 20
    archive.write_bytes(content)
    imported = import_source(archive)
    assert len(imported.rows) == 1
    assert imported.failures[0][0] == "a.cif"
    assert "unpacked" in imported.failures[0][1]


def test_bad_rows_of_a_catalogue_are_listed(tmp_path, rows):
    path = tmp_path / "c.parquet"
    write_catalog(table_of([*rows[:5], {**rows[5], "a": 0.2}]), path, "test")
    imported = import_source(path)
    assert len(imported.rows) == 5
    assert "cell lengths" in imported.failures[0][1]


def test_the_better_of_two_equal_rows_is_kept(rows):
    measured = {**rows[0], "kind": "experimental", "source_id": "m", "a": rows[0]["a"] + 0.019}
    other = {**rows[0], "source_id": "o", "a": rows[0]["a"] + 0.05}
    kept, dropped = deduplicated([rows[0], measured, other])
    assert [row["source_id"] for row in kept] == ["m", "o"]
    assert [(a["source_id"], b["source_id"]) for a, b in dropped] == [(rows[0]["source_id"], "m")]


def test_without_spglib_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def fake(name, *rest, **named):
        if name == "spglib":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", fake)
    with pytest.raises(MissingExtraError, match=r"lacbed\[catalog\]"):
        row_of_cif(Crystal.named("Si").to_cif(), "x.cif", Provenance())
