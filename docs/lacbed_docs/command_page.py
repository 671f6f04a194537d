"""The reference of the command line, from the program itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

HEAD = """# Commands

`lacbed COMMAND --help` prints the same. Commands print results on stdout, progress and errors on stderr. `--json` prints
one JSON object for other programs, `--quiet` nothing. Exit codes: 0 done, 2 something you can fix (explained in one line),
1 a bug in lacbed, 130 and 143 stopped. Files are written whole or not at all.
"""


def page() -> str:
    """The page as Markdown."""
    import typer

    from lacbed.cli.program import app

    root = typer.main.get_command(app)
    parts = [HEAD]
    for words, command in _commands(root, ("lacbed",)):
        if words != ("lacbed",):
            parts.append(_section(words, command))
    return "\n".join(parts)


def _commands(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*words, name))


def _section(words: tuple[str, ...], command: Any) -> str:
    level = "#" * (len(words) if len(words) < 4 else 3)
    title = " ".join(words)
    lines = [f"{level} {title} {{ #{'-'.join(words[1:])} }}", "", _text(command.help), ""]
    if getattr(command, "commands", None):
        return "\n".join(lines)
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts]
    lines += [
        "```text",
        f"{title} {' '.join([_metavar(p) for p in arguments])} [OPTIONS]".replace("  ", " "),
        "```",
        "",
    ]
    lines += ["| | | default | |", "|---|---|---|---|"]
    lines += [f"| `{_metavar(p)}` | | {_default(p)} | {_cell(getattr(p, 'help', ''))} |" for p in arguments]
    lines += [f"| {_names(p)} | {_value(p)} | {_default(p)} | {_cell(p.help)} |" for p in options]
    return "\n".join([*lines, ""])


def _text(text: str | None) -> str:
    """The help, with its example as code."""
    body, found, example = str(text or "").partition("Example:")
    words = " ".join(example.split())
    return " ".join(body.split()) + (f"\n\n```text\n{words}\n```" if found else "")


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper()).strip("{}[]")


def _names(parameter: Any) -> str:
    return " ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _value(parameter: Any) -> str:
    if parameter.is_flag or parameter.secondary_opts:
        return ""
    return _code(parameter.metavar or _kind(parameter))


def _kind(parameter: Any) -> str:
    """What an option without a placeholder takes, as typer or click know it."""
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    return str(getattr(annotation, "__name__", "") or getattr(getattr(parameter, "type", None), "name", ""))


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    value = parameter.default
    if (
        value is None
        or callable(value)
        or (isinstance(value, bool) and not value and not parameter.secondary_opts)
    ):
        return ""
    if isinstance(value, bool):
        return _code(parameter.opts[0] if value else parameter.secondary_opts[0])
    if isinstance(value, list | tuple):
        value = ",".join(str(v) for v in value)
    return _code(f"{value:g}" if isinstance(value, float) else value) if value != "" else ""


def _code(value: Any) -> str:
    return f"<code>{str(value).replace('|', '&#124;').replace('<', '&lt;')}</code>"


def _cell(text: str | None) -> str:
    """Text for a cell: words in capitals such as FILE stay, bars do not end the cell."""
    return re.sub(r"\s+", " ", str(text or "")).replace("|", "\\|").replace("<", "&lt;")
