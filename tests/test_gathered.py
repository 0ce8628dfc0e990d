"""``--admin`` with ``--workers``: real Unix sockets, some of which nobody serves."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from treq import collect
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.web.client import Agent
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from txbayeux.service import gathered as module
from txbayeux.service.admin import Health, Metrics
from txbayeux.service.gathered import AdminSockets, gathered, with_labels

reactor: Any = the_reactor


class Crew:
    """Workers as their admin pages show them, and the parent's own."""

    def __init__(self) -> None:
        self.sockets = AdminSockets(reactor)
        self.sockets.open()
        self.ready = {1: True, 2: True}
        self.ports: list[Any] = []

    async def serve(self, number: int, body: bytes | None = None) -> None:
        root: Resource = Resource() if body is None else Data(body, "text/html")
        root.isLeaf = body is not None
        root.putChild(b"health", Health(lambda: self.ready[number]))
        root.putChild(b"metrics", Metrics(lambda: {"held": number, "x_total": 7}))
        endpoint = serverFromString(reactor, self.sockets.add(number))
        self.ports.append(await endpoint.listen(Site(root)))

    async def ask(self, page: str, count: int = 2) -> tuple[int, str]:
        site = Site(gathered(self.sockets, count))
        port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.ports.append(port)
        url = f"http://127.0.0.1:{port.getHost().port}/{page}"
        response = await Agent(reactor).request(b"GET", url.encode())
        parts: list[bytes] = []
        await collect(response, parts.append)
        return response.code, b"".join(parts).decode()

    def stop(self) -> None:
        for port in self.ports:
            pytest_twisted.blockon(maybeDeferred(port.stopListening))
        self.sockets.close()


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    crew.stop()


@pytest_twisted.ensureDeferred
async def test_metrics_are_those_of_each_worker(crew: Crew) -> None:
    for number in (1, 2):
        await crew.serve(number)
    status, text = await crew.ask("metrics")
    assert status == 200
    assert text == (
        "# HELP txbayeux_held Connects that wait for messages\n"
        "# TYPE txbayeux_held gauge\n"
        'txbayeux_held{worker="1"} 1\n'
        'txbayeux_held{worker="2"} 2\n'
        "# TYPE txbayeux_x_total counter\n"
        'txbayeux_x_total{worker="1"} 7\n'
        'txbayeux_x_total{worker="2"} 7\n'
    )


@pytest_twisted.ensureDeferred
async def test_all_must_be_well(crew: Crew) -> None:
    for number in (1, 2):
        await crew.serve(number)
    well = await crew.ask("health")
    assert well == (200, '{"status":"ok","workers":2,"ready":2}')
    crew.ready[2] = False
    not_well = await crew.ask("health")
    assert not_well == (503, '{"status":"unavailable","workers":2,"ready":1}')


@pytest_twisted.ensureDeferred
async def test_one_that_is_gone_or_mute_is_left_out(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    await crew.serve(1)
    crew.sockets.add(2)
    with closing(socket.socket(socket.AF_UNIX)) as mute:
        mute.bind(crew.sockets.add(3).removeprefix("unix:address="))
        mute.listen()
        status, text = await crew.ask("metrics")
        assert (status, text.count("worker=")) == (200, 2)
        health = await crew.ask("health", 3)
    assert health == (503, '{"status":"unavailable","workers":3,"ready":1}')
    await maybeDeferred(crew.ports.pop(0).stopListening)
    crew.sockets.remove(1)
    status, text = await crew.ask("metrics")
    assert (status, text) == (200, "")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("body", [b"#", b"\xff"])
async def test_one_that_answers_strangely_is_an_error_and_no_hang(
    crew: Crew, body: bytes
) -> None:
    await crew.serve(1)
    await crew.serve(2, body)
    status, text = await crew.ask("metrics")
    assert (status, text) == (500, "The workers answer strangely\n")


def test_a_socket_does_not_outlive_its_worker(crew: Crew) -> None:
    path = Path(crew.sockets.add(1).removeprefix("unix:address="))
    path.touch()
    crew.sockets.remove(1)
    assert not path.exists()
    assert path.parent.is_dir()


def test_a_folder_too_deep_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    sockets = AdminSockets(reactor)
    with pytest.raises(ValueError, match="TMPDIR"):
        sockets.open()
    assert list(deep.iterdir()) == []


def test_nothing_from_nobody() -> None:
    assert with_labels({}) == b""
