"""Starts what the scenarios are played with, and shows what was said when one fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

import pytest

from . import servers, tools
from .puppet import Puppet
from .servers import Server
from .stage import Cast, Program, Stage

SERVER: Final = os.environ.get("TXBAYEUX_INTEROP_SERVER", "txbayeux")
"""The server under test; a peer's own shows whether the scenarios are right."""

TIMEOUT: Final = 10
"""Seconds for which a connect is held. Faye's client gives a request 1.2 times that."""

_HOME: Final = {"none", "own"}
_COMETD: Final = {"websocket", "long-polling", "callback-polling"}
PLAYABLE: Final[dict[str, Callable[[Cast], bool]]] = {
    "txbayeux": lambda cast: True,
    "txbayeux-redis": lambda cast: True,
    "faye": lambda cast: cast.family == "faye",
    "cometd-node": lambda cast: (
        cast.family == "cometd"
        and cast.transport == "long-polling"
        and cast.origin in _HOME
    ),
    "cometd-java": lambda cast: cast.transport in _COMETD and cast.origin in _HOME,
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
    unplayable = [item for item in ours if not _playable(item)]
    if unplayable:
        config.hook.pytest_deselected(items=unplayable)
        items[:] = [item for item in items if item not in unplayable]


def _playable(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    cast = callspec.params.get("stage") if callspec else None
    name = getattr(item, "originalname", item.name)
    return (SERVER, name) not in FAULTS and (cast is None or PLAYABLE[SERVER](cast))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    stage = getattr(item, "funcargs", {}).get("stage")
    if report.failed and isinstance(stage, Stage):
        report.sections.append(("what was said", stage.puppet.transcript()))
        report.sections.append(("what the server printed", stage.server.log()))
    return report


class Puppets:
    """The programs, each started when it is first asked for, and again when it died."""

    def __init__(self) -> None:
        self.pages = servers.free_port()
        """Where the browser's program serves a page of another origin."""
        self._running: dict[Program, Puppet] = {}

    def get(self, program: Program) -> Puppet:
        running = self._running.get(program)
        if running is not None and running.alive:
            return running
        if running is not None:
            running.close()
        started = self._running[program] = self._start(program)
        return started

    def close(self) -> None:
        for puppet in self._running.values():
            puppet.close()

    def _start(self, program: Program) -> Puppet:
        if program == "java":
            command = [*tools.java_programs(), "txbayeux.interop.Puppet"]
            return Puppet(command, tools.JAVA)
        node = tools.versioned("node", 18)
        if program == "node":
            return Puppet([node, "node.js"], tools.node_programs())
        chromium = tools.tool("chromium", "chromium-browser", "google-chrome")
        command = [node, "browser.js", chromium, str(self.pages)]
        return Puppet(command, tools.node_programs())


@pytest.fixture(scope="session")
def puppets() -> Generator[Puppets]:
    with closing(Puppets()) as running:
        yield running


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest,
    puppets: Puppets,
    tmp_path_factory: pytest.TempPathFactory,
) -> Generator[Server]:
    """Run the server; the parameter, if any, is its time-out."""
    output = tmp_path_factory.mktemp("server") / "output"
    made = _make(output, getattr(request, "param", TIMEOUT), puppets)
    with ExitStack() as stack:
        stack.callback(made.kill)
        made.start()
        yield made


def _make(output: Path, timeout: int, puppets: Puppets) -> Server:
    match SERVER:
        case "txbayeux" | "txbayeux-redis":
            origins = [f"http://localhost:{puppets.pages}"]
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
def stage(
    request: pytest.FixtureRequest, server: Server, puppets: Puppets
) -> Generator[Stage]:
    """Set the scene for a Cast, the fixture's parameter."""
    cast: Cast = request.param
    if not server.alive:
        server.start()

    page = {
        "other": f"http://localhost:{puppets.pages}/",
        "neighbour": f"http://127.0.0.1:{puppets.pages}/",
        "stranger": f"http://stranger.localhost:{puppets.pages}/",
        # Any page of the server's will do, and one that is not there needs no making.
    }.get(cast.origin, f"http://127.0.0.1:{server.port}/interop")
    made = Stage(cast, server, puppets.get(cast.program), page)
    yield made
    made.clear()
