"""Each row of the conformance table names tests that exist, or a reason."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

TABLE = Path(__file__).parent.parent / "docs/reference/conformance.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in TABLE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| Section")
]
TESTS = sorted(set(re.findall(r"`([\w/]+\.py::[\w:]+)`", TABLE.read_text())))


@pytest.mark.parametrize("test", TESTS)
def test_every_test_named_in_the_table_exists(test: str) -> None:
    path, *names = test.split("::")
    found: Any = import_module(f"tests.{path.removesuffix('.py').replace('/', '.')}")
    for name in names:
        found = getattr(found, name)
    assert names[-1].lower().startswith("test")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}"[:60])
def test_every_row_names_a_test_or_a_reason(row: list[str]) -> None:
    assert len(row) in {3, 4}
    shown = "`" in row[3] if len(row) == 4 else False
    assert shown or row[2].startswith(("Concerns", "**No**", "Outdated"))
