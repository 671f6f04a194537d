"""Every message of errors and warnings of the program, found in its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "lacbed"
GAP = "…"
"""Stands for what differs from case to case: a name, a number, a list."""

WARNINGS = {"notes", "remark", "remarks", "warnings", "problem", "problems", "why"}
"""Warnings are assigned to variables of these names, appended to them, given as arguments of these names, or returned
by functions of these names (with or without an underscore)."""

KEYS = {"error", "message"}
"""Under these keys the page of `lacbed app` is told what went wrong."""

PART_WORDS = 4
"""What a function adds to a message has a line of its own if it has at least this many words."""


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        text: its words, with `GAP` for what differs.
        kind: name of the error class, or "warning", or "page" for what only the page of `lacbed app` says.
        module: file, relative to the package.
        line: in that file.
    """

    text: str
    kind: str
    module: str
    line: int


def messages(source: Path = SOURCE) -> list[Message]:
    """All messages that users see, by file and line."""
    files = sorted(source.rglob("*.py"))
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    kinds = error_classes(trees.values())
    words = _Words(trees.values())
    found = [
        Message(text, kind, file.relative_to(source).as_posix(), expression.lineno)
        for file, tree in trees.items()
        for kind, expression in _said(tree, kinds, page=file.parent.name == "app")
        for text in words.texts(expression, tree)
        if not text.startswith("<")  # HTML
    ]
    scripts = [m for file in sorted(source.rglob("*.js")) for m in _complaints(file, source)]
    return sorted({*found, *scripts}, key=lambda m: (m.module, m.line, m.text))


def _complaints(file: Path, source: Path) -> list[Message]:
    """What the scripts of the page say by themselves."""
    text = file.read_text(encoding="utf-8")
    return [
        Message(
            re.sub(r"\$\{[^}]*\}", GAP, m[2]),
            "page",
            file.relative_to(source).as_posix(),
            text[: m.start()].count("\n") + 1,
        )
        for m in re.finditer(r"(?:complain\(|new Error\(|\|\| )([\"`])([^\"`]{12,}?)\1", text)
    ]


def pattern_of(text: str) -> re.Pattern[str]:
    """What finds a message as it is printed, by its words."""
    return re.compile(".*".join(re.escape(part) for part in text.split(GAP)))


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


def _said(tree: ast.Module, kinds: set[str], page: bool) -> Iterator[tuple[str, ast.expr]]:
    """Kind and expression of everything that is said to users in a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = _name(node.func)
            if name in kinds and node.args:
                yield name, node.args[0]
            receiver = node.func.value if isinstance(node.func, ast.Attribute) else node
            if name == "warn" or (name == "append" and _name(receiver) in WARNINGS):
                yield "warning", node.args[0]
            named = [k.value for k in node.keywords if k.arg in WARNINGS]
        elif isinstance(node, ast.Assign):
            named = [node.value] if any(_name(t) in WARNINGS for t in node.targets) else []
        elif isinstance(node, ast.FunctionDef) and node.name.lstrip("_") in WARNINGS:
            named = _returns(node)
        else:
            named = []
        if not page:
            yield from (("warning", item) for value in named for item in _items(value))
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in KEYS:
                    yield "page", value


class _Words:
    """What expressions say, looking functions up in their own module first and then in all others."""

    def __init__(self, trees: Iterable[ast.Module]) -> None:
        self._functions: dict[str, list[tuple[ast.FunctionDef, ast.Module]]] = {}
        for tree in trees:
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef):
                    self._functions.setdefault(node.name, []).append((node, tree))

    def texts(self, node: ast.expr, tree: ast.Module, depth: int = 0) -> list[str]:
        """The words of an expression that makes a message, then those of longer parts that functions add to it.

        A variable stands for what is assigned to it, a function for what it returns.
        """
        if depth > 4:
            return []
        if isinstance(node, ast.IfExp):
            return [*self.texts(node.body, tree, depth), *self.texts(node.orelse, tree, depth)]
        if isinstance(node, ast.Starred):
            return self.texts(node.value, tree, depth)
        if isinstance(node, ast.Name):
            return [
                t for value in _assigned(node.id, tree) for t in self.texts(value, tree, depth + 1) if t != GAP
            ]
        if isinstance(node, ast.Call) and _called(node):
            return self._returned(_called(node), tree, depth)
        text = " ".join(_words(node).split())
        whole = [] if text.replace(GAP, "").strip(" :;,.") == "" else [text]
        filled = self._filled(node, tree, depth) if whole else []
        parts = [t for part in _inserted(node) for t in self.texts(part, tree, depth + 1)]
        known = " ".join(filled)
        return [
            *whole,
            *filled,
            *(t for t in parts if len(t.replace(GAP, " ").split()) >= PART_WORDS and t not in known),
        ]

    def _filled(self, node: ast.expr, tree: ast.Module, depth: int) -> list[str]:
        """The message with one gap filled by each thing that it can be, where the function itself says what."""
        found = []
        pieces = node.values if isinstance(node, ast.JoinedStr) else []
        for at, piece in enumerate(pieces):
            if not isinstance(piece, ast.FormattedValue):
                continue
            variants = self._said_for(piece.value, tree, depth)
            words = [_words(p) if isinstance(p, ast.Constant) else GAP for p in pieces]
            found += [" ".join("".join([*words[:at], v, *words[at + 1 :]]).split()) for v in variants]
        return found

    def _said_for(self, value: ast.expr, tree: ast.Module, depth: int) -> list[str]:
        """What can stand in a gap: choices in place, or assigned in the same function, or returned by a call there."""
        if isinstance(value, ast.Name):
            home = _function_around(value, tree)
            values = _assigned(value.id, home) if home is not None else []
        else:
            values = [value] if isinstance(value, ast.IfExp) else []
        values = [v for v in values if isinstance(v, ast.IfExp | ast.JoinedStr | ast.Constant | ast.Call)]
        texts = [t for v in values for t in self.texts(v, tree, depth + 1)]
        return [t for t in dict.fromkeys(texts) if t.replace(GAP, "").strip(" :;,.'\"")]

    def _returned(self, name: str, tree: ast.Module, depth: int) -> list[str]:
        """What the function of that name returns: that of the module, or else the only one in any module."""
        known = self._functions.get(name, [])
        own = [f for f in known if f[1] is tree]
        chosen = own or (known if len(known) == 1 else [])
        return [t for f, home in chosen for value in _returns(f) for t in self.texts(value, home, depth + 1)]


def _items(node: ast.expr) -> list[ast.expr]:
    """The strings written out in a list, a tuple, a sum or choice of them, or one string."""
    if isinstance(node, ast.List | ast.Tuple):
        return [item for value in node.elts for item in _items(value)]
    if isinstance(node, ast.IfExp):
        return [*_items(node.body), *_items(node.orelse)]
    if isinstance(node, ast.BinOp):
        return [*_items(node.left), *_items(node.right)]
    if isinstance(node, ast.ListComp):
        return _items(node.elt)
    return [node] if isinstance(node, ast.JoinedStr | ast.Constant) else []


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _called(node: ast.Call) -> str:
    """Name of a function, or of a method of the same object, that is called."""
    if isinstance(node.func, ast.Name):
        return node.func.id
    own = isinstance(node.func, ast.Attribute) and _name(node.func.value) == "self"
    return _name(node.func) if own else ""


def _function_around(node: ast.expr, tree: ast.Module) -> ast.FunctionDef | None:
    """The innermost function that holds a node."""
    around = [
        f
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef) and f.lineno <= node.lineno <= (f.end_lineno or f.lineno)
    ]
    return max(around, key=lambda f: f.lineno, default=None)


def _assigned(name: str, tree: ast.AST) -> list[ast.expr]:
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets)
    ]


def _returns(function: ast.FunctionDef) -> list[ast.expr]:
    return [n.value for n in ast.walk(function) if isinstance(n, ast.Return) and n.value is not None]


def _inserted(node: ast.expr) -> list[ast.expr]:
    """Variables, calls and choices inside an f-string or a sum of them."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_inserted(node.left), *_inserted(node.right)]
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    values = [part.value for part in parts if isinstance(part, ast.FormattedValue)]
    return [v for v in values if isinstance(v, ast.Name | ast.Call | ast.IfExp)]


def _words(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else GAP
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(part) if isinstance(part, ast.Constant) else GAP for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _words(node.left) + _words(node.right)
    return GAP
