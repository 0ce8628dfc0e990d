"""The replies of a reactor turn are written together, at its end."""

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from txbayeux.adapter import websocket
from txbayeux.processor import Response
from txbayeux.writing import write_now

from .server_connection import ServerConnection
from .sockets import CLOSE, PING, PONG, TEXT, Client, frame, upgrade
from .support import Service, entry

pytestmark = pytest.mark.parametrize("http_way", ["fast"], indirect=True)


class RealClient(Client):
    """A client whose connection has a socket."""

    def __init__(self, service: Service) -> None:
        self.connection = ServerConnection()
        self.transport: Any = service.connect_through(self.connection.transport)
        self.raw(upgrade())
        self.take()

    def take(self) -> bytes:
        return self.connection.read()


@pytest.fixture
def service() -> Service:
    return Service(keep_alive=20.0)


@pytest.fixture
def client(service: Service) -> Iterator[RealClient]:
    client = RealClient(service)
    yield client
    client.connection.close()


@pytest.fixture
def other(service: Service) -> Iterator[RealClient]:
    client = RealClient(service)
    yield client
    client.connection.close()


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What is written to connections with sockets."""
    written: list[bytes] = []

    def write_and_note(transport: Any, data: bytes) -> None:
        written.append(data)
        write_now(transport, data)

    monkeypatch.setattr(websocket, "write_now", write_and_note)
    return written


def test_replies_are_written_at_the_end_of_the_turn(
    service: Service, client: RealClient, writes: list[bytes]
) -> None:
    client.send([1])
    client.send([2])
    assert client.frames() == []
    service.clock.advance(0)
    assert client.messages() == [[{"echo": 1}], [{"echo": 2}]]
    assert len(writes) == 1
    client.send([3])
    service.clock.advance(0)
    assert client.messages() == [[{"echo": 3}]]


def test_each_connection_has_a_write_of_its_own(
    service: Service, client: RealClient, other: RealClient, writes: list[bytes]
) -> None:
    client.send([1])
    other.send([2])
    client.send([3])
    service.clock.advance(0)
    assert client.messages() == [[{"echo": 1}], [{"echo": 3}]]
    assert other.messages() == [[{"echo": 2}]]
    assert len(writes) == 2


def test_messages_take_the_replies_before_them_along(
    service: Service, client: RealClient, writes: list[bytes]
) -> None:
    client.send([1])
    service.processor.streams[0].send([entry(1)])
    assert client.messages() == [[{"echo": 1}], [{"channel": "/a", "data": 1}]]
    service.clock.advance(0)
    assert client.messages() == []
    assert len(writes) == 1


def test_a_reply_that_comes_later_is_written_at_the_end_of_its_turn(
    service: Service, client: RealClient
) -> None:
    held: Deferred[Response] = Deferred()
    service.processor.answers.append(succeed(Response((), held)))
    client.send([1])
    service.clock.advance(0)
    held.callback(Response([{"late": 1}]))
    assert client.frames() == []
    service.clock.advance(0)
    assert client.messages() == [[{"late": 1}]]


def test_a_pong_and_a_close_follow_the_replies_before_them(
    service: Service, client: RealClient
) -> None:
    client.send([1])
    client.raw(frame(PING, b"hi"))
    client.send([2])
    client.raw(frame(CLOSE, b"\x03\xe8"))
    client.connection.transport.doWrite()
    first_bytes = [first for first, _ in client.frames()]
    assert first_bytes == [TEXT, PONG, TEXT, CLOSE]
    service.clock.advance(0)
    assert client.take() == b""


def test_replies_to_a_connection_that_is_lost_are_dropped(
    service: Service, client: RealClient, log: list[Any]
) -> None:
    client.send([1])
    client.transport.protocol.connectionLost(Failure(ConnectionDone()))
    client.transport.connected = 0
    service.clock.advance(0)
    assert client.take() == b""
    assert not [event for event in log if "log_failure" in event]


def test_the_upgrade_is_answered_without_another_turn(service: Service) -> None:
    connection = ServerConnection()
    transport: Any = service.connect_through(connection.transport)
    transport.protocol.dataReceived(upgrade())
    assert connection.read().startswith(b"HTTP/1.1 101 ")
    assert not connection.is_waiting_to_write()
    connection.close()
