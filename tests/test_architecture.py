"""The folder list is the architecture: imports run one way, and no two modules import each other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "lacbed"

ROOMS = (
    "errors",
    "constants",
    "io",
    "crystals",
    "scattering",
    "geometry",
    "structure",
    "potential",
    "xray",
    "projection",
    "state",
    "beams",
    "solvers",
    "settings",
    "felix",
    "patterns",
    "setup",
    "differentiable",
    "fast",
    "engine",
    "converge",
    "forecast",
    "multislice",
    "simulation",
    "report",
    "catalog",
    "datasets",
    "learn",
    "benchmark",
    "experiment",
    "refinement",
    "identification",
    "retrieval",
    "app",
    "cli",
    "__main__",
)
"""Every room imports only from rooms that stand before it."""

FACTORIES = {"lacbed.crystals.crystal"}
"""`Crystal.from_cif` and its kin reach for the readers, which make crystals: harmless, and known."""


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["lacbed", *path.relative_to(ROOT).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """What a module imports from the package, inside functions too, but not for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and getattr(branch.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lacbed":
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else str(node.module) for name in full}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in modules}
    return found


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    modules = _modules()
    return {name: _imports(path, modules) for name, path in modules.items() if name not in FACTORIES}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else "lacbed"


def test_every_room_has_its_place(graph: dict[str, set[str]]) -> None:
    assert {_room(name) for name in graph} - {"lacbed"} == set(ROOMS)


def test_imports_point_one_way(graph: dict[str, set[str]]) -> None:
    place = {room: number for number, room in enumerate(ROOMS)}
    back = [
        f"{name} imports {other}"
        for name, others in graph.items()
        for other in others
        if "." in name and _room(other) != "lacbed" and place[_room(other)] > place[_room(name)]
    ]
    assert not back


def _circle(graph: dict[str, set[str]]) -> list[str]:
    """What is left when everything is taken away that imports nothing that is left."""
    left = {name: {other for other in others if other in graph} for name, others in graph.items()}
    while leaves := [name for name, others in left.items() if not others & left.keys()]:
        for name in leaves:
            del left[name]
    return sorted(left)


def test_no_module_imports_itself_by_way_of_others(graph: dict[str, set[str]]) -> None:
    assert not _circle(graph)


def test_no_script_of_the_page_imports_itself_by_way_of_others() -> None:
    scripts = {path.name: path.read_text("utf-8") for path in (ROOT / "app" / "static").glob("*.js")}
    graph = {name: set(re.findall(r'from "\./([\w.-]+)"', text)) for name, text in scripts.items()}
    assert set().union(*graph.values()) < graph.keys()
    assert not _circle(graph)


def test_every_script_of_the_page_uses_what_it_imports() -> None:
    for path in (ROOT / "app" / "static").glob("*.js"):
        text = path.read_text("utf-8")
        body = re.sub(r"import \{[^}]*\} from[^\n]*", "", text)
        for names in re.findall(r"import \{([^}]*)\} from", text):
            for name in filter(None, (part.split(" as ")[-1].strip() for part in names.split(","))):
                assert re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", body), f"{path.name}: {name}"
