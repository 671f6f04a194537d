"""Session files: what goes in comes out, and nothing else gets in."""

import io
import json
import random
import zipfile
from contextlib import suppress

import pytest

from lacbed.app.request import parse_view
from lacbed.app.session import check_look, read_session, write_session
from lacbed.errors import FileFormatError, LacbedError, SettingError

CIF = "data_mine\n_cell_length_a 4.05\n# ünicode\n"
VIEW = parse_view({"cif": CIF, "title": "mine", "zone_axis": [1, 1, 0], "absorption": 5, "foil_normal": [0, 1, 1]})
LOOK = {
    "colours": "viridis",
    "logarithmic": True,
    "auto": False,
    "limits": [0.0, 0.5],
    "semi": 4.5,
    "view": "discs",
}


def packed(members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def about(**changes):
    return json.dumps({"format": "lacbed session", "version": 1, "view": {"name": "Si"}, "look": {}} | changes)


@pytest.mark.parametrize("files", [{}, {".json": b"{}", ".npz": b"PK"}, {".tif": b"II*\0"}])
def test_what_goes_in_comes_out(files):
    content = write_session(VIEW, LOOK, files, {"commands.py": b"import lacbed\n", "pattern.nc": b"CDF"})
    found = read_session(content)
    assert (found.view, found.look, found.files) == (VIEW, LOOK, files)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("crystal.cif").decode() == CIF
        assert archive.read("commands.py") == b"import lacbed\n"


def test_a_built_in_crystal_needs_no_cif():
    view = parse_view({"name": "Si", "absorption": "thomas", "b_iso": 0.4})
    content = write_session(view, {}, {})
    assert read_session(content).view == view
    assert "crystal.cif" not in zipfile.ZipFile(io.BytesIO(content)).namelist()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no session"),
        (b"data_x", "no session"),
        (write_session(VIEW, {}, {})[:-30], "no session"),
        (packed({"a.txt": b""}), "'a.txt'"),
        (packed({"../session.json": about()}), "which no session"),
        (packed({"measured/../../x.json": b"{}", "session.json": about()}), "which no session"),
        (packed({"model.pkl": b"\x80\x04."}), "which no session"),
        (packed({"crystal.cif": CIF}), "session.json is missing"),
        (packed({"session.json": b"\xff\xfe"}), "UTF-8"),
        (packed({"session.json": "[1]"}), "session.json"),
        (packed({"session.json": '{"a": NaN}'}), "session.json"),
        (packed({"session.json": about(format="zip")}), "expected the format"),
        (packed({"session.json": about(version=2)}), "version 2"),
        (packed({"session.json": about(view=[])}), "no settings"),
        (packed({"session.json": about(view={"name": "Si", "voltage": 1e9})}), "voltage"),
        (packed({"session.json": about(view={"name": "Si"}), "crystal.cif": CIF}), "choose a built-in crystal"),
        (packed({"session.json": about(look={"colours": "jet"})}), "colours"),
        (packed({"session.json": about(), "measured/experiment.json": b"{}"}), "images"),
        (packed({"session.json": about(), "crystal.cif": b"x" * 1_000_001}), "larger than 1 MB"),
        (packed({"session.json": about(), "pattern.nc": b"\0" * 80_000_001}), "unpacks to more"),
        (packed({f"measured/{n}": b"" for n in range(17)}), "17 files"),
    ],
)
def test_anything_else_is_refused_in_one_line(content, words):
    with pytest.raises(LacbedError) as caught:
        read_session(content)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_member_that_lies_about_its_size_is_refused():
    content = bytearray(write_session(parse_view({"name": "Si"}), {}, {}))
    place = content.index(b"PK\x01\x02") + 24  # the size in the directory
    content[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(FileFormatError):
        read_session(bytes(content))


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_session_is_refused_or_read(seed):
    chance = random.Random(seed)
    whole = write_session(
        VIEW, LOOK, {".json": b"{}", ".npz": b"PK" * 50}, {"commands.py": b"import lacbed\n" * 9}
    )
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        cut = chance.choice([len(content), chance.randrange(len(content))])
        with suppress(LacbedError):
            read_session(bytes(content[:cut]))


def test_other_compressions_are_refused():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("session.json", about())
    with pytest.raises(FileFormatError, match="compressed in a way"):
        read_session(content.getvalue())


def test_the_look_is_checked():
    assert check_look({"colours": "gray", "model": "exact", "swipe": 0.5}) == {"colours": "gray"}
    for bad in (
        {"auto": 1},
        {"limits": [1, 0]},
        {"limits": "ab"},
        {"semi": -1},
        {"view": ["fit"]},
        {"unit": None},
    ):
        with pytest.raises(SettingError):
            check_look(bad)
    with pytest.raises(SettingError, match="object"):
        check_look([])
