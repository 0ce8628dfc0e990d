"""Server URLs, parsed and validated once, without their passwords."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from hyperlink import URL

__all__ = ["Credentials", "Proxy", "ServerURL", "parse"]

_PORTS: Final = {"http": 80, "https": 443}
_SCHEMES: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}

# Characters of a path or query that are not percent-encoded.
_SAFE: Final = "/:@!$&'()*+,;=-._~%?[]"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The ``user:password`` of a URL."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.user!r}, ...)"


@dataclass(frozen=True, slots=True)
class ServerURL:
    """An http or https URL; WebSockets use the same one with ws or wss."""

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what cookies and headers are sent to."""
        return (self.scheme, self.host, self.port)

    @property
    def secure(self) -> bool:
        """Whether TLS is used."""
        return self.scheme == "https"

    @property
    def netloc(self) -> str:
        """Host, and port unless it is the scheme's default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The http or https URL."""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.netloc}{self.path}{query}"

    @property
    def socket_url(self) -> str:
        """The ws or wss URL."""
        return "ws" + self.url.removeprefix("http")

    def below(self, segment: str) -> ServerURL:
        """Return the URL with ``segment`` appended to the path."""
        return replace(self, path=f"{self.path.rstrip('/')}/{quote(segment, safe='')}")

    def with_query(self, query: str) -> ServerURL:
        """Return the URL with an encoded query appended."""
        return replace(self, query=f"{self.query}&{query}" if self.query else query)

    def at(self, host: str) -> ServerURL:
        """Return the same path on another host: ``name``, ``name:port`` or a URL.

        The scheme is kept: advice cannot turn TLS off.

        :raises ValueError: if ``host`` is none of these.
        """
        if "://" in host:
            other = parse(host)[0]
            if other.scheme != self.scheme:
                raise ValueError("an advised host must not change the scheme")
            return replace(other, path=other.path if other.path != "/" else self.path)
        other = parse(f"{self.scheme}://{host}")[0]
        default_port = ":" not in host.rpartition("]")[2]
        return replace(
            self, host=other.host, port=self.port if default_port else other.port
        )

    def joined(self, location: str) -> ServerURL:
        """Resolve a redirect's ``Location``.

        :raises ValueError: if the result is not an http or https URL.
        """
        return parse(urljoin(self.url, location))[0]


def parse(url: str) -> tuple[ServerURL, Credentials | None]:
    """Parse a URL; ``ws`` and ``wss`` are read as ``http`` and ``https``.

    :raises ValueError: for any other scheme, and without a valid host and port.
    """
    if any(ord(character) <= 32 or ord(character) == 127 for character in url):
        raise ValueError("a URL has no spaces and no control characters")
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None:
        # Without the URL, in which there may be a password.
        raise ValueError("a URL begins with http://, https://, ws:// or wss://")
    if not parts.hostname:
        raise ValueError("the URL names no host")
    port = parts.port  # raises ValueError itself when out of range
    endpoint = ServerURL(
        scheme,
        _host(parts.hostname),
        _PORTS[scheme] if port is None else port,
        quote(parts.path or "/", safe=_SAFE),
        quote(parts.query, safe=_SAFE),
    )
    if parts.username is None:
        return endpoint, None
    return endpoint, Credentials(unquote(parts.username), unquote(parts.password or ""))


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that opens tunnels (CONNECT)."""

    endpoint: ServerURL
    credentials: Credentials | None = None

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Parse ``http://user:password@host:port``.

        :raises ValueError: if it is not an http or https URL.
        """
        try:
            return cls(*parse(url))
        except ValueError as error:
            raise ValueError(f"proxy: {error}") from None


def _host(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:  # as treq and Twisted read it: no underscore, no empty label
        return str(URL(host=name).to_uri().host)
    except ValueError as error:
        raise ValueError(f"not the name of a host: {name!r}: {error}") from None
