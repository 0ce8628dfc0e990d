"""From an HTTP request to a WebSocket on the same connection.  RFC 6455, 4.2."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from typing import Any, Final

from twisted.web.http import HTTPChannel
from twisted.web.server import NOT_DONE_YET, Request

from txbayeux.adapter.deflate import negotiate
from txbayeux.adapter.io import replace_protocol
from txbayeux.adapter.request import HttpRequest, header_of, is_token
from txbayeux.adapter.response import refuse
from txbayeux.adapter.sockets import SocketFactory

__all__ = ["upgrade"]

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==\Z")


def upgrade(request: Request, sockets: SocketFactory) -> bytes | int:
    """Make a socket of the request's connection, or say why not."""
    headers = request.requestHeaders
    channel: Any = request.channel  # or HTTP/2's, which does not end
    key = header_of(headers, "sec-websocket-key")
    if not hasattr(channel, "persistent") or request.clientproto != b"HTTP/1.1":
        return refuse(request, 400, "A WebSocket begins on HTTP/1.1")
    if not is_token(header_of(headers, "connection"), "upgrade"):
        return refuse(request, 400, "An upgrade needs the header Connection: upgrade")
    if header_of(headers, "sec-websocket-version") != "13":
        request.setHeader(b"Sec-WebSocket-Version", b"13")
        return refuse(request, 426, "The WebSocket version here is 13")
    if key is None or not _KEY.match(key):
        return refuse(request, 400, "Sec-WebSocket-Key must be 16 bytes in base64")
    source = HttpRequest("websocket", request.getClientAddress(), headers).keep()
    socket = sockets.open(source)
    _take_over(channel, socket)
    deflate = None
    if sockets.deflate:
        deflate = negotiate(header_of(headers, "sec-websocket-extensions"))
    socket.begin(_answer(key, deflate and deflate[1]), deflate and deflate[0])
    if not isinstance(channel, HTTPChannel):
        rest = channel.rest()
        if rest:
            socket.dataReceived(rest)
    return NOT_DONE_YET


def _answer(key: str, extensions: str | None) -> bytes:
    digest = sha1(key.encode("ascii") + _MAGIC, usedforsecurity=False).digest()
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + b64encode(digest),
    ]
    if extensions is not None:
        lines.append(b"Sec-WebSocket-Extensions: " + extensions.encode("ascii"))
    return b"\r\n".join([*lines, b"", b""])


def _take_over(channel: Any, socket: Any) -> None:
    """Put ``socket`` in the place of ``channel``, as Autobahn's resource does."""
    if not isinstance(channel, HTTPChannel):
        socket.makeConnection(channel.release(socket))
        return
    transport: Any
    transport, channel.transport = channel.transport, None
    # The channel is the transport's producer; left there, it and the request would
    # live as long as the socket.
    transport.unregisterProducer()
    replace_protocol(transport, socket)
    # What came in one read with the request is still on its way to the channel.
    channel.rawDataReceived = socket.dataReceived  # type: ignore[method-assign]
    socket.makeConnection(transport)
    transport.resumeProducing()
