"""The cases of the Autobahn test suite, by their numbers, against an echo service.

Each message is echoed; everything below that is ``WebSocketConnection``.  Where the
suite also accepts another outcome as NON-STRICT, that is noted.  The cases of limits
and compression are shorter here, with fewer and smaller messages.
"""

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from txbayeux.adapter import websocket_input
from txbayeux.adapter.websocket import WebSocketConnection

from .sockets import BINARY, CLOSE, PING, PONG, TEXT, Client, Frames, frame
from .support import HTTP_WAY, Service
from .test_frames import take_nothing

HELLO = b"Hello, world!"
ECHO = [(TEXT, HELLO)]
KOSME = "\u03ba\u1f79\u03c3\u03bc\u03b5".encode()
INVALID = KOSME + b"\xed\xa0\x80edited"
LINES = b"".join(b'{"n":%d,"text":"%d bottles"}\n' % (n, n * n) for n in range(9000))


@dataclass(frozen=True)
class Case:
    """What the client writes, and what the service sends before it closes."""

    writes: list[bytes]
    expected: Frames
    code: int = 1000
    """The code of the close, which the client asks for unless it has failed."""
    if_compressed: int | None = None
    """The code if the reserved bit of permessage-deflate means something."""


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, code.to_bytes(2, "big") + reason)


def octets(*frames: bytes) -> list[bytes]:
    return [bytes([octet]) for octet in b"".join(frames)]


def parts(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)] or [b""]


def message(first: int, pieces: list[bytes]) -> list[bytes]:
    """Return the frames of one message."""
    last = len(pieces) - 1
    return [
        frame((first & 0x7F if at == 0 else 0) | (0x80 if at == last else 0), piece)
        for at, piece in enumerate(pieces)
    ]


def framing() -> Iterator[tuple[str, Case]]:
    sizes = [0, 125, 126, 127, 128, 65535, 65536, 65536]
    for section, first, letter in (("1.1", TEXT, b"*"), ("1.2", BINARY, b"\xfe")):
        for number, size in enumerate(sizes, 1):
            data = frame(first, letter * size)
            writes = parts(data, 997) if number == 8 else [data]
            yield f"{section}.{number}", Case(writes, [(first, letter * size)])


def pings() -> Iterator[tuple[str, Case]]:
    binary = bytes.fromhex("00fffefdfcfb00ff")
    large = b"\xfe" * 125
    many = [b"payload-%d" % number for number in range(10)]
    sent = [frame(PING, payload) for payload in many]
    answers = [(PONG, payload) for payload in many]
    pong = frame(PONG, b"unsolicited pong payload")
    yield "2.1", Case([frame(PING, b"")], [(PONG, b"")])
    yield "2.2", Case([frame(PING, HELLO)], [(PONG, HELLO)])
    yield "2.3", Case([frame(PING, binary)], [(PONG, binary)])
    yield "2.4", Case([frame(PING, large)], [(PONG, large)])
    yield "2.5", Case([frame(PING, large + b"\xfe")], [], 1002)
    yield "2.6", Case(octets(frame(PING, large)), [(PONG, large)])
    yield "2.7", Case([frame(PONG, b"")], [])
    yield "2.8", Case([pong], [])
    yield "2.9", Case([pong, frame(PING, b"ping payload")], [(PONG, b"ping payload")])
    yield "2.10", Case(sent, answers)
    yield "2.11", Case(octets(*sent), answers)


def reserved_bits() -> Iterator[tuple[str, Case]]:
    def reserved(rsv: int, first: int = TEXT, payload: bytes = HELLO) -> bytes:
        return frame(first | rsv << 4, payload)

    hello, ping = frame(TEXT, HELLO), frame(PING, b"")
    # NON-STRICT: no echo before the close, in 3.2 to 3.4.
    yield "3.1", Case([reserved(1)], [], 1002)
    yield "3.2", Case([hello + reserved(2) + ping], ECHO, 1002)
    yield "3.3", Case([hello, reserved(3), ping], ECHO, 1002)
    yield "3.4", Case(octets(hello, reserved(4), ping), ECHO, 1002, if_compressed=1007)
    yield "3.5", Case([reserved(5, BINARY)], [], 1002)
    yield "3.6", Case([reserved(6, PING)], [], 1002)
    yield "3.7", Case([reserved(7, CLOSE, b"\x03\xe8")], [], 1002)


def opcodes() -> Iterator[tuple[str, Case]]:
    hello, ping = frame(TEXT, HELLO), frame(PING, b"")
    for section, first in (("4.1", 0x83), ("4.2", 0x8B)):
        # NON-STRICT: no echo before the close.
        yield f"{section}.1", Case([frame(first, b"")], [], 1002)
        yield f"{section}.2", Case([frame(first + 1, HELLO)], [], 1002)
        for number, payload in ((3, b""), (4, HELLO), (5, HELLO)):
            unknown = frame(first + number - 1, payload)
            writes = octets(hello, unknown, ping) if number == 5 else [hello, unknown]
            yield f"{section}.{number}", Case(writes, ECHO, 1002)


def fragmentation() -> Iterator[tuple[str, Case]]:
    one, two = frame(0x01, b"fragment1"), frame(0x80, b"fragment2")
    whole = [(TEXT, b"fragment1fragment2")]
    ping, pong = frame(PING, b"ping payload"), (PONG, b"ping payload")
    hello, open_end = frame(TEXT, HELLO), frame(0x00, b"non-continuation payload")
    end = frame(0x80, b"non-continuation payload")
    yield "5.1", Case([frame(0x09, b"fragment1") + two], [], 1002)
    yield "5.2", Case([frame(0x0A, b"fragment1") + two], [], 1002)
    for number, sent in enumerate(([one + two], [one, two], octets(one, two)), 3):
        yield f"5.{number}", Case(sent, whole)
    sent_with_ping = [one + ping + two], [one, ping, two], octets(one, ping, two)
    for number, sent in enumerate(sent_with_ping, 6):
        yield f"5.{number}", Case(sent, [pong, *whole])
    for number, stray in ((9, end), (12, open_end)):
        ways = [stray + hello], [stray, hello], octets(stray, hello)
        for added, sent in enumerate(ways):
            yield f"5.{number + added}", Case(sent, [], 1002)
    # NON-STRICT: no echo before the close.
    yield "5.15", Case([one + two + open_end + hello], whole, 1002)
    yield "5.16", Case([open_end, one, two] * 2, [], 1002)
    yield "5.17", Case([end, one, two] * 2, [], 1002)
    yield "5.18", Case([one + frame(TEXT, b"fragment2")], [], 1002)
    five = message(TEXT, [b"fragment%d" % number for number in range(1, 6)])
    pings = [frame(PING, b"pongme %d!" % number) for number in (1, 2)]
    sent = [*five[:2], pings[0], *five[2:4], pings[1], five[4]]
    answers = [
        (PONG, b"pongme 1!"),
        (PONG, b"pongme 2!"),
        (TEXT, b"fragment1fragment2fragment3fragment4fragment5"),
    ]
    yield "5.19", Case(sent, answers)
    yield "5.20", Case([b"".join(sent)], answers)


def utf8() -> Iterator[tuple[str, Case]]:
    middle = b"middle frame payload"
    greeting = "Hello-µ@ßöäüàá-UTF-8!!".encode()
    out_of_range = b"\xf4\x90\x80\x80"
    yield "6.1.1", Case([frame(TEXT, b"")], [(TEXT, b"")])
    yield "6.1.2", Case(message(TEXT, [b""] * 3), [(TEXT, b"")])
    yield "6.1.3", Case(message(TEXT, [b"", middle, b""]), [(TEXT, middle)])
    yield "6.2.1", Case([frame(TEXT, greeting)], [(TEXT, greeting)])
    halves = [greeting[:12], greeting[12:]]
    yield "6.2.2", Case(message(TEXT, halves), [(TEXT, greeting)])
    yield "6.2.3", Case(message(TEXT, octets(greeting)), [(TEXT, greeting)])
    yield "6.2.4", Case(message(TEXT, octets(KOSME)), [(TEXT, KOSME)])
    yield "6.3.1", Case([frame(TEXT, INVALID)], [], 1007)
    yield "6.3.2", Case(message(TEXT, octets(INVALID)), [], 1007)
    # NON-STRICT: the failure comes at the end of the message, not as soon as possible.
    cut = (
        [KOSME, out_of_range, b"edited"],
        [KOSME + b"\xf4", b"\x90", b"\x80\x80edited"],
    )
    for number, pieces in enumerate(cut, 1):
        yield f"6.4.{number}", Case(message(TEXT, pieces), [], 1007)
        whole = frame(TEXT, b"".join(pieces))
        at = len(whole) - len(b"".join(pieces[1:]))
        until = at + len(pieces[1])
        writes = [whole[:at], whole[at:until], whole[until:]]
        yield f"6.4.{number + 2}", Case(writes, [], 1007)
    for number, texts in enumerate(UTF8_TEXTS, 5):
        for at, (valid, text) in enumerate(texts, 1):
            case = Case([frame(TEXT, text)], [(TEXT, text)])
            yield f"6.{number}.{at}", case if valid else Case(case.writes, [], 1007)


def of_all(valid: bool, *texts: str) -> list[tuple[bool, bytes]]:
    return [(valid, bytes.fromhex(text)) for text in texts]


def noncharacters() -> list[tuple[bool, bytes]]:
    planes = [chr(plane << 16 | 0xFFFE + end) for plane in range(17) for end in (0, 1)]
    return [(True, character.encode()) for character in planes]


_CONTINUATIONS = ["80", "bf", *(("80bf" * 3)[: 2 * size] for size in range(2, 7))]
_STARTS = [(0xC0, 0xDF), (0xE0, 0xEF), (0xF0, 0xF7), (0xF8, 0xFB), (0xFC, 0xFD)]
_CUT_SHORT = [
    "c0",
    "e080",
    "f08080",
    "f8808080",
    "fc80808080",
    "df",
    "efbf",
    "f7bfbf",
    "fbbfbfbf",
    "fdbfbfbfbf",
]
_SURROGATES = ["eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"]

UTF8_TEXTS = [
    [
        (True, text.encode())
        for text in (
            "hello$world",
            "hello¢world",
            "hello€world",
            "hello𤭢world",
            KOSME.decode(),
        )
    ],
    [(size in (2, 5, 7, 9, 11), KOSME[:size]) for size in range(1, len(KOSME) + 1)],
    of_all(True, "00", "c280", "e0a080", "f0908080"),
    of_all(False, "f888808080", "fc8480808080"),
    of_all(True, "7f", "dfbf", "efbfbf", "f48fbfbf"),
    of_all(False, "f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"),
    of_all(True, "ed9fbf", "ee8080", "efbfbd", "f48fbfbf") + of_all(False, "f4908080"),
    of_all(False, *_CONTINUATIONS, bytes(range(0x80, 0xBF)).hex()),
    [
        (False, b"".join(b"%c " % octet for octet in range(first, last)))
        for first, last in _STARTS
    ],
    of_all(False, *_CUT_SHORT),
    of_all(False, "".join(_CUT_SHORT)),
    of_all(False, "fe", "ff", "fefeffff"),
    of_all(False, "c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"),
    of_all(False, "c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"),
    of_all(False, "c080", "e08080", "f0808080", "f880808080", "fc8080808080"),
    of_all(False, *_SURROGATES),
    of_all(
        False,
        *(high + low for high in _SURROGATES[:4] for low in ("edb080", "edbfbf")),
    ),
    noncharacters(),
    [(True, chr(code).encode()) for code in range(0xFFF9, 0x10000)],
]


def closing() -> Iterator[tuple[str, Case]]:
    bye, hello, ping = close(1000), frame(TEXT, HELLO), frame(PING, b"")
    large = b"BAsd7&jh23" * 26000
    one, two = frame(0x01, b"fragment1"), frame(0x80, b"fragment2")
    yield "7.1.1", Case([hello, bye], ECHO)
    yield "7.1.2", Case([bye, bye], [])
    yield "7.1.3", Case([bye, ping], [])
    yield "7.1.4", Case([bye, hello], [])
    yield "7.1.5", Case([one, bye, two], [])
    yield "7.1.6", Case([frame(TEXT, large), bye + ping], [(TEXT, large)])
    yield "7.3.1", Case([frame(CLOSE, b"")], [])
    yield "7.3.2", Case([frame(CLOSE, b"a")], [], 1002)
    yield "7.3.3", Case([bye], [])
    yield "7.3.4", Case([close(1000, HELLO)], [])
    yield "7.3.5", Case([close(1000, b"*" * 123)], [])
    yield "7.3.6", Case([close(1000, b"*" * 124)], [], 1002)
    yield "7.5.1", Case([close(1000, INVALID)], [], 1007)
    valid = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011]
    for number, code in enumerate([*valid, 3000, 3999, 4000, 4999], 1):
        yield f"7.7.{number}", Case([close(code)], [])
    invalid = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999]
    for number, code in enumerate(invalid, 1):
        yield f"7.9.{number}", Case([close(code)], [], 1002)
    # Informational: any outcome is accepted.
    yield "7.13.1", Case([close(5000)], [], 1002)
    yield "7.13.2", Case([close(65535)], [], 1002)


def limits() -> Iterator[tuple[str, Case]]:
    kinds = (("1", "3", "5", "7", TEXT), ("2", "4", "6", "8", BINARY))
    for sizes, fragments, chops, times, first in kinds:
        for number, size in enumerate((65536, 262_144, 1_048_576), 1):
            text = b"*" * size
            yield f"9.{sizes}.{number}", Case([frame(first, text)], [(first, text)])
        text = b"*" * 65536
        for number in range(1, 6):
            size = 16 * 4**number
            sent = message(first, parts(text, size))
            yield f"9.{fragments}.{number}", Case(sent, [(first, text)])
        for number in range(1, 7):
            sent = parts(frame(first, text), 32 * 2**number)
            yield f"9.{chops}.{number}", Case(sent, [(first, text)])
        for number, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
            text = b"*" * size
            sent = [frame(first, text)] * 20
            yield f"9.{times}.{number}", Case(sent, [(first, text)] * 20)
    text = b"*" * 65536
    yield "10.1.1", Case(message(TEXT, parts(text, 1300)), [(TEXT, text)])


CASES = {
    number: case
    for section in (
        framing,
        pings,
        reserved_bits,
        opcodes,
        fragmentation,
        utf8,
        closing,
        limits,
    )
    for number, case in section()
}


def echo(connection: Any, payload: bytes, isBinary: bool) -> None:
    """Replace ``onMessage()``."""
    if connection.state != connection.STATE_OPEN:
        return
    if isBinary:
        connection.sendMessage(payload, True)
        return
    try:
        payload.decode()
    except UnicodeDecodeError:
        connection._fail(1007, "Not UTF-8")
    else:
        connection._write(payload)


@pytest.fixture(autouse=True)
def http_way() -> Iterator[None]:
    """Upgrade in one way only: frames are read by the same class in both."""
    HTTP_WAY.fast = True
    yield
    HTTP_WAY.fast = False


@pytest.fixture(autouse=True, params=["fast path", "autobahn"])
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Return an echo service, with and without the fast path for small messages."""
    if request.param == "autobahn":
        monkeypatch.setattr(websocket_input, "take_message", take_nothing)
    monkeypatch.setattr(WebSocketConnection, "onMessage", echo)
    return Service(websocket_deflate=True)


@pytest.mark.parametrize("extension", ["", "permessage-deflate"])
@pytest.mark.parametrize("number", CASES)
def test_case(service: Service, number: str, extension: str) -> None:
    case = CASES[number]
    client = Client(service, sec_websocket_extensions=extension)
    assert (b"permessage-deflate" in client.head) is bool(extension)
    for data in case.writes:
        client.raw(data)
    answers = client.received()
    if case.code == 1000 and not (answers and answers[-1][0] == CLOSE):
        client.raw(close(1000))
        answers += client.received()
    *answers, (last, payload) = answers
    assert answers == case.expected
    assert last == CLOSE
    code = case.if_compressed if extension and case.if_compressed else case.code
    assert int.from_bytes(payload[:2], "big") == code
    if code != 1000:
        client.raw(close(code))
        service.clock.advance(1)
    assert client.transport.disconnecting
    client.transport.lose()
    assert client.transport.take() == b""


SIZES = [16, 64, 256, 1024, 4096, 8192, 16384, 32768, 65536, 131_072]
FRAGMENTS = [(8192, 256), (16384, 256), (32768, 256), (65536, 256), (131_072, 256)]
FRAGMENTS += [(131_072, 1024), (131_072, 4096), (131_072, 32768)]
DATA = {
    "1": (TEXT, LINES),
    "2": (BINARY, LINES),
    "3": (BINARY, random.Random(0).randbytes(len(LINES))),
    "4": (TEXT, b" " * len(LINES)),
    "5": (BINARY, bytes(range(256)) * 1000),
}
OFFERS = {
    "1": "permessage-deflate",
    "2": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
    "3": "permessage-deflate; server_max_window_bits=9; client_max_window_bits",
    "4": "permessage-deflate; server_max_window_bits=15; client_max_window_bits",
    "5": "permessage-deflate; server_no_context_takeover; server_max_window_bits=9",
    "6": "permessage-deflate; server_no_context_takeover; server_max_window_bits=15",
    "7": "permessage-deflate; server_max_window_bits=8, permessage-deflate",
}
COMPRESSED = {f"12.{data}": (data, "1") for data in DATA} | {
    f"13.{offer}": ("1", offer) for offer in OFFERS
}


@pytest.mark.parametrize("case", range(1, 19))
@pytest.mark.parametrize("section", COMPRESSED)
def test_compression(service: Service, section: str, case: int) -> None:
    (first, data), offer = DATA[COMPRESSED[section][0]], COMPRESSED[section][1]
    size, fragment = [*((size, size) for size in SIZES), *FRAGMENTS][case - 1]
    client = Client(service, sec_websocket_extensions=OFFERS[offer])
    assert b"permessage-deflate" in client.head
    fresh = b"client_no_context_takeover" in client.head
    deflate = zlib.compressobj(wbits=-15)
    for at in range(0, 3 * size, size):
        text = data[at % len(data) :][:size].ljust(size)
        if fresh:
            deflate = zlib.compressobj(wbits=-15)
        packed = deflate.compress(text) + deflate.flush(zlib.Z_SYNC_FLUSH)
        for part in message(first | 0x40, parts(packed[:-4], fragment)):
            client.raw(part)
        assert client.received() == [(first, text)]
    client.raw(close(1000))
    assert client.received() == [(CLOSE, b"\x03\xe8")]
