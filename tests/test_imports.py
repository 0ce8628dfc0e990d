"""Imports may not point upwards, and the global reactor is nobody's at import time."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VOCABULARY = {
    "channel",
    "errors",
    "events",
    "extension",
    "interfaces",
    "limits",
    "message",
}
VOCABULARY |= {"protocol", "registration", "signals"}
SERVER_HALF = ["vocabulary", "engine", "server", "adapter", "bayeux", "service", "tap"]
CLIENT_HALF = ["vocabulary", "extensions", "transport", "client", "cli"]
ABOVE_ALL = {"", "testing"}  # what applications and tests import, and no layer does
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for path in sorted((ROOT / "txbayeux").rglob("*.py"))
}


def layer(module: str) -> str:
    name = f"{module}.".split(".")[1]
    return "vocabulary" if name in VOCABULARY else name


def allowed(low: str, high: str) -> bool:
    halves = [
        half[half.index(low) :] for half in (SERVER_HALF, CLIENT_HALF) if low in half
    ]
    return high in ABOVE_ALL or any(high in half for half in halves)


def imports(path: Path, *, late: bool = True) -> set[str]:
    found: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        match nodes.pop():
            case ast.FunctionDef() | ast.AsyncFunctionDef() if not late:
                pass
            case ast.Import(names):
                found.update(alias.name for alias in names)
            case ast.ImportFrom(base, names, level):
                assert level == 0, f"{path}: a relative import hides its layer"
                found.update(f"{base}.{alias.name}" for alias in names)
            case node:
                nodes.extend(ast.iter_child_nodes(node))
    return found


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downwards_only(name: str) -> None:
    reactor = "twisted.internet.reactor"
    for imported in imports(MODULES[name]):
        good = imported == "txbayeux.__version__" or {
            "txbayeux": allowed(layer(imported), layer(name)),
            "txredisapi": name.startswith("txbayeux.engine.redis"),
        }.get(
            imported.split(".")[0],
            imported != reactor or layer(name) in {"tap", "client"},
        )
        assert good, f"{name} imports {imported}"
    assert reactor not in imports(MODULES[name], late=False), (
        "the reactor is an argument"
    )
