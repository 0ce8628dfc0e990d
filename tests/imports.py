"""Which files of the package import which: python -m tests.imports [FOLDER]

Prints the imports between folders, or inside one folder (such as ``txbayeux/client``),
as a graph for Graphviz: ``python -m tests.imports | dot -Tsvg > imports.svg``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Return the files of the package by the names of their modules."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path
        for path in sorted((root / "txbayeux").rglob("*.py"))
    }


def imported_names(path: Path, *, late: bool = True) -> set[str]:
    """Return what a file imports; ``late``: within functions, too."""
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


def graph(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return the modules of the package that each module imports."""

    def module_of(name: str) -> str:
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name

    return {
        name: {module_of(imported) for imported in imported_names(path)} - {name, ""}
        for name, path in files.items()
    }


def folder_of(module: str, files: Mapping[str, Path]) -> str:
    """Return the folder of a module; files at the top stand for themselves."""
    folder = files[module].parent.relative_to(ROOT)
    return module if str(folder) == "txbayeux" else str(folder)


def draw(folder: str | None) -> str:
    """Return the graph in the language of Graphviz."""
    files = modules()
    edges = {
        (name, imported)
        for name, imports in graph(files).items()
        for imported in imports
    }
    if folder is None:
        edges = {(folder_of(a, files), folder_of(b, files)) for a, b in edges}
    else:
        inside = {name for name in files if folder_of(name, files) == folder}
        edges = {edge for edge in edges if inside.issuperset(edge)}
    lines = [f'  "{a}" -> "{b}";' for a, b in sorted(edges) if a != b]
    return "\n".join(["digraph imports {", "  rankdir=LR;", *lines, "}"])


if __name__ == "__main__":
    print(draw(sys.argv[1].rstrip("/") if len(sys.argv) > 1 else None))
