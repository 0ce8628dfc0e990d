"""Transports: writing at once, what their peers have closed, and work that can wait."""

import errno
import os
import random
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from tests.resets import reset_on_close
from txbayeux.adapter.io import (
    TIME_SLICE,
    ClosingWatch,
    TurnEnd,
    Watched,
    WorkQueue,
    has_closed,
)
from txbayeux.writing import write_now

from .server_connection import ServerConnection
from .support import turn

pytestmark = pytest.mark.parametrize("http_way", ["fast"], indirect=True)


# Writing at once


@pytest.fixture
def connection() -> Iterator[ServerConnection]:
    connection = ServerConnection()
    yield connection
    connection.close()


def test_twisted_has_the_private_names_that_write_now_uses(
    connection: ServerConnection,
) -> None:
    transport: Any = connection.transport
    assert (transport._tempDataLen, transport.offset, transport.dataBuffer) == (
        (0, 0, b"")
    ), "write_now() in txbayeux/writing.py reads what Twisted has renamed"
    transport.write(b"hello")
    assert transport._tempDataLen == 5


def test_it_is_written_at_once(connection: ServerConnection) -> None:
    write_now(connection.transport, b"hello")
    assert connection.read() == b"hello"
    assert not connection.is_waiting_to_write()


def test_nothing_overtakes_what_waits(connection: ServerConnection) -> None:
    connection.transport.write(b"one ")
    write_now(connection.transport, b"two ")
    assert connection.read() == b""
    connection.transport.doWrite()
    write_now(connection.transport, b"three")
    assert connection.read() == b"one two three"


def test_what_does_not_fit_waits(connection: ServerConnection) -> None:
    data = random.Random(0).randbytes(4_000_000)
    write_now(connection.transport, data)
    write_now(connection.transport, b"end")
    assert connection.is_waiting_to_write()
    received = b""
    while not received.endswith(b"end"):
        received += connection.read()
        connection.transport.doWrite()
    assert received == data + b"end"


def test_nothing_overtakes_what_was_written_in_part(
    connection: ServerConnection,
) -> None:
    data = random.Random(0).randbytes(4_000_000)
    connection.transport.write(data)
    connection.transport.doWrite()
    received = connection.read()  # The socket's buffer has room again.
    write_now(connection.transport, b"end")
    while not received.endswith(b"end"):
        received += connection.read()
        connection.transport.doWrite()
    assert received == data + b"end"


def test_the_reactor_handles_the_error_of_a_lost_connection(
    connection: ServerConnection,
) -> None:
    connection.peer.close()
    write_now(connection.transport, b"hello")
    write_now(connection.transport, b"hello")
    assert connection.is_waiting_to_write()


def test_nothing_is_written_after_loseConnection(connection: ServerConnection) -> None:
    connection.transport.loseConnection()
    write_now(connection.transport, b"hello")
    assert connection.read() == b""


def test_nothing_is_written_after_connectionLost(connection: ServerConnection) -> None:
    handle = connection.transport.socket
    connection.transport.socket = socket.socket()  # closed in place of ours
    connection.transport.connectionLost(Failure(ConnectionDone()))
    write_now(connection.transport, b"hello")
    assert connection.read() == b""
    connection.transport.socket = handle


def test_tls_is_not_bypassed(connection: ServerConnection) -> None:
    transport: Any = connection.transport
    encrypted: list[bytes] = []
    transport.protocol.write = encrypted.append
    transport.TLS = True
    write_now(transport, b"hello")
    assert (connection.read(), encrypted) == (b"", [b"hello"])


# What peers have closed


class SocketPair:
    """A transport with a socket, and the socket of its peer."""

    def __init__(self, kind: str) -> None:
        self.handle: Any
        if kind == "unix":
            self.handle, self.peer = socket.socketpair()
        else:
            with socket.create_server(("127.0.0.1", 0)) as port:
                self.peer = socket.create_connection(port.getsockname())
                self.handle, _ = port.accept()
        self.handle.setblocking(False)

    def getHandle(self) -> Any:
        return self.handle

    def close_peer(self) -> None:
        self.peer.close()

    def reset_peer(self) -> None:
        reset_on_close(self.peer)
        self.peer.close()


class Connections:
    """A :class:`ClosingWatch` with a clock, and connections to watch."""

    def __init__(self, kind: str) -> None:
        self.now = 0.0
        self.watch = ClosingWatch(lambda: self.now)
        self.opened: list[SocketPair] = []
        self.kind = kind

    def open(self) -> SocketPair:
        pair = SocketPair(self.kind)
        self.opened.append(pair)
        return pair

    def open_watched(self) -> tuple[SocketPair, Watched]:
        pair = self.open()
        watched = self.watch.add(pair)
        assert watched is not None
        return pair, watched


@pytest.fixture(params=["tcp", "unix"])
def connections(request: pytest.FixtureRequest) -> Iterator[Connections]:
    connections = Connections(request.param)
    yield connections
    for pair in connections.opened:
        pair.peer.close()
        pair.handle.close()


@pytest.mark.parametrize("how", ["close_peer", "reset_peer"])
def test_a_closed_connection_is_known_and_no_other(
    connections: Connections, how: str
) -> None:
    one, watched_one = connections.open_watched()
    two, watched_two = connections.open_watched()
    assert not has_closed(one)
    getattr(one, how)()
    assert has_closed(one)
    assert connections.watch.has_closed(watched_one, 1)
    assert not has_closed(two)
    assert not connections.watch.has_closed(watched_two, 1)


def test_unread_data_is_not_an_end(connections: Connections) -> None:
    pair, watched = connections.open_watched()
    pair.peer.send(b"x")
    assert not has_closed(pair)
    assert not connections.watch.has_closed(watched, None)


def test_one_turn_asks_the_kernel_once_in_two_milliseconds(
    connections: Connections,
) -> None:
    _, first = connections.open_watched()
    pair, second = connections.open_watched()
    assert not connections.watch.has_closed(first, 1)
    pair.close_peer()
    assert not connections.watch.has_closed(second, 1)
    connections.now += 0.003
    assert connections.watch.has_closed(second, 1)


@pytest.mark.parametrize("turn", [2, None])
def test_another_turn_or_none_asks_the_kernel_again(
    connections: Connections, turn: int | None
) -> None:
    pair, watched = connections.open_watched()
    assert not connections.watch.has_closed(watched, 1)
    pair.close_peer()
    assert connections.watch.has_closed(watched, turn)


def test_a_file_descriptor_may_be_used_again(connections: Connections) -> None:
    pair, watched = connections.open_watched()
    _, other = connections.open_watched()
    pair.handle.close()
    connections.watch.remove(watched)
    pair.close_peer()
    _, again = connections.open_watched()
    assert not connections.watch.has_closed(again, None)
    connections.watch.remove(other)
    connections.watch.remove(again)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_no_file_stays_open_when_nothing_is_watched(connections: Connections) -> None:
    pair = connections.open()
    before = os.listdir("/proc/self/fd")
    watched = connections.watch.add(pair)
    assert watched is not None
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1
    connections.watch.remove(watched)
    assert os.listdir("/proc/self/fd") == before


def test_removing_late_leaves_the_connection_with_the_same_file_descriptor(
    connections: Connections,
) -> None:
    pair, watched = connections.open_watched()
    fresh = connections.open()
    number = pair.handle.detach()
    os.dup2(fresh.handle.fileno(), number)  # closes what had the number before
    fresh.handle.close()
    fresh.handle = socket.socket(fileno=number)
    successor = connections.watch.add(fresh)
    assert successor is not None
    connections.watch.remove(watched)
    fresh.close_peer()
    assert connections.watch.has_closed(successor, None)
    connections.watch.remove(successor)


@pytest.mark.parametrize("what", ["another epoll", "one more connection"])
def test_nothing_is_watched_past_the_limits_of_the_kernel(
    connections: Connections, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullEpoll:
        def __init__(self) -> None:
            if what == "another epoll":
                raise OSError(errno.EMFILE, "Too many open files")

        def register(self, number: int, events: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(select, "epoll", FullEpoll)
    assert connections.watch.add(connections.open()) is None


def test_a_transport_without_a_socket_is_not_watched() -> None:
    watch = ClosingWatch(lambda: 0.0)
    assert watch.add(object()) is None
    assert not has_closed(object())


def test_the_connection_below_tls_is_asked(connections: Connections) -> None:
    pair = connections.open()
    factory: Any = WrappingFactory(None)
    wrapper: Any = ProtocolWrapper(factory, None)
    wrapper.transport = pair
    assert not has_closed(wrapper)
    pair.close_peer()
    assert has_closed(wrapper)


# Work that can wait


class WorkClock(Clock):
    """A clock on which work takes time, and what was done."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[int] = []

    def work(self, number: int, seconds: float = 0.0) -> None:
        self.rightNow += seconds
        self.done.append(number)


def test_calls_are_made_soon_and_in_order() -> None:
    clock = WorkClock()
    queue = WorkQueue(clock)
    for number in range(3):
        queue.add(lambda number=number: clock.work(number))
    assert clock.done == []
    clock.advance(0)
    assert clock.done == [0, 1, 2]
    assert clock.getDelayedCalls() == []


def test_other_calls_of_the_reactor_are_made_in_between() -> None:
    clock = WorkClock()
    queue = WorkQueue(clock)
    for number in range(5):
        queue.add(lambda number=number: clock.work(number, TIME_SLICE * 0.6))
    clock.callLater(0, clock.work, 100)
    seen = []
    while clock.getDelayedCalls():
        turn(clock)
        seen.append(clock.done)
        clock.done = []
    assert seen == [[0, 1, 100], [2, 3], [4]]


def test_a_call_that_raises_is_logged_and_the_next_is_made(log: list[Any]) -> None:
    clock = WorkClock()
    queue = WorkQueue(clock)
    queue.add(lambda: 1 / 0)
    queue.add(lambda: clock.work(1))
    clock.advance(0)
    assert clock.done == [1]
    failures = [event["log_failure"] for event in log if "log_failure" in event]
    assert [failure.type for failure in failures] == [ZeroDivisionError]


def test_a_call_may_add_another() -> None:
    clock = WorkClock()
    queue = WorkQueue(clock)
    queue.add(lambda: queue.add(lambda: clock.work(1)))
    clock.advance(0)
    assert clock.done == [1]
    assert clock.getDelayedCalls() == []


def test_finish_makes_all_calls_and_leaves_no_timer() -> None:
    clock = WorkClock()
    queue = WorkQueue(clock)
    queue.finish()
    for number in range(3):
        queue.add(lambda number=number: clock.work(number, TIME_SLICE))
    queue.finish()
    assert clock.done == [0, 1, 2]
    assert clock.getDelayedCalls() == []


def test_a_call_may_finish_the_queue() -> None:
    clock = WorkClock()
    queue = WorkQueue(clock)
    queue.add(queue.finish)
    queue.add(lambda: clock.work(1))
    clock.advance(0)
    queue.add(lambda: clock.work(2))
    clock.advance(0)
    assert clock.done == [1, 2]
    assert clock.getDelayedCalls() == []


# The end of a turn


def test_calls_at_the_end_of_a_turn_are_made_in_order_by_one_timer() -> None:
    clock = WorkClock()
    end = TurnEnd(clock)
    for number in range(3):
        end.add(lambda number=number: clock.work(number))
    assert clock.done == []
    assert len(clock.getDelayedCalls()) == 1
    turn(clock)
    assert clock.done == [0, 1, 2]
    assert clock.getDelayedCalls() == []


def test_what_is_added_at_the_end_of_a_turn_is_called_at_the_end_of_the_next() -> None:
    clock = WorkClock()
    end = TurnEnd(clock)
    end.add(lambda: end.add(lambda: clock.work(1)))
    turn(clock)
    assert clock.done == []
    turn(clock)
    assert clock.done == [1]
    assert clock.getDelayedCalls() == []


def test_a_call_that_raises_at_the_end_of_a_turn_is_logged(log: list[Any]) -> None:
    clock = WorkClock()
    end = TurnEnd(clock)
    end.add(lambda: 1 / 0)
    end.add(lambda: clock.work(1))
    turn(clock)
    assert clock.done == [1]
    failures = [event["log_failure"] for event in log if "log_failure" in event]
    assert [failure.type for failure in failures] == [ZeroDivisionError]
