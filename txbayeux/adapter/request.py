"""Where messages came from, as extensions and listeners see it."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IAddress
from twisted.web.http_headers import Headers

__all__ = ["HttpRequest", "header_of", "is_token"]


class HttpRequest:
    """A request or an upgrade: :class:`txbayeux.interfaces.Request`.

    It keeps the headers as one text, and makes the mapping only when asked: a
    session's socket lives long, and extensions that look at headers are few.
    """

    __slots__ = ("_address", "_headers", "_lines", "transport")

    def __init__(self, transport: str, address: IAddress, headers: Headers) -> None:
        self.transport = transport
        """The connection type: ``long-polling``, ``websocket``, ..."""
        self._address = address
        self._headers: Headers | None = headers
        self._lines = b""

    def keep(self) -> HttpRequest:
        """Let go of the HTTP request's own objects, to outlive it."""
        if self._headers is not None:
            self._lines = b"\n".join(
                name + b":" + value
                for name, values in self._headers.getAllRawHeaders()
                for value in values
            )
            self._headers = None
        return self

    @property
    def peer(self) -> str:
        """Address of the other end of the connection, without its port."""
        host = getattr(self._address, "host", "")
        return host.decode("latin-1") if isinstance(host, bytes) else str(host)

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP headers, names in lower case; several of a name joined by a comma."""
        self.keep()
        headers: dict[str, str] = {}
        # Not splitlines(): to it, the byte 0x85 in a value would begin a new header.
        for line in self._lines.decode("latin-1").split("\n") if self._lines else ():
            name, _, value = line.partition(":")
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers


def header_of(headers: Headers, name: str) -> str | None:
    """Give a header's value; several of one name are joined by a comma."""
    values = headers.getRawHeaders(name.encode("ascii"))
    if not values:
        return None
    value = values[0] if len(values) == 1 else b", ".join(values)
    return value.decode("latin-1")


def is_token(value: str | None, token: str) -> bool:
    """Tell whether a comma-separated header's value contains ``token``."""
    return value is not None and token in [
        part.strip().lower() for part in value.split(",")
    ]
