"""The fast path does what the path does that it stands in for."""

import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure

from txbayeux.adapter import websocket
from txbayeux.adapter.fastpath import take_messages, write_now
from txbayeux.limits import Limits

from .sockets import BINARY, CLOSE, PING, PONG, TEXT, Client, frame
from .support import Service

LIMITS = Limits(request_bytes=3000, batch_messages=5)
TEXTS = [
    b"[]",
    b"",
    b"[1,2]",
    b"[" + b"1," * 80 + b"1]",
    b"{",
    b'["\xff"]',
    b'["\xc3\xbc"]',
    json.dumps([{"channel": "/a", "data": "x" * 500}]).encode(),
    b"[1]".ljust(125),
    b"[1]".ljust(126),
    b"[1]".ljust(3000),
    b"[1]".ljust(3001),
    b"[1]".ljust(70_000),
]


def a_stream(chance: random.Random) -> bytes:
    """Write what a client might send: mostly good, sometimes broken."""
    parts = []
    for _ in range(chance.randrange(1, 9)):
        text = chance.choice(TEXTS[:3] if chance.random() < 0.7 else TEXTS)
        mask = chance.randbytes(4)
        part = frame(TEXT, text, mask)
        kind = chance.random()
        if kind < 0.08:
            part = frame(PING, b"ping", mask)
        elif kind < 0.12:
            part = frame(PONG, b"", mask)
        elif kind < 0.2:
            half = len(text) // 2
            part = frame(0x01, text[:half], mask)
            part += frame(PING, b"", mask) if kind < 0.16 else b""
            part += frame(0x80, text[half:], mask)
        elif kind < 0.23:
            part = frame(CLOSE, b"\x03\xe8", mask)
        elif kind < 0.25:
            part = frame(BINARY, text, mask)
        elif kind < 0.28:
            part = frame(0xC1, text, mask)
        parts.append(part)
    data = bytearray(b"".join(parts))
    if chance.random() < 0.3:
        data[chance.randrange(min(len(data), 40))] = chance.randrange(256)
    if chance.random() < 0.1:
        del data[chance.randrange(len(data)) :]
    return bytes(data)


def pieces(data: bytes, chance: random.Random) -> list[bytes]:
    """Cut it as networks do: not at all, here and there, or into crumbs."""
    if chance.random() < 0.3:
        return [data]
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(8)))
    found = [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    if chance.random() < 0.1 and len(data) < 5000:
        return [bytes([byte]) for byte in data]
    return found


def played(stream: list[bytes], *, deflate: bool) -> dict[str, Any]:
    """Give all that a server does about a stream."""
    service = Service(limits=LIMITS, websocket_deflate=deflate)
    client = Client(service, sec_websocket_extensions="permessage-deflate")
    for piece in stream:
        client.raw(piece)
    written = client.frames()
    service.clock.advance(2)
    return {
        "requests": [messages for messages, _, _ in service.processor.requests],
        "written": written,
        "later": client.frames(),
        "closing": client.transport.disconnecting,
        "detached": len(service.processor.detached),
        "reading": client.transport.producerState,
    }


def autobahn_alone(data: bytes, most: int) -> tuple[list[bytes], bytes]:
    return [], data


@pytest.mark.parametrize("seed", range(60))
def test_all_is_as_on_autobahn_s_own_path(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    streams = [
        (pieces(a_stream(chance), chance), chance.random() < 0.3) for _ in range(25)
    ]
    fast = [played(stream, deflate=deflate) for stream, deflate in streams]
    monkeypatch.setattr(websocket, "take_messages", autobahn_alone)
    assert fast == [played(stream, deflate=deflate) for stream, deflate in streams]


def test_streams_of_the_test_above_are_of_all_kinds() -> None:
    chance = random.Random(0)
    codes = set()
    for _ in range(400):
        for first, payload in played(pieces(a_stream(chance), chance), deflate=False)[
            "written"
        ]:
            if first == CLOSE:
                codes.add(int.from_bytes(payload[:2], "big"))
    assert codes == {1000, 1002, 1003, 1007, 1009}


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 125, 126, 127, 2000, 4096])
def test_small_messages_are_taken(size: int) -> None:
    payload = random.Random(size).randbytes(size)
    data = frame(TEXT, payload, b"\xfe\x80\x01\x7f")
    assert take_messages(data * 3, 10_000) == ([payload] * 3, b"")
    assert take_messages(data + b"\x81", 10_000) == ([payload], b"\x81")
    for cut in range(min(len(data), 20)):
        assert take_messages(data[:cut], 10_000) == ([], data[:cut])


@pytest.mark.parametrize(
    "data",
    [
        frame(TEXT, b"x" * 4097),
        frame(TEXT, b"x" * 70_000),
        frame(0x01, b"[]"),
        frame(0xC1, b"[]"),
        frame(PING, b""),
        frame(CLOSE, b""),
        b"\x81\x02[]\0\0\0\0",  # not masked
        b"\x81\xfe\x00\x02\0\0\0\0[]",  # a length longer than need be
        b"\x81\xff\0\0\0\0\0\0\0\x02\0\0\0\0[]",
    ],
)
def test_all_else_is_left(data: bytes) -> None:
    assert take_messages(data, 10_000) == ([], data)


def test_a_message_past_the_limit_is_left() -> None:
    data = frame(TEXT, b"x" * 101)
    assert take_messages(data, 100) == ([], data)
    assert take_messages(data, 101) == ([b"x" * 101], b"")


# Writing at once


class Wire:
    """A connection of Twisted's own kind, whose reactor never turns."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        address = IPv4Address("TCP", "127.0.0.1", 1)
        listener: Any = type("Port", (), {"_realPortNumber": 1})
        self.transport = Server(
            ours,
            Protocol(),
            ("127.0.0.1", 1),
            listener,
            1,
            MemoryReactor(),  # type: ignore[arg-type]
        )
        assert self.transport.getPeer() == address

    def read(self) -> bytes:
        try:
            return self.peer.recv(1 << 20)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self.transport.socket.close()
        self.peer.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    it = Wire()
    yield it
    it.close()


def test_it_is_written_at_once(wire: Wire) -> None:
    write_now(wire.transport, b"hello")
    assert wire.read() == b"hello"
    assert wire.transport not in wire.transport.reactor.getWriters()


def test_nothing_overtakes_what_waits(wire: Wire) -> None:
    wire.transport.write(b"one ")
    write_now(wire.transport, b"two ")
    assert wire.read() == b""
    wire.transport.doWrite()
    write_now(wire.transport, b"three")
    assert wire.read() == b"one two three"


def test_what_does_not_fit_waits(wire: Wire) -> None:
    data = random.Random(0).randbytes(4_000_000)
    write_now(wire.transport, data)
    write_now(wire.transport, b"end")
    assert wire.transport in wire.transport.reactor.getWriters()
    received = b""
    while not received.endswith(b"end"):
        received += wire.read()
        wire.transport.doWrite()
    assert received == data + b"end"


def test_nothing_overtakes_what_was_written_in_part(wire: Wire) -> None:
    data = random.Random(0).randbytes(4_000_000)
    wire.transport.write(data)
    wire.transport.doWrite()
    received = wire.read()  # there is room again
    write_now(wire.transport, b"end")
    while not received.endswith(b"end"):
        received += wire.read()
        wire.transport.doWrite()
    assert received == data + b"end"


def test_to_one_who_is_gone_it_is_left_to_the_reactor(wire: Wire) -> None:
    wire.peer.close()
    write_now(wire.transport, b"hello")
    write_now(wire.transport, b"hello")
    assert wire.transport in wire.transport.reactor.getWriters()


def test_after_goodbye_nothing_is_written(wire: Wire) -> None:
    wire.transport.loseConnection()
    write_now(wire.transport, b"hello")
    assert wire.read() == b""


def test_after_the_end_nothing_is_written(wire: Wire) -> None:
    handle = wire.transport.socket
    wire.transport.socket = socket.socket()  # which is closed in its place
    wire.transport.connectionLost(Failure(ConnectionDone()))
    write_now(wire.transport, b"hello")
    assert wire.read() == b""
    wire.transport.socket = handle


def test_nothing_passes_by_tls(wire: Wire) -> None:
    transport: Any = wire.transport
    sealed: list[bytes] = []
    transport.protocol.write = sealed.append
    transport.TLS = True
    write_now(transport, b"hello")
    assert (wire.read(), sealed) == (b"", [b"hello"])
