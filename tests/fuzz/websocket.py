"""WebSocket frames: the server must do what Autobahn's own protocol does.

The input is what a client sends after the handshake, with and without compression.
"""

from __future__ import annotations

import random
import re
import zlib
from contextlib import suppress
from typing import Any, Final

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOfferAccept
from twisted.internet.task import Clock

from tests.adapter.sockets import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Client,
    Frames,
    frame,
    upgrade,
)
from tests.adapter.support import HTTP_WAY, Service, Transport
from tests.fuzz.logs import nothing_fails
from txbayeux.adapter.body import TooLarge, read
from txbayeux.limits import Limits
from txbayeux.message import Malformed, encode_list

__all__ = ["LEXEMES", "TOKENS", "fuzz_one"]

# A frame's first bytes and mask are bytes of their own.
LEXEMES: Final = re.compile(rb"[\x20-\x7e]+|.", re.DOTALL)

_MASK: Final = bytes(4)

TOKENS: Final = (
    *(frame(0x81, text, _MASK) for text in (b"[]", b"[1]", b"{", b"", b'["\xff"]')),
    *(frame(0x01, text, _MASK) for text in (b"", b"[", b'["\xc3')),
    *(frame(0x00, text, _MASK) for text in (b"", b"1", b"x" * 200)),
    *(frame(0x80, text, _MASK) for text in (b"", b"]", b'\xbc"]')),
    *(frame(0x89, text, _MASK) for text in (b"", b"ping", b"x" * 125, b"x" * 126)),
    *(frame(0x8A, text, _MASK) for text in (b"", b"pong")),
    *(frame(0x88, text, _MASK) for text in (b"", b"\x03", b"\x03\xe8", b"\x0b\xb8bye")),
    *(frame(0x88, text, _MASK) for text in (b"\x03\xed", b"\x03\xe8\xff", b"\xff\xff")),
    *(frame(0x82, b"[1]", _MASK), frame(0xC1, b"\x8a6\x8c\x05\0", _MASK)),
    *(frame(0x41, b"\x8a6", _MASK), frame(0xC1, b"", _MASK), frame(0xA1, b"", _MASK)),
    *(frame(0x81, b"[1]".ljust(size), _MASK) for size in (125, 126, 1000, 1001)),
    *(b"\x81\xfe\x00\x7d", b"\x81\xfe\x03\xe8", b"\x81\xff" + bytes(6) + b"\x03\xe8"),
    *(b"\x81\x03[1]", b"\x83\x80", b"\x8b\x80", b"\xf1\x80", b"\x09\x80", b"\x88\x80"),
    *(b"\xff" * 8, b"\0\0\0\0", b"\x80", b"\xfe", b"\xff", b"\x7f\xff\xff\xff"),
    *(b"[1]", b"[1,2]", b"[[]]", b'"a"', b"1e999", b" ", b"\xed\xa0\x80", b"\xf4\x90"),
)

LIMITS: Final = Limits(request_bytes=1000, batch_messages=5)


class _Closed(Exception):
    """Raised to read nothing behind what closes a connection."""


class _Oracle(WebSocketServerProtocol):
    """Answers as the server does, with nothing but Autobahn's parser."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Called by Autobahn with each message."""
        if isBinary:
            self.sendCloseFrame(1003)
        try:
            messages = read(payload, LIMITS)
        except Malformed:
            self.sendCloseFrame(1007)
        except TooLarge:
            self.sendCloseFrame(1009)
        else:
            answer = encode_list([{"echo": message} for message in messages])
            self.sendMessage(answer, doNotCompress=True)

    def sendCloseFrame(self, *arguments: Any, **options: Any) -> None:
        """Called by Autobahn to close the connection, or to answer a close."""
        super().sendCloseFrame(*arguments, **options)
        raise _Closed


def fuzz_one(data: bytes) -> None:
    """Send the bytes to the server, at once and in pieces, and to Autobahn."""
    chance = random.Random(zlib.crc32(data))
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(8)))
    pieces = [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    HTTP_WAY.fast = True  # Frames are read by the same class in both.
    with nothing_fails():
        service = Service(limits=LIMITS, websocket_deflate=True)
        bystander = Client(service)
        for deflate in (False, True):
            expected = _expected(data, deflate=deflate)
            for stream in ([data], pieces):
                client = Client(service, **_offer(deflate))
                for piece in stream:
                    client.raw(piece)
                got = _comparable(client.received())
                assert got == expected, f"{deflate}: {got!r}, Autobahn: {expected!r}"
                bystander.raw(frame(PING, b"x") + frame(TEXT, b"[1]"))
                assert bystander.frames() == [(PONG, b"x"), (TEXT, b'[{"echo":1}]')]
                client.transport.lose()
        assert len(service.processor.detached) == 4


def _expected(data: bytes, *, deflate: bool) -> Frames:
    """Return the frames that a server on Autobahn's parser sends."""
    factory: Any = WebSocketServerFactory(reactor=Clock())
    factory.protocol = _Oracle
    factory.setProtocolOptions(
        utf8validateIncoming=False,
        maxMessagePayloadSize=LIMITS.request_bytes,
        failByDrop=False,
        openHandshakeTimeout=0,
        closeHandshakeTimeout=0,
        perMessageCompressionAccept=_accept,
    )
    oracle = factory.buildProtocol(None)
    client: Any = Client.__new__(Client)
    client.transport = transport = Transport()
    transport.protocol = oracle
    transport.registerProducer(transport, True)  # Autobahn unregisters one.
    oracle.makeConnection(transport)
    oracle.dataReceived(upgrade(**_offer(deflate)))
    head = transport.take()
    assert (b"permessage-deflate" in head) is deflate, head
    with suppress(_Closed):
        oracle.dataReceived(data)
    return _comparable(client.received())


def _offer(deflate: bool) -> dict[str, str]:
    return {"sec_websocket_extensions": "permessage-deflate"} if deflate else {}


def _accept(offers: list[Any]) -> PerMessageDeflateOfferAccept:
    return PerMessageDeflateOfferAccept(
        offers[0],
        request_no_context_takeover=offers[0].accept_no_context_takeover,
        no_context_takeover=True,
    )


def _comparable(frames: Frames) -> Frames:
    """Return the frames with the codes of closes, but not their reasons."""
    return [
        (first, payload[:2] if first == CLOSE else payload) for first, payload in frames
    ]
