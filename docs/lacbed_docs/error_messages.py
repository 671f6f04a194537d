"""Every error message of the program, found in its source."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "lacbed"
GAP = "…"
"""Stands for what differs from case to case: a name, a number, a list."""


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        text: its words, with `GAP` for what differs.
        kind: name of the error class.
        module: file, relative to the package.
        line: in that file.
    """

    text: str
    kind: str
    module: str
    line: int


def messages(source: Path = SOURCE) -> list[Message]:
    """All messages of errors that users see, by file and line."""
    files = sorted(source.rglob("*.py"))
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    kinds = error_classes(trees.values())
    found = [
        Message(text, _name(node.func), file.relative_to(source).as_posix(), node.lineno)
        for file, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and node.args and _name(node.func) in kinds
        for text in _texts(node.args[0], tree)
    ]
    return sorted(found, key=lambda m: (m.module, m.line))


def error_classes(trees: Iterable[ast.Module]) -> set[str]:
    """LacbedError and all classes that inherit from it, wherever they are defined."""
    bases = {
        node.name: {_name(base) for base in node.bases}
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    kinds = {"LacbedError"}
    while True:
        more = {name for name, parents in bases.items() if parents & kinds} - kinds
        if not more:
            return kinds
        kinds |= more


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _texts(node: ast.expr, tree: ast.Module) -> list[str]:
    """The words of an expression that makes a message.

    A variable stands for what is assigned to it, a function of the same module for what it returns.
    """
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body, tree), *_texts(node.orelse, tree)]
    if isinstance(node, ast.Name):
        values = [text for value in _assigned(node.id, tree) for text in _texts(value, tree)]
        return [text for text in values if text != GAP]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return [text for value in _returned(node.func.id, tree) for text in _texts(value, tree)]
    text = " ".join(_words(node).split())
    return [] if text.replace(GAP, "").strip(" :;,.") == "" else [text]


def _assigned(name: str, tree: ast.Module) -> list[ast.expr]:
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
    ]


def _returned(name: str, tree: ast.Module) -> list[ast.expr]:
    """What a function of the module returns, if it is one."""
    return [
        inner.value
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name == name
        for inner in ast.walk(node)
        if isinstance(inner, ast.Return) and inner.value is not None
    ]


def _words(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else GAP
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) if isinstance(part, ast.Constant) else GAP for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _words(node.left) + _words(node.right)
    return GAP
