"""What ``make lint`` checks beside ruff and mypy.

Public names are listed and exist; files are of a reasonable length; docstrings say
what a function returns or when it is called.
"""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = {
    str(path.relative_to(ROOT)): path
    for folder in (".ci", "benchmarks", "examples", "tests", "twisted", "txbayeux")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "node_modules" not in path.parts
}
LONGEST = 600

VAGUE = {"Ask", "Give", "Have", "Hear", "Let", "Say", "Tell"}
VAGUE |= {f"{word}s" for word in VAGUE} | {"Has"}
"""Words that no docstring begins with: write "Return", "Called when" or the deed."""


def public() -> list[str]:
    """Return the names of the package's modules that hold more than a docstring."""
    files = [
        Path(name)
        for name, path in FILES.items()
        if name.startswith("txbayeux/") and len(ast.parse(path.read_text()).body) > 1
    ]
    names = [".".join(file.with_suffix("").parts) for file in files]
    modules = [name.removesuffix(".__init__") for name in names]
    return [name for name in modules if "._" not in name]


def vague(source: str) -> list[str]:
    """Return the first lines of the docstrings that begin with a vague word."""
    docstrings = [
        ast.get_docstring(node) or ""
        for node in ast.walk(ast.parse(source))
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
    ]
    lines = [text.partition("\n")[0] for text in docstrings]
    return [line for line in lines if line.partition(" ")[0].rstrip(".,:;") in VAGUE]


@pytest.mark.parametrize("name", public())
def test_public_names_exist(name: str) -> None:
    module = importlib.import_module(name)
    assert [missing for missing in module.__all__ if not hasattr(module, missing)] == []


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_too_long(name: str) -> None:
    assert len(FILES[name].read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("name", FILES)
def test_docstrings_begin_with_what_is_done(name: str) -> None:
    assert vague(FILES[name].read_text()) == []


@pytest.mark.parametrize("name", [name for name in FILES if "/test_" in name])
def test_each_test_file_says_what_it_shows(name: str) -> None:
    assert ast.get_docstring(ast.parse(FILES[name].read_text()))


def test_vague_docstrings_are_found() -> None:
    source = 'class A:\n    """Return it."""\n    def f(self):\n        """Tells."""\n'
    assert vague(source) == ["Tells."]
