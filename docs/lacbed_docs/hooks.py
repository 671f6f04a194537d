"""Hooks of MkDocs: pages made from the program, formulas turned into MathML while the site is built."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

HERE = str(Path(__file__).parents[1])

_DISPLAY = re.compile(r'<div class="arithmatex">\\\[(.*?)\\\]</div>', re.DOTALL)
_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from the source."""
    from mkdocs.structure.files import File

    if HERE not in sys.path:  # only now: MkDocs undoes what a hook does to the path while it is loaded
        sys.path.insert(0, HERE)
    from lacbed_docs import command_page, gallery

    for path, made in (
        ("reference/commands.md", command_page),
        ("gallery.md", gallery),
    ):
        files.append(File.generated(config, path, content=made.page()))
    return files


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Formulas as MathML, which browsers draw without any script."""
    html = _DISPLAY.sub(lambda m: _mathml(m.group(1), "block"), html)
    return _INLINE.sub(lambda m: _mathml(m.group(1), "inline"), html)


def _mathml(latex: str, display: str) -> str:
    import html as entities

    from latex2mathml.converter import convert

    return convert(entities.unescape(latex).strip(), display=display)
