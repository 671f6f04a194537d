"""The code on a page: Python and shell blocks in their order."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lacbed.cli import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One block of code."""

    language: str
    code: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(found.group(1), found.group(2), text[: found.start()].count("\n") + 2)
        for found in _BLOCK.finditer(text)
    ]


def run_page(page: Path, names: dict[str, Any]) -> None:
    """Run every block of a page in the current folder; Python blocks share their names."""
    for block in blocks(page):
        if block.language == "python":
            # Line numbers of errors are those of the page.
            exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
        else:
            run_shell(block.code, f"{page.name}:{block.line}")


def run_shell(code: str, where: str) -> None:
    """Run lines `lacbed ...` in this process; anything else does not belong into a block of shell."""
    for line in code.splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        assert words[0] == "lacbed", f"{where}: {line!r} is no command of lacbed; write it as a console block"
        code_out = main(words[1:])
        assert code_out == 0, f"{where}: {line!r} ended with {code_out}"
