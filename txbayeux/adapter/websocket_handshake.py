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

from txbayeux.adapter.request import HTTPRequest, RequestInfo, is_token
from txbayeux.adapter.response import Refused, ResponseWriter
from txbayeux.adapter.websocket import WebSocketConnectionFactory

__all__ = ["negotiate_deflate", "upgrade"]

_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ACCEPTED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: "
)
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==\Z")


def upgrade(
    request: HTTPRequest, writer: ResponseWriter, factory: WebSocketConnectionFactory
) -> None:
    """Upgrade the connection of a request to WebSocket.

    :raises Refused: with 400 or 426, if the request is not a handshake.
    """
    headers = request.headers
    key = headers.get("sec-websocket-key")
    if request.version != b"HTTP/1.1":
        raise Refused(400, "A WebSocket begins on HTTP/1.1")
    if not is_token(headers.get("connection"), "upgrade"):
        raise Refused(400, "An upgrade needs the header Connection: upgrade")
    if headers.get("sec-websocket-version") != "13":
        version = (b"Sec-WebSocket-Version", b"13")
        raise Refused(426, "The WebSocket version must be 13", [version])
    if key is None or not _KEY.match(key):
        raise Refused(400, "Sec-WebSocket-Key must be 16 bytes in base64")
    if request.body or headers.get("transfer-encoding") is not None:
        # No client sends a body.  The connection ends, as frames may follow it.
        raise Refused(400, "An upgrade has no body", [(b"Connection", b"close")])
    connection = factory.make_connection(RequestInfo("websocket", request))
    unread = writer.upgrade(connection)
    deflate = extensions = None
    if factory.deflate:
        offers = headers.get("sec-websocket-extensions")
        deflate, extensions = negotiate_deflate(offers or "")
    connection.open(_response(key, extensions), deflate)
    if unread:
        connection.dataReceived(unread)


def _response(key: str, extensions: str | None) -> bytes:
    digest = sha1(key.encode("ascii") + _MAGIC, usedforsecurity=False).digest()
    response = _ACCEPTED + b64encode(digest) + b"\r\n"
    if extensions is not None:
        response += b"Sec-WebSocket-Extensions: %b\r\n" % extensions.encode("ascii")
    return response + b"\r\n"


def negotiate_deflate(
    offers: str,
) -> tuple[PerMessageDeflate, str] | tuple[None, None]:
    """Accept the first valid offer of permessage-deflate.  RFC 7692, section 7.1.

    Asks the client not to keep the compression context from message to message, if it
    offers that: a context takes 300 KiB of memory for each connection.

    :param offers: the value of a client's Sec-WebSocket-Extensions.
    :returns: the codec and the value of the header in the response; (None, None)
        if there is no valid offer.
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
