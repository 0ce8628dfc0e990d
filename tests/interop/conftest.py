"""Starts servers and client programs; shows their output when a test fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest

from tests.ports import free_port

from . import servers, tools
from .client_program import ClientProgram
from .environment import ClientKind, Environment, Program
from .servers import Server

SERVER: Final = os.environ.get("TXBAYEUX_INTEROP_SERVER", "txbayeux")
"""The server under test; that of a peer shows whether the scenarios are correct."""

TIMEOUT: Final = 10
"""Seconds for which a connect is held; Faye's client waits 1.2 times that."""

_HOME: Final = {"none", "own"}
_COMETD: Final = {"websocket", "long-polling", "callback-polling"}
SUPPORTED: Final[dict[str, Callable[[ClientKind], bool]]] = {
    "txbayeux": lambda kind: True,
    "txbayeux-redis": lambda kind: True,
    "faye": lambda kind: kind.family == "faye",
    "cometd-node": lambda kind: (
        kind.family == "cometd"
        and kind.transport == "long-polling"
        and kind.origin in _HOME
    ),
    "cometd-java": lambda kind: kind.transport in _COMETD and kind.origin in _HOME,
}
FAULTS: Final = {
    # It sends a copy for each subscription that matches.
    ("cometd-node", "test_wildcards"),
    # It decodes each chunk of a request for itself.
    ("cometd-node", "test_300_kilobytes"),
}


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    ours = [item for item in items if tools.HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.interop)
    unsupported = [item for item in ours if not _is_supported(item)]
    if unsupported:
        config.hook.pytest_deselected(items=unsupported)
        items[:] = [item for item in items if item not in unsupported]


def _is_supported(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    kind = callspec.params.get("environment") if callspec else None
    name = getattr(item, "originalname", item.name)
    return (SERVER, name) not in FAULTS and (kind is None or SUPPORTED[SERVER](kind))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    environment = getattr(item, "funcargs", {}).get("environment")
    if report.failed and isinstance(environment, Environment):
        report.sections.append(
            ("the client program's transcript", environment.program.transcript())
        )
        report.sections.append(("the server's output", environment.server.log()))
    return report


class ClientPrograms:
    """The client programs, started when needed, and again if one has ended."""

    def __init__(self) -> None:
        self.pages = free_port()
        """Port on which the browser's program serves a page of another origin."""
        self._running: dict[Program, ClientProgram] = {}

    def get(self, program: Program) -> ClientProgram:
        running = self._running.get(program)
        if running is not None and running.alive:
            return running
        if running is not None:
            running.close()
        started = self._running[program] = self._start(program)
        return started

    def close(self) -> None:
        for program in self._running.values():
            program.close()

    def _start(self, program: Program) -> ClientProgram:
        if program == "java":
            command = [*tools.java_programs(), "txbayeux.interop.ClientProgram"]
            return ClientProgram(command, tools.JAVA)
        node = tools.versioned("node", 18)
        if program == "node":
            return ClientProgram([node, "node.js"], tools.node_programs())
        chromium = tools.tool("chromium", "chromium-browser", "google-chrome")
        command = [node, "browser.js", chromium, str(self.pages)]
        return ClientProgram(command, tools.node_programs())


@pytest.fixture(scope="session")
def programs() -> Generator[ClientPrograms]:
    with closing(ClientPrograms()) as running:
        yield running


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest,
    programs: ClientPrograms,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Server]:
    """Run the server; the parameter, if any, is its timeout in seconds."""
    output = tmp_path_factory.mktemp("server") / "output"
    made = _make(output, getattr(request, "param", TIMEOUT), programs)
    with ExitStack() as stack:
        stack.callback(made.kill)
        made.start()
        yield made


def _make(output: Path, timeout: int, programs: ClientPrograms) -> Server:
    match SERVER:
        case "txbayeux" | "txbayeux-redis":
            origins = [f"http://localhost:{programs.pages}"]
            shared = SERVER == "txbayeux-redis"
            return servers.txbayeux(output, timeout, origins, shared=shared)
        case "faye":
            return servers.faye(output, timeout, tools.node_programs())
        case "cometd-node":
            return servers.cometd_node(output, timeout, tools.node_programs())
        case "cometd-java":
            return servers.cometd_java(output, timeout, tools.java_programs())
    raise AssertionError(SERVER)


@pytest.fixture
def environment(
    request: pytest.FixtureRequest, server: Server, programs: ClientPrograms
) -> Generator[Environment]:
    """Prepare an environment for the fixture's parameter, a ClientKind."""
    kind: ClientKind = request.param
    if not server.alive:
        server.start()

    page = {
        "other": f"http://localhost:{programs.pages}/",
        "neighbour": f"http://127.0.0.1:{programs.pages}/",
        "stranger": f"http://stranger.localhost:{programs.pages}/",
        # Any page of the server's origin will do, also one that is not found.
    }.get(kind.origin, f"http://127.0.0.1:{server.port}/interop")
    made = Environment(kind, server, programs.get(kind.program), page)
    yield made
    made.close_clients()
