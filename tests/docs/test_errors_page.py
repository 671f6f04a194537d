"""Every error message of the program is on the page of errors, with what to do."""

from __future__ import annotations

import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pages import DOCS

from lacbed.cli import main


@pytest.fixture(scope="module")
def error_page() -> Iterator[ModuleType]:
    sys.path.insert(0, str(DOCS))
    try:
        from lacbed_docs import error_page  # noqa: PLC0415

        yield error_page
    finally:
        sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def rows(error_page: ModuleType) -> dict[str, str]:
    """Messages as the page shows them, as plain text, and what to do."""
    found = re.findall(r"^\| <code>(.*)</code> \| (.*) \|$", error_page.page(), flags=re.MULTILINE)
    return {html.unescape(text.replace("<i>", "").replace("</i>", "")): advice for text, advice in found}


def test_every_message_of_the_source_is_there(error_page: ModuleType, rows: dict[str, str]) -> None:
    messages = error_page.messages()
    assert len(messages) > 400
    missing = [message for message in messages if message.text not in rows]
    assert not missing
    assert all(rows[message.text] for message in messages)


def test_nearly_all_say_what_to_do_by_themselves(error_page: ModuleType, rows: dict[str, str]) -> None:
    left = [text for text, advice in rows.items() if advice == error_page.FALLBACK]
    assert len(left) <= 0.02 * len(rows), f"add lines to ADVICE in docs/lacbed_docs/error_page.py: {left}"


def test_a_new_message_is_found_in_the_source(error_page: ModuleType, tmp_path: Path) -> None:
    source = """
class MoonError(SettingError): ...
class SettingError(LacbedError): ...
def f(x):
    text = f"the moon is {x}" if x else "there is no moon"
    if x > 3:
        raise MoonError(f"more than {x:g} moons; " + "count again")
    raise SettingError(text)
def g():
    return ValueError("not for users")
def h(x, notes):
    notes.append(f"the moon hides behind {x}")
    remarks = ["stars are left out"] if x else []
    raise SettingError(f"no night: {because(x)}")
"""
    other = """
def because(x):
    return "the sun is still up" if x else f"a lamp burns in {x}"
"""
    (tmp_path / "moon.py").write_text(source, encoding="utf-8")
    (tmp_path / "sun.py").write_text(other, encoding="utf-8")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "page.py").write_text('x = answer({"error": f"the moon {y} has set"})', encoding="utf-8")
    found = error_page.messages(tmp_path)
    assert {m.text for m in found if m.kind == "warning"} == {"the moon hides behind …", "stars are left out"}
    assert {m.text for m in found if m.kind == "page"} == {"the moon … has set"}
    assert {m.text for m in found if m.kind == "SettingError"} == {
        "the moon is …", "there is no moon", "no night: …", "the sun is still up", "a lamp burns in …"
    }  # fmt: skip
    assert {m.text for m in found if m.kind == "MoonError"} == {"more than … moons; count again"}


@pytest.mark.parametrize(
    "words",
    [
        ["simulate", "nothing.cif", "-o", "a.nc"],
        ["simulate", "Si", "-o", "a.docx"],
        ["simulate", "Si", "--zone", "a", "-o", "a.nc"],
        ["simulate", "Si", "--thickness", "0", "-o", "a.nc"],
        ["simulate", "Si", "--hkl", "1,0,0", "-o", "a.nc"],
        ["simulate", "Unobtainium", "-o", "a.nc"],
        ["simulate", "Si", "--voltage", "2e6", "-o", "a.nc"],
        ["compare", "a.nc", "b.nc"],
        ["dataset", "info", "nowhere.zarr"],
        ["convert", "nowhere"],
        ["info", "nowhere"],
        ["simulate", "Si", "--b-iso", "-1", "-o", "a.nc"],
        ["predict", "Al2O3", "-o", "a.nc"],
        ["train", "nothing", "--data", "d.zarr", "-o", "run"],
        ["export", "-o", "a.txt"],
        ["fit", "nowhere.nc", "Si", "-o", "fit"],
        ["refine", "nowhere.nc", "Si", "-o", "fit"],
        ["identify", "nowhere.npz", "--catalog", "c.parquet"],
        ["catalog", "info", "nowhere.parquet"],
        ["catalog", "fetch", "optimade", "http://127.0.0.1:9/", "-o", "c.parquet"],
        ["dataset", "build", "nowhere.parquet", "-o", "x.zarr"],
        ["experiment", "import", "nowhere", "-o", "e.nc"],
        ["app", "--port", "-1"],
    ],
    ids=lambda words: " ".join(words)[:24],
)
def test_what_is_printed_can_be_found(
    words: list[str], rows: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from lacbed_docs.error_messages import pattern_of  # noqa: PLC0415  found as the page is

    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err.removeprefix("lacbed: ").strip()
    patterns = [pattern_of(text) for text in rows]
    assert any(pattern.search(said) for pattern in patterns if len(pattern.pattern) > 12), said


def test_every_area_has_a_heading_that_is_used_and_a_note(error_page: ModuleType) -> None:
    used = {error_page.area_of(message.module)[0] for message in error_page.messages()}
    assert used <= {title for _, title, _ in error_page.AREAS}
    assert all(note.endswith(".") for _, _, note in error_page.AREAS)
