"""Imports point downwards only, and no files import each other.

No file imports the global reactor when it is imported itself.
"""

import ast
from graphlib import CycleError, TopologicalSorter
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


def file_of(imported: str) -> str | None:
    """Return the module of the package that a name is imported from, if it is one."""
    while imported and imported not in MODULES:
        imported = imported.rpartition(".")[0]
    return imported or None


def test_no_files_import_each_other() -> None:
    """Imports for type checkers and within functions count as well."""
    graph = {
        name: {file_of(imported) for imported in imports(path)} - {name, None}
        for name, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
