"""Public names are listed and exist, and no file is two ideas."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [
    path
    for folder in ("txbayeux", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "node_modules" not in path.parts
]


def public() -> list[str]:
    """Name the package's modules that hold more than a docstring."""
    files = [
        path.relative_to(ROOT)
        for path in FILES
        if len(ast.parse(path.read_text()).body) > 1
    ]
    names = [
        ".".join(f.with_suffix("").parts) for f in files if f.parts[0] == "txbayeux"
    ]
    modules = [name.removesuffix(".__init__") for name in names]
    return [name for name in modules if "._" not in name]


@pytest.mark.parametrize("name", public())
def test_public_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    assert [missing for missing in module.__all__ if not hasattr(module, missing)] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_two_ideas(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600
