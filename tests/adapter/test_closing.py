"""What the kernel tells of connections that their peers have closed."""

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from txbayeux.adapter.closing import ClosingWatch, Watched, has_closed

pytestmark = pytest.mark.parametrize("door", ["front"], indirect=True)

REFUSE_TO_LINGER = struct.pack("ii", 1, 0)


class Wire:
    """A connection, and its other end."""

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

    def end(self) -> None:
        self.peer.close()

    def reset(self) -> None:
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, REFUSE_TO_LINGER)
        self.peer.close()


class Wires:
    """A watch on its own time, and connections."""

    def __init__(self, kind: str) -> None:
        self.now = 0.0
        self.watch = ClosingWatch(lambda: self.now)
        self.all: list[Wire] = []
        self.kind = kind

    def dial(self) -> tuple[Wire, Watched]:
        wire = Wire(self.kind)
        self.all.append(wire)
        watched = self.watch.add(wire)
        assert watched is not None
        return wire, watched


@pytest.fixture(params=["tcp", "unix"])
def wires(request: pytest.FixtureRequest) -> Iterator[Wires]:
    wires = Wires(request.param)
    yield wires
    for wire in wires.all:
        wire.peer.close()
        wire.handle.close()


@pytest.mark.parametrize("how", ["end", "reset"])
def test_who_has_gone_is_known_and_nobody_else(wires: Wires, how: str) -> None:
    (one, watched), (other, still) = wires.dial(), wires.dial()
    assert not has_closed(one)
    getattr(one, how)()
    assert has_closed(one)
    assert wires.watch.has_closed(watched, 1)
    assert not has_closed(other)
    assert not wires.watch.has_closed(still, 1)


def test_what_waits_to_be_read_is_no_end(wires: Wires) -> None:
    wire, watched = wires.dial()
    wire.peer.send(b"x")
    assert not has_closed(wire)
    assert not wires.watch.has_closed(watched, None)


def test_one_turn_asks_once_for_two_milliseconds(wires: Wires) -> None:
    (_, first), (wire, second) = wires.dial(), wires.dial()
    assert not wires.watch.has_closed(first, 1)
    wire.end()
    assert not wires.watch.has_closed(second, 1)
    wires.now += 0.003
    assert wires.watch.has_closed(second, 1)


@pytest.mark.parametrize("turn", [2, None])
def test_another_turn_and_who_is_alone_ask_anew(wires: Wires, turn: int) -> None:
    wire, watched = wires.dial()
    assert not wires.watch.has_closed(watched, 1)
    wire.end()
    assert wires.watch.has_closed(watched, turn)


def test_who_is_removed_is_forgotten_and_numbers_may_be_used_again(
    wires: Wires,
) -> None:
    wire, watched = wires.dial()
    _, other = wires.dial()
    wire.handle.close()
    wires.watch.remove(watched)
    wire.end()
    _, again = wires.dial()
    assert not wires.watch.has_closed(again, None)
    for one in (other, again):
        wires.watch.remove(one)
    assert wires.watch._epoll is None


def test_who_is_removed_late_takes_nobody_along_who_has_its_number(
    wires: Wires,
) -> None:
    wire, watched = wires.dial()
    fresh = Wire(wires.kind)
    wires.all.append(fresh)
    number = wire.handle.detach()
    os.dup2(fresh.handle.fileno(), number)  # closes what had the number before
    fresh.handle.close()
    fresh.handle = socket.socket(fileno=number)
    successor = wires.watch.add(fresh)
    assert successor is not None
    wires.watch.remove(watched)
    fresh.end()
    assert wires.watch.has_closed(successor, None)
    wires.watch.remove(successor)


@pytest.mark.parametrize("what", ["another epoll", "one more connection"])
def test_nobody_is_watched_where_there_is_no_room(
    wires: Wires, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __init__(self) -> None:
            if what == "another epoll":
                raise OSError(errno.EMFILE, "Too many open files")

        def register(self, number: int, events: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(select, "epoll", Full)
    wire = Wire(wires.kind)
    wires.all.append(wire)
    assert wires.watch.add(wire) is None


def test_what_is_no_socket_is_not_watched() -> None:
    watch = ClosingWatch(lambda: 0.0)
    assert watch.add(object()) is None
    assert not has_closed(object())


def test_behind_tls_the_connection_itself_is_asked(wires: Wires) -> None:
    wire, _ = wires.dial()
    factory: Any = WrappingFactory(None)
    wrapper: Any = ProtocolWrapper(factory, None)
    wrapper.transport = wire
    assert not has_closed(wrapper)
    wire.end()
    assert has_closed(wrapper)
