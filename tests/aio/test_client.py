"""The client for asyncio, in processes of its own: see ``scenarios.py``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import txbayeux
from txbayeux.aio import Client

SCENARIOS = [
    line.split("def ")[1].split("(")[0]
    for line in (Path(__file__).parent / "scenarios.py").read_text().splitlines()
    if line.endswith("(url: str) -> None:")
]


@pytest.mark.parametrize("name", SCENARIOS)
def test_on_asyncio(name: str, url: str, run: Callable[..., str]) -> None:
    assert run("-m", "tests.aio.scenarios", name, url) == "done\n"


def test_it_has_what_the_client_for_twisted_has() -> None:
    names = {name for name in dir(txbayeux.Client) if not name.startswith("_")}
    assert names - set(dir(Client)) == {"in_process"}
