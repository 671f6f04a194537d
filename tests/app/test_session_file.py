"""Session files: what goes in comes out, and nothing else gets in."""

import io
import json
import random
import zipfile
from contextlib import suppress

import pytest

from lacbed.app.kept import parse_kept, tell_kept
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

MAP = {"pixels": 2, "cell": [4.0, 0.0, 0.0, 4.0], "low": 0.0, "high": 1.0, "unit": "V"}
ABOUT = {"name": "mine", "zone_axis": [1, 1, 0], "R": 0.1, "thickness": 450.0, "map": MAP}
BEST = ABOUT | {"round": 3, "met": 2, "columns": [{"u": 0.1, "v": 0.2}], "state": {"trials": []}}
COLUMN = {"u": 0.1, "v": 0.2, "x": 1.0, "y": 2.0, "strength": 3.0, "strength_uncertainty": None, "odds": "Mg 90 %"}
FOUND = {"formula": "MgO", "cif": CIF, "space_group": None, "Z_held_out": None, "thickness": None}
ANSWER = ABOUT | {
    **{"solved": True, "ended": False, "words": "Solved", "command": "lacbed solve", "plane_group": "p2mm"},
    **{"thickness_of_columns": 449.0, "thickness_uncertainty": 2.0, "absorption": 0.04, "half_width": 0.7},
    **{"seconds": 12.0, "pixels": 3, "hkl": [[0, 0, 0]], "z": [None], "notes": ["a note"]},
    **{"columns": [COLUMN], "candidates": [FOUND]},
}
KINDS = {"searching": (BEST, 16), "solved": (ANSWER, 16 + 72), "report": ({}, 5), "folder": ({}, 7)}


def searched(most=4, **changes):
    """A search as the page sends it, with other fields in its answer."""
    found = [{**h, "kind": kind, "size": size} for kind, (h, size) in list(KINDS.items())[:most]]
    found = [h | changes if h["kind"] == "solved" else h for h in found]
    content = bytes(i % 251 for i in range(sum(h["size"] for h in found)))
    return {"asked": {"cell": [4.2], "seconds": 60}, "messages": found}, content


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


@pytest.mark.parametrize("most", [1, 2, 4])
def test_a_search_comes_back_with_its_answer(most):
    told, content = searched(most)
    written = write_session(VIEW, LOOK, {".tif": b"II*"}, search=parse_kept(told, content))
    assert tell_kept(read_session(written).search) == (told, content)
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        assert len([name for name in archive.namelist() if name.startswith("search/")]) == {1: 3, 2: 5, 4: 7}[most]


@pytest.mark.parametrize(
    "changes",
    [
        {"columns": [{**COLUMN, "x": "1"}]},
        {"candidates": [{**FOUND, "cif": None}]},
        {"z": []},
        {"map": {**MAP, "pixels": 3}},
        {"solved": 1},
        {"seconds": None},
        {"notes": "a note"},
        {"hkl": [[0, 0, 0.5]]},
        {"size": 87},
        {"kind": "evil"},
    ],
)
def test_a_search_that_the_page_could_not_show_is_refused(changes):
    with pytest.raises(FileFormatError) as caught:
        parse_kept(*searched(**changes))
    assert "\n" not in str(caught.value)


def test_a_search_in_a_session_is_whole_or_refused():
    told, content = searched()
    with zipfile.ZipFile(io.BytesIO(write_session(VIEW, {}, {}, search=parse_kept(told, content)))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name in ("search/asked.json", "search/searching.json", "search/searching.f32", "search/solved.json"):
        with pytest.raises(FileFormatError, match="search"):
            read_session(packed({k: v for k, v in members.items() if k != name}))
    with pytest.raises(FileFormatError, match="solved"):
        read_session(packed(members | {"search/solved.f32": members["search/solved.f32"][:-4]}))
