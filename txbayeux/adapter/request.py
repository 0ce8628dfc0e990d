"""An HTTP request, the same whichever way it was read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from twisted.internet.interfaces import IAddress

__all__ = [
    "HTTPRequest",
    "RequestHeaders",
    "RequestInfo",
    "is_host",
    "is_token",
    "peer_of",
]

# What RFC 3986, section 3.2.2, allows in a host, and a port.  No spaces: several Host
# fields, joined by a comma and a space, are not a host.
_HOST: Final = re.compile(r"[A-Za-z0-9\-._~%!$&'()*+,;=:\[\]]*\Z")


def _parse(lines: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    # Not splitlines(): to it, the byte 0x85 in a value would begin a new header.
    for line in lines.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            name, value = name.lower(), value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class RequestHeaders:
    """The header fields of a request; does not change.

    :param lines: ``Name: value`` lines, each with its line end (CR LF).
    """

    __slots__ = ("get", "lines", "names")

    def __init__(self, lines: bytes) -> None:
        self.lines = lines
        values = _parse(lines)
        self.get: Final[Callable[[str], str | None]] = values.get
        """Returns a field's value by its name in lower case; None if there is none.

        Several of one name are joined by a comma (RFC 9110, section 5.3).
        """
        self.names: Final = values.keys()
        """The names of all fields, in lower case."""


class HTTPRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request to a Bayeux resource.

    ``twisted.web`` and the protocol in :mod:`txbayeux.adapter.http` both make this,
    and all transports are served from it.
    """

    method: bytes
    path: tuple[bytes, ...]
    """The path's segments below the resource, percent-decoded."""
    query: bytes
    """What follows the question mark, as it was sent."""
    version: bytes
    """``HTTP/1.1``, for example."""
    headers: RequestHeaders
    body: bytes
    address: IAddress
    """The peer's address; the resource replaces a trusted proxy's by its client's."""
    secure: bool
    """Whether the connection is TLS."""


def peer_of(address: IAddress) -> str:
    """Return an address without its port; "" for a Unix socket."""
    host = getattr(address, "host", "")
    return host.decode("latin-1") if isinstance(host, bytes) else str(host)


class RequestInfo:
    """What extensions and listeners see: :class:`txbayeux.interfaces.Request`.

    It keeps the headers as one text, and parses them when asked: the connection of
    a WebSocket lives long, and few extensions look at headers.
    """

    __slots__ = ("_lines", "peer", "transport")

    def __init__(self, transport: str, request: HTTPRequest) -> None:
        self.transport = transport
        """The connection type: ``long-polling``, ``websocket``, ..."""
        self.peer = peer_of(request.address)
        """The client's address, without its port; "" for a Unix socket."""
        self._lines = request.headers.lines

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers, names in lower case; several of a name joined by a comma."""
        return _parse(self._lines)


def is_host(value: str | None) -> bool:
    """Return whether this is the valid value of one ``Host`` field.

    It may be empty, but an HTTP/1.1 request must have it.  RFC 9112, section 3.2.
    """
    return value is not None and _HOST.match(value) is not None


def is_token(value: str | None, token: str) -> bool:
    """Return whether a comma-separated header's value contains ``token``."""
    return value is not None and token in [
        part.strip().lower() for part in value.split(",")
    ]
