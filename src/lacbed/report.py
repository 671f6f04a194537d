"""Reports: text, tables and figures, written once in Markdown and shown as one HTML file.

A report is a title, a few headline numbers, warnings, and parts in Markdown. `write_report` makes `report.md` of
it, and `report.html`, which holds its figures and its style, fetches nothing, and is light or dark as the reader's
screen is. Whatever comes from data (names, messages) passes through `escape` once, here.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from lacbed.errors import FileFormatError
from lacbed.io.atomic import check_replaceable, holds_only, replacing

MARKDOWN, PAGE = "report.md", "report.html"

_STYLE = """
:root { color-scheme: light dark;
  --paper: light-dark(#faf8f4, #0d0f12); --card: light-dark(#ffffff, #14171b);
  --ink: light-dark(#1b1d20, #e8e6e1); --quiet: light-dark(#62676e, #979ca4);
  --line: light-dark(#e4e0d8, #282c32); --rule: light-dark(#b9b3a7, #4a4f57);
  --accent: light-dark(#9a4c08, #ffb454); --wash: light-dark(#fbf0dd, #2a2114); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.6 system-ui, -apple-system,
  "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 66rem; margin: 0 auto; padding: 3rem 1.5rem 5rem; }
h1 { font-size: 1.8rem; line-height: 1.25; font-weight: 650; letter-spacing: -.01em; margin: 0 0 .4rem; }
h2 { font-size: 1.13rem; font-weight: 650; margin: 2.8rem 0 .9rem; padding-top: 1.1rem;
  border-top: 1px solid var(--line); }
p, li { max-width: 46rem; } p { margin: .8rem 0; } a { color: var(--accent); } code { font-size: .9em; }
.facts { display: flex; flex-wrap: wrap; gap: 1rem 2.8rem; margin: 1.6rem 0 1.5rem; }
.facts div { display: flex; flex-direction: column-reverse; }
.facts dt { color: var(--quiet); font-size: .8rem; line-height: 1.4; }
.facts dd { margin: 0; font-size: 1.5rem; font-weight: 600; line-height: 1.3; }
.warnings { margin: 1.6rem 0; padding: .8rem 1.1rem; border-left: 3px solid var(--accent);
  background: var(--wash); border-radius: 0 6px 6px 0; font-size: .88rem; }
.warnings h2 { border: 0; margin: 0 0 .3rem; padding: 0; font-size: .88rem; color: var(--accent); }
.warnings ul { margin: 0; padding-left: 1.1rem; } .warnings li { max-width: none; }
.wide { overflow-x: auto; margin: 1.1rem 0; }
table { border-collapse: collapse; font-size: .86rem; line-height: 1.35;
  border-top: 1.5px solid var(--rule); border-bottom: 1.5px solid var(--rule); }
th { color: var(--quiet); font-weight: 550; vertical-align: bottom; border-bottom: 1px solid var(--rule); }
th, td { padding: .36rem .85rem; text-align: left; } td { white-space: nowrap; }
th:first-child, td:first-child { padding-left: .3rem; } th:last-child, td:last-child { padding-right: .3rem; }
tbody tr + tr td { border-top: 1px solid var(--line); } tbody tr:hover td { background: var(--card); }
figure { margin: 1.6rem 0; } figure img { display: block; max-width: 100%; height: auto; border-radius: 6px; }
figcaption { color: var(--quiet); font-size: .86rem; line-height: 1.5; margin-top: .55rem; max-width: 46rem; }
@media print { main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
"""
_MARKUP = re.compile(r"([\\`*\[\]<>|&]|(?<!\w)_|_(?!\w)|(?<!\w)~~|^\s*[#>+-](?=\s))")
_FIGURE = re.compile(r'<p><img src="([\w.-]+)" alt="([^"]*)" /></p>')


def escape(text: Any) -> str:
    """Text on one line that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def table(heading: Sequence[str], rows: Sequence[Sequence[str]], text_columns: Collection[int] = (0,)) -> str:
    """A table in Markdown; the cells are shown as they are.

    Args:
        heading: of the columns.
        rows: cells.
        text_columns: columns to be aligned on the left; numbers are aligned on the right.
    """
    rule = "|".join("---" if i in text_columns else "---:" for i in range(len(heading)))
    lines = [f"| {' | '.join(map(escape, row))} |" for row in (heading, *rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def figure(file: str, caption: str) -> str:
    """A figure that lies beside the report."""
    return f"![{escape(caption)}]({file})"


def percent(value: float) -> str:
    """A fraction as a percentage to three digits: 0.0123 becomes "1.23 %", NaN a dash."""
    return f"{100 * value:.3g} %" if math.isfinite(value) else "–"


def number(value: Any, form: str = ".4g") -> str:
    """A number as text, and a dash for what is none."""
    return format(value, form) if isinstance(value, int | float) and math.isfinite(value) else "–"


def finite(value: Any) -> Any:
    """A value as standard JSON has it: NaN and infinity, which it lacks, become null."""
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    if hasattr(value, "tolist"):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def check_folder(folder: Path, what: str, marks: Collection[str], others: Collection[str]) -> Path:
    """Refuse, before any work, a place where no folder of results can be written, or where something else is.

    Args:
        folder: to be written; one of the same kind may be replaced.
        what: "report", "fit", "retrieval".
        marks: files by which one of that kind is known.
        others: files that it may also hold.

    Raises:
        FileFormatError: saying why.
    """
    cannot = f"cannot write {str(folder)!r}"
    if not folder.parent.is_dir():
        raise FileFormatError(f"{cannot}: no such folder: {str(folder.parent)!r}; make it first")
    if folder.exists() and not folder.is_dir():
        raise FileFormatError(f"{cannot}: it is a file, and a {what} is a folder; choose another name")
    check_replaceable(folder, lambda there: holds_only(there, marks, others), what)
    return folder


def check_resumable(folder: Path, what: str, state: str, resume: bool) -> None:
    """Refuse, before any work, a folder whose results come one by one, if it holds something else.

    Args:
        folder: to be written; new or empty, unless work in it is resumed.
        what: the results are of: "refinement", "search".
        state: file that says where the work stood.
        resume: whether to go on from there.

    Raises:
        FileFormatError: saying why.
    """
    from lacbed.io.lock import is_empty  # takes a while, and every command imports this file

    if resume and not (folder / state).is_file():
        raise FileFormatError(f"there is no {state} in {str(folder)!r} to resume from")
    if folder.exists() and not folder.is_dir():
        raise FileFormatError(f"{str(folder)!r} is a file; the results of a {what} go to a folder")
    if not resume and not is_empty(folder):
        raise FileFormatError(
            f"the folder {str(folder)!r} is not empty; choose a new one, or continue with --resume"
        )
    if not folder.parent.is_dir():
        raise FileFormatError(f"cannot write {str(folder)!r}: there is no folder {str(folder.parent)!r}; make it")


def write_report(
    folder: Path,
    title: str,
    parts: Sequence[str],
    facts: Sequence[tuple[str, str]] = (),
    warnings: Sequence[str] = (),
) -> None:
    """Write `report.md` and `report.html`.

    Args:
        folder: where the figures of the report lie.
        title: of the report.
        parts: in Markdown.
        facts: headline numbers, each a description and a value.
        warnings: to be read first.
    """
    heads = [f"# {escape(title)}"]
    heads += ["\n".join(f"- {escape(name)}: **{escape(value)}**" for name, value in facts)] if facts else []
    listed = "\n".join(f"- {escape(warning)}" for warning in warnings)
    heads += ["## Warnings", listed] if warnings else []
    with replacing(folder / MARKDOWN) as temporary:
        temporary.write_text("\n\n".join([*heads, *parts]) + "\n", "utf-8")
    blocks = [_html(heads[0])]
    if facts:
        cells = (f"<div><dt>{_html_text(name)}</dt><dd>{_html_text(value)}</dd></div>" for name, value in facts)
        blocks.append(f'<dl class="facts">{"".join(cells)}</dl>')
    if warnings:
        blocks.append(f'<div class="warnings">{_html("## Warnings")}{_html(listed)}</div>')
    body = "\n".join([*blocks, _html("\n\n".join(parts))])
    body = re.sub(" (?=[%Å])", "\N{NO-BREAK SPACE}", body)
    body = body.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    body = _FIGURE.sub(lambda found: _embedded(folder / found[1], found[2]), body)
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_html_text(title)}</title>\n<style>{_STYLE}</style>\n<main>\n{body}</main>\n</html>\n"
    )
    with replacing(folder / PAGE) as temporary:
        temporary.write_text(page, "utf-8")


def _html(text: str) -> str:
    """Markdown as HTML; HTML within it is shown, not obeyed."""
    from markdown_it import MarkdownIt

    return str(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def _html_text(text: str) -> str:
    from html import escape as escape_html

    return escape_html(text)


def _embedded(path: Path, caption: str) -> str:
    """A figure of which the picture is part of the page."""
    code = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{code}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
