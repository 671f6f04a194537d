"""Reports: what comes from data stays text, tables line up, figures are part of the page."""

import math

import numpy as np
import pytest
from markdown_it import MarkdownIt

from lacbed.errors import FileFormatError
from lacbed.patterns.figures import save_figure, style
from lacbed.report import check_folder, escape, figure, finite, number, percent, table, write_report

HOSTILE = (
    "a|b",
    "*x*",
    "_x_",
    "<script>",
    "[a](b)",
    "`c`",
    "R&D &amp;",
    "a\\b",
    "# no",
    "- no",
    "two\nlines",
    "~~x~~",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_data_is_shown_as_it_is(text):
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(table(["name"], [[text]]))
    shown = html[html.index("<td>") + 4 : html.index("</td>")]
    for code, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        shown = shown.replace(code, sign)
    assert shown == " ".join(text.split())
    assert html.count("<td>") == 1


def test_text_without_markup_is_not_changed():
    assert escape("Z_aligned of Al2O3 (R-3c), 3.9 Å") == "Z_aligned of Al2O3 (R-3c), 3.9 Å"


def test_numbers():
    assert (percent(0.01234), percent(math.nan)) == ("1.23 %", "–")
    assert (number(0.123456), number(None), number(math.inf)) == ("0.1235", "–", "–")
    assert finite({"a": [1.0, math.nan], "b": (math.inf,)}) == {"a": [1.0, None], "b": [None]}


def test_a_report_is_one_file_and_its_text(tmp_path):
    drawn = style.new_figure(1.0, 1.0)
    save_figure(drawn, tmp_path / "one.png")
    parts = ["## Part", table(["a", "b"], [["x", "1"]]), figure("one.png", "A <small> figure.")]
    write_report(tmp_path, "A & B", parts, [("mean Z", "1 %")], ["look <here>"])
    page, text = ((tmp_path / name).read_text("utf-8") for name in ("report.html", "report.md"))
    assert "<title>A &amp; B</title>" in page
    assert "<dd>1\N{NO-BREAK SPACE}%</dd>" in page
    assert "look &lt;here&gt;" in page
    assert page.count("data:image/png;base64,") == 1
    assert "<figcaption>A &lt;small&gt; figure.</figcaption>" in page
    assert '<th style="text-align:right">b</th>' in page
    assert "![A \\<small\\> figure.](one.png)" in text
    assert "- mean Z: **1 %**" in text
    assert np.all([word in text for word in ("# A \\& B", "## Warnings", "| x | 1 |")])


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for name, message in (("no/r", "no such folder"), ("file", "it is a file"), ("full", "not a report written")):
        with pytest.raises(FileFormatError, match=message):
            check_folder(tmp_path / name, "report", ("report.md",), ())
    assert check_folder(tmp_path / "new", "report", ("report.md",), ()) == tmp_path / "new"
