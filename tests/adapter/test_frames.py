"""Small messages are taken from the input as Autobahn would take them."""

import json
import random
from typing import Any

import pytest

from txbayeux.adapter import websocket_input
from txbayeux.adapter.frames import take_message
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


def random_stream(chance: random.Random) -> bytes:
    """Return what a client might send: mostly valid, sometimes malformed."""
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
    """Cut it as networks do: not at all, in some places, or into single bytes."""
    if chance.random() < 0.3:
        return [data]
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(8)))
    found = [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    if chance.random() < 0.1 and len(data) < 5000:
        return [bytes([byte]) for byte in data]
    return found


def outcome(stream: list[bytes], *, deflate: bool) -> dict[str, Any]:
    """Return everything that a server does in response to a stream."""
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


def take_nothing(data: bytes, at: int, max_size: int) -> None:
    return None


@pytest.mark.parametrize("seed", range(60))
def test_the_outcome_is_that_of_autobahn_alone(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    streams = [
        (pieces(random_stream(chance), chance), chance.random() < 0.3)
        for _ in range(25)
    ]
    fast = [outcome(stream, deflate=deflate) for stream, deflate in streams]
    monkeypatch.setattr(websocket_input, "take_message", take_nothing)
    assert fast == [outcome(stream, deflate=deflate) for stream, deflate in streams]


def test_the_random_streams_cause_every_close_code() -> None:
    chance = random.Random(0)
    codes = set()
    for _ in range(400):
        for first, payload in outcome(
            pieces(random_stream(chance), chance), deflate=False
        )["written"]:
            if first == CLOSE:
                codes.add(int.from_bytes(payload[:2], "big"))
    assert codes == {1000, 1002, 1003, 1007, 1009}


def take_messages(data: bytes, max_size: int) -> tuple[list[bytes], bytes]:
    """Return the small messages at the beginning, and the rest."""
    messages, at = [], 0
    while (taken := take_message(data, at, max_size)) is not None:
        payload, at = taken
        messages.append(payload)
    return messages, data[at:]


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
def test_other_frames_are_left_to_autobahn(data: bytes) -> None:
    assert take_messages(data, 10_000) == ([], data)


def test_a_message_over_the_limit_is_left_to_autobahn() -> None:
    data = frame(TEXT, b"x" * 101)
    assert take_messages(data, 100) == ([], data)
    assert take_messages(data, 101) == ([b"x" * 101], b"")
