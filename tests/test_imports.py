"""Imports point downwards only, and no files import each other.

No file imports the global reactor when it is imported itself.
"""

from graphlib import CycleError, TopologicalSorter

import pytest

from .imports import graph, imported_names, modules

VOCABULARY = {
    "channel",
    "errors",
    "events",
    "extension",
    "interfaces",
    "limits",
    "log_limit",
    "message",
}
VOCABULARY |= {
    "peer_limits",
    "processor",
    "rates",
    "registration",
    "signals",
    "writing",
}
SERVER_HALF = ["vocabulary", "engine", "server", "adapter", "bayeux", "service", "tap"]
CLIENT_HALF = ["vocabulary", "extensions", "transport", "client", "aio", "cli"]
CLIENT_HALF += ["__main__"]
ABOVE_ALL = {"", "testing"}  # what applications and tests import, and no layer does
MODULES = modules()


def layer(module: str) -> str:
    name = f"{module}.".split(".")[1]
    return "vocabulary" if name in VOCABULARY else name


def allowed(low: str, high: str) -> bool:
    halves = [
        half[half.index(low) :] for half in (SERVER_HALF, CLIENT_HALF) if low in half
    ]
    return high in ABOVE_ALL or any(high in half for half in halves)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downwards_only(name: str) -> None:
    reactor = "twisted.internet.reactor"
    for imported in imported_names(MODULES[name]):
        good = imported == "txbayeux.__version__" or {
            "txbayeux": allowed(layer(imported), layer(name)),
            "txredisapi": name.startswith("txbayeux.engine.redis"),
        }.get(
            imported.split(".")[0],
            imported != reactor or layer(name) in {"tap", "client"},
        )
        assert good, f"{name} imports {imported}"
    assert reactor not in imported_names(MODULES[name], late=False), (
        "the reactor is an argument"
    )


def test_no_files_import_each_other() -> None:
    """Imports for type checkers and within functions count as well."""
    try:
        TopologicalSorter(graph(MODULES)).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))
