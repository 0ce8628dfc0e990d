"""The service's own reactor does what Twisted's does."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from txbayeux.service import reactor
from txbayeux.service.reactor import LeanReactor


class Recorder(Protocol):
    """Keeps what it hears; raises where it is told to."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.heard.append(data)
        if data == b"raise":
            raise RuntimeError("on purpose")
        if data == b"close":
            self.transport.loseConnection()
        if self.transport.connected and data == b"echo":
            self.transport.write(b"x" * 1_000_000)

    def connectionLost(self, reason: Any) -> None:
        self.heard.append(reason.type.__name__)


class Wires:
    """Connections of one reactor to itself."""

    kind = Recorder

    def __init__(self, reactor: type[EPollReactor]) -> None:
        self.reactor: Any = reactor()
        self.servers: list[Recorder] = []
        factory = Factory()
        factory.buildProtocol = self.accept  # type: ignore[method-assign]
        self.port = self.reactor.listenTCP(0, factory, interface="127.0.0.1")

    def accept(self, _: object) -> Recorder:
        self.servers.append(self.kind())
        return self.servers[-1]

    def dial(self) -> Recorder:
        client = Recorder()
        factory: Any = Factory.forProtocol(lambda: client)
        factory.doStart = factory.doStop = lambda: None
        factory.startedConnecting = factory.clientConnectionLost = lambda *_: None
        self.reactor.connectTCP("127.0.0.1", self.port.getHost().port, factory)
        self.until(lambda: client.transport is not None)
        self.until(lambda: self.servers and self.servers[-1].transport is not None)
        return client

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(2000):
            if condition():
                return
            self.reactor.iterate(0.01)
        raise AssertionError("it did not happen")


@pytest.fixture(params=[EPollReactor, LeanReactor])
def wires(request: pytest.FixtureRequest) -> Iterator[Wires]:
    wires = Wires(request.param)
    yield wires
    # One that has half ended is nobody's any more.
    ends = [server.transport for server in wires.servers]
    for one in (*wires.reactor.removeAll(), *ends, wires.port):
        if hasattr(one, "connectionLost") and one.connected:
            one.connectionLost(Failure(ConnectionDone()))
    wires.reactor._poller.close()


def test_it_reads_and_writes(wires: Wires) -> None:
    client = wires.dial()
    client.transport.write(b"echo")
    wires.until(lambda: sum(map(len, client.heard)) == 1_000_000)
    client.transport.loseConnection()
    wires.until(lambda: wires.servers[0].heard == [b"echo", "ConnectionDone"])


def test_what_a_protocol_raises_is_logged_and_ends_its_connection_alone(
    wires: Wires,
) -> None:
    client, other = wires.dial(), wires.dial()
    client.transport.write(b"raise")
    wires.until(lambda: client.heard)
    assert wires.servers[0].heard == [b"raise", "RuntimeError"]
    other.transport.write(b"still there")
    wires.until(lambda: wires.servers[1].heard == [b"still there"])


def test_what_one_raises_at_its_end_is_logged_and_holds_up_nobody(
    wires: Wires,
) -> None:
    clients = [wires.dial() for _ in range(2)]
    one, two = wires.servers

    def fail(reason: Any) -> None:
        one.heard.append("end")
        raise RuntimeError("on purpose")

    one.connectionLost = fail  # type: ignore[method-assign]
    clients[0].transport.loseConnection()
    clients[1].transport.write(b"still there")
    wires.until(lambda: one.heard and two.heard)
    assert (one.heard, two.heard) == (["end"], [b"still there"])


@implementer(IHalfCloseableProtocol)
class Half(Recorder):
    """Hears of the end of what it reads by itself; raises what others mean by it."""

    def dataReceived(self, data: bytes) -> None:
        raise ConnectionDone

    def readConnectionLost(self) -> None:
        self.heard.append("half")

    def writeConnectionLost(self) -> None: ...


@pytest.mark.parametrize(
    ("how", "heard"), [("write", "ConnectionDone"), ("loseConnection", "half")]
)
def test_half_an_end_is_told_where_it_is_one(
    wires: Wires, how: str, heard: str
) -> None:
    wires.kind = Half
    client = wires.dial()
    getattr(client.transport, how)(*([b"x"] if how == "write" else []))
    wires.until(lambda: wires.servers[0].heard)
    assert wires.servers[0].heard == [heard]


def test_who_was_closed_in_the_same_turn_is_not_called(wires: Wires) -> None:
    clients = [wires.dial() for _ in range(2)]
    one, two = wires.servers
    called: list[bytes] = []
    events: list[LogEvent] = []

    def close_both(data: bytes) -> None:
        called.append(data)
        for server in (one, two):
            server.transport.connectionLost(Failure(ConnectionDone()))

    one.dataReceived = two.dataReceived = close_both  # type: ignore[method-assign]
    globalLogPublisher.addObserver(events.append)
    for client in clients:
        client.transport.write(b"x")
    wires.until(lambda: one.heard and two.heard)
    globalLogPublisher.removeObserver(events.append)
    assert one.heard == two.heard == ["ConnectionDone"]
    assert called == [b"x"]
    assert [event for event in events if event.get("isError")] == []


@pytest.mark.parametrize("wires", [LeanReactor], indirect=True)
def test_ends_come_last_and_few_at_a_time(
    wires: Wires, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reactor, "ENDS", 0.0)  # the first one in each turn
    address = ("127.0.0.1", wires.port.getHost().port)
    clients = [socket.create_connection(address) for _ in range(4)]
    wires.until(lambda: len(wires.servers) == 4)
    *leaving, staying = clients
    for client in leaving:
        client.sendall(b"bye")
        client.close()
    told = [[b"bye"], [b"bye", "ConnectionDone"]]
    for server in wires.servers[:3]:
        for heard in told:
            staying.sendall(b"x")
            others = [one.heard[:] for one in wires.servers if one is not server]
            wires.reactor.iterate(0.01)
            others[-1].append(b"x")
            assert server.heard == heard
            assert [one.heard for one in wires.servers if one is not server] == others
    staying.close()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ([], "txbayeux.service.reactor.LeanReactor"),
        (["--reactor=poll"], "twisted.internet.pollreactor.PollReactor"),
    ],
)
def test_the_command_uses_it_unless_told_otherwise(
    options: list[str], name: str
) -> None:
    twistd = Path(sys.executable).with_name("twistd")
    service = subprocess.Popen(
        [twistd, *options, "-n", "--pidfile=", "bayeux", "--listen=tcp:0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert service.stdout is not None
    try:
        lines = iter(service.stdout.readline, "")
        line = next((line for line in lines if "reactor class" in line), "")
    finally:
        service.terminate()
        service.communicate()
    assert name in line
