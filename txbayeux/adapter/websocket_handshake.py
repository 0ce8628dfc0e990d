"""From an HTTP request to a WebSocket connection.  RFC 6455, section 4.2; RFC 7692."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from typing import Any, Final

from autobahn.websocket.compress import (
    PerMessageDeflate,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)
from twisted.web.http import HTTPChannel
from twisted.web.server import NOT_DONE_YET, Request

from txbayeux.adapter.io import replace_protocol
from txbayeux.adapter.request import HttpRequest, header_of, is_token
from txbayeux.adapter.response import refuse
from txbayeux.adapter.websocket import WebSocketConnectionFactory

__all__ = ["negotiate_deflate", "upgrade"]

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==\Z")


def upgrade(request: Request, factory: WebSocketConnectionFactory) -> bytes | int:
    """Make a WebSocket connection of the request's, or return why that is refused."""
    headers = request.requestHeaders
    channel: Any = request.channel
    key = header_of(headers, "sec-websocket-key")
    # A channel of HTTP/2 has no attribute "persistent", as it cannot be taken over.
    if not hasattr(channel, "persistent") or request.clientproto != b"HTTP/1.1":
        return refuse(request, 400, "A WebSocket begins on HTTP/1.1")
    if not is_token(header_of(headers, "connection"), "upgrade"):
        return refuse(request, 400, "An upgrade needs the header Connection: upgrade")
    if header_of(headers, "sec-websocket-version") != "13":
        request.setHeader(b"Sec-WebSocket-Version", b"13")
        return refuse(request, 426, "The WebSocket version must be 13")
    if key is None or not _KEY.match(key):
        return refuse(request, 400, "Sec-WebSocket-Key must be 16 bytes in base64")
    source = HttpRequest("websocket", request.getClientAddress(), headers).keep()
    connection = factory.make_connection(source)
    _take_over(channel, connection)
    deflate = extensions = None
    if factory.deflate:
        offers = header_of(headers, "sec-websocket-extensions")
        deflate, extensions = negotiate_deflate(offers or "")
    connection.open(_response(key, extensions), deflate)
    if not isinstance(channel, HTTPChannel):
        rest = channel.rest()
        if rest:
            connection.dataReceived(rest)
    return NOT_DONE_YET


def _response(key: str, extensions: str | None) -> bytes:
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


def _take_over(channel: Any, connection: Any) -> None:
    """Put ``connection`` in the place of ``channel``, as Autobahn's resource does."""
    if not isinstance(channel, HTTPChannel):
        connection.makeConnection(channel.release(connection))
        return
    transport: Any
    transport, channel.transport = channel.transport, None
    # The channel is the transport's producer.  Left there, it and the request would
    # live as long as the connection.
    transport.unregisterProducer()
    replace_protocol(transport, connection)
    # The channel is about to pass on what came in one read with the request.
    channel.rawDataReceived = connection.dataReceived  # type: ignore[method-assign]
    connection.makeConnection(transport)
    transport.resumeProducing()


def negotiate_deflate(
    offers: str,
) -> tuple[PerMessageDeflate, str] | tuple[None, None]:
    """Accept the first valid offer of permessage-deflate.  RFC 7692, section 7.1.

    Asks the client not to keep the compression context from message to message, if it
    offers that: a context takes 300 KiB of memory for each connection.

    :param offers: the value of a client's Sec-WebSocket-Extensions.
    :returns: the codec and the value of the header in the response; None if there is no
        valid offer.
    """
    for text in offers.split(","):
        offer = _parse_offer(text)
        if offer is not None:
            accept = PerMessageDeflateOfferAccept(
                offer,
                request_no_context_takeover=offer.accept_no_context_takeover,
                no_context_takeover=True,
            )
            codec = PerMessageDeflate.create_from_offer_accept(True, accept)
            return codec, accept.get_extension_string()
    return None, None


def _parse_offer(text: str) -> Any:
    name, *given = [part.strip() for part in text.lower().split(";")]
    if name != PerMessageDeflateOffer.EXTENSION_NAME:
        return None
    parameters: dict[str, list[str | bool]] = {}
    for parameter in given:
        key, equals, value = parameter.partition("=")
        parameters.setdefault(key.strip(), []).append(
            value.strip().strip('"') if equals else True
        )
    try:
        return PerMessageDeflateOffer.parse(parameters)
    except Exception:  # Autobahn raises nothing more specific.
        return None
