"""Invalid input over WebSocket: it is answered with a close code, and harms nobody."""

import random
import tracemalloc
import zlib

import pytest

from txbayeux.limits import Limits

from .sockets import BINARY, CLOSE, PING, TEXT, Client, frame
from .support import Service

LIMITS = Limits(request_bytes=1000, batch_messages=3)


def assert_refused(service: Service, client: Client, code: int) -> None:
    assert client.closed_with() == code
    assert service.processor.requests == []
    assert len(service.processor.detached) == 1
    client.raw(frame(TEXT, b"[1]"))
    assert service.processor.requests == []
    service.clock.advance(1)
    assert client.transport.disconnecting
    client.transport.lose()
    other = Client(service)
    other.send([1])
    assert other.messages() == [[{"echo": 1}]]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", 1007),
        (b"{", 1007),
        (b"hello", 1007),
        (b"1", 1007),
        (b"null", 1007),
        (b'"a"', 1007),
        (b"[NaN]", 1007),
        (b"[1e999]", 1007),
        (b'["\xff"]', 1007),
        (b'["\xed\xa0\x80"]', 1007),
        (b'["\xc3', 1007),
        (b"\xff", 1007),
        (b'["\\ud800"]', 1007),
        (b"[" * 101 + b"]" * 101, 1007),
        (b"[" * 900, 1007),
        (b"[1,2,3,4]", 1009),
        (b"[1]".ljust(1001), 1009),
    ],
)
def test_both_transports_refuse_the_same_bodies(text: bytes, code: int) -> None:
    service = Service(limits=LIMITS)
    client = Client(service)
    client.raw(frame(TEXT, text))
    assert_refused(service, client, code)
    http = Service(limits=LIMITS).post(text, content_type="application/json").code
    assert http == {1007: 400, 1009: 413}[code]


def test_a_message_at_the_limit() -> None:
    client = Client(Service(limits=LIMITS))
    client.raw(frame(TEXT, b"[1]".ljust(1000)))
    assert client.messages() == [[{"echo": 1}]]


def test_the_limit_of_arrays_and_objects() -> None:
    service = Service(limits=Limits(request_objects=100))
    client = Client(service)
    client.raw(frame(TEXT, b"[[" + b"[]," * 97 + b"{}]]"))
    assert len(client.messages()[0][0]["echo"]) == 98
    client = Client(service := Service(limits=Limits(request_objects=100)))
    client.raw(frame(TEXT, b"[[" + b"[]," * 98 + b"{}]]"))
    assert_refused(service, client, 1009)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x03[1]", 1002),  # not masked
        (frame(0xC1, b"[1]"), 1002),  # RSV without an extension
        (frame(0x83, b"[1]"), 1002),  # an unknown opcode
        (frame(0x80, b"[1]"), 1002),  # a continuation of nothing
        (frame(0x01, b"[") + frame(TEXT, b"[1]"), 1002),  # a new message inside another
        (frame(0x09, b""), 1002),  # a fragmented ping
        (frame(PING, b"x" * 126), 1002),
        (frame(0x8B, b""), 1002),
        (b"\x81\xfe\x00\x01\0\0\0\0x", 1002),  # not the shortest length
        (b"\x81\xff" + b"\xff" * 8 + b"\0\0\0\0", 1002),
        (b"\x81\xff\x7f" + b"\xff" * 7 + b"\0\0\0\0", 1009),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, b"\x03\xe7"), 1002),
        (frame(CLOSE, b"\x03\xed"), 1002),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
        (frame(BINARY, b"[1]"), 1003),
    ],
)
def test_malformed_frames(data: bytes, code: int) -> None:
    service = Service(limits=LIMITS)
    client = Client(service)
    client.raw(data)
    assert_refused(service, client, code)


def test_a_frame_that_is_too_large_is_refused_by_its_header() -> None:
    service = Service(limits=LIMITS)
    client = Client(service)
    client.raw(b"\x81\xfe\x03\xe9\0\0\0\0")
    assert_refused(service, client, 1009)


def test_fragments_that_are_too_large_together() -> None:
    service = Service(limits=LIMITS)
    client = Client(service)
    client.raw(frame(0x01, b"[1".ljust(600)))
    client.raw(frame(0x80, b"]".ljust(600)))
    assert_refused(service, client, 1009)


def test_endless_empty_fragments() -> None:
    service = Service(limits=LIMITS)
    client = Client(service)
    client.raw(frame(0x01, b"[1") + frame(0x00, b"") * 900)
    assert client.closed_with() is None
    client.raw(frame(0x00, b"") * 100)
    assert_refused(service, client, 1009)


def test_what_follows_a_malformed_frame_is_ignored() -> None:
    service = Service(limits=LIMITS)
    client = Client(service)
    client.raw(frame(0x83, b"") + frame(TEXT, b"[1]") + frame(CLOSE, b"\x03\xe8"))
    assert not client.transport.aborted  # which would lose our close
    assert_refused(service, client, 1002)


def test_data_after_the_refusal_takes_no_memory() -> None:
    service = Service(limits=LIMITS)
    client = Client(service)
    client.raw(b"\x81\xff\0\0\0\0\x7f\xff\xff\xff\0\0\0\0")
    tracemalloc.start()
    for _ in range(100):
        client.raw(bytes(65536))
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert memory < 65536
    assert_refused(service, client, 1009)


OFFER = {"sec_websocket_extensions": "permessage-deflate"}


def deflated(data: bytes, level: int = 9) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15)
    text = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return text.removesuffix(b"\x00\x00\xff\xff")


def test_a_compressed_message() -> None:
    client = Client(Service(limits=LIMITS, websocket_deflate=True), **OFFER)
    client.raw(frame(0xC1, deflated(b"[1]".ljust(1000))))
    assert client.messages() == [[{"echo": 1}]]


@pytest.mark.parametrize("parts", [1, 2, 10])
def test_a_decompression_bomb(parts: int) -> None:
    service = Service(limits=LIMITS, websocket_deflate=True)
    client = Client(service, **OFFER)
    bomb = deflated(b"[" + b" " * 500_000 + b"]")
    assert len(bomb) < 1000
    step = len(bomb) // parts + 1
    pieces = [bomb[at : at + step] for at in range(0, len(bomb), step)]
    for number, piece in enumerate(pieces):
        first = 0x41 if number == 0 else 0x00
        client.raw(frame(first | (0x80 if number == len(pieces) - 1 else 0), piece))
    assert_refused(service, client, 1009)


def test_a_message_just_over_the_limit_after_decompression() -> None:
    service = Service(limits=LIMITS, websocket_deflate=True)
    client = Client(service, **OFFER)
    client.raw(frame(0xC1, deflated(b"[1]".ljust(1001))))
    assert_refused(service, client, 1009)


@pytest.mark.parametrize("data", [b"\xff" * 20, b"\x07", b"\x00\x01\x00\x00\x00xyz"])
def test_invalid_compressed_data(data: bytes) -> None:
    service = Service(limits=LIMITS, websocket_deflate=True)
    client = Client(service, **OFFER)
    client.raw(frame(0xC1, data))
    assert_refused(service, client, 1007)


@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; client_max_window_bits=99",
        "permessage-deflate; server_max_window_bits=1",
        "permessage-deflate; x=y",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate; server_max_window_bits=9",
        "permessage-bzip2, permessage-snappy",
        ";,=;;",
        "x" * 5000,
        "\xff\xfe",
    ],
)
def test_strange_offers_of_deflate_break_nothing(offer: str) -> None:
    service = Service(websocket_deflate=True)
    client = Client(service, sec_websocket_extensions=offer)
    assert client.head.startswith(b"HTTP/1.1 101")
    client.send([1])
    assert client.messages() == [[{"echo": 1}]]


@pytest.mark.parametrize("seed", range(50))
def test_random_data_is_refused_with_a_close(seed: int) -> None:
    noise = random.Random(seed)
    service = Service(limits=LIMITS, websocket_deflate=seed % 2 == 0)
    client = Client(service, **OFFER)
    for _ in range(40):
        data = bytearray(frame(TEXT, b"[1,2]") + frame(PING, b"p"))
        for _ in range(noise.randrange(4)):
            data[noise.randrange(len(data))] = noise.randrange(256)
        cut = noise.randrange(len(data))
        client.raw(bytes(data[:cut]))
        client.raw(bytes(data[cut:]))
    code = client.closed_with()
    assert code is None or code in {1000, 1002, 1003, 1007, 1009}
    assert all(messages for messages, _, _ in service.processor.requests)
    client.transport.lose()
    assert len(service.processor.detached) == 1
