"""Which web pages may use the service: one allow-list for every transport, and CORS.

A browser names the origin of the page that sends a request in ``Origin``, or, for a
script load (JSON-P), describes it in ``Sec-Fetch-Site`` and ``Referer``.  Requests of
the service's own pages are allowed, and those that no page can have caused.
Others are refused *before* they have any effect: to withhold CORS headers would only
hide the answer of a publish that has been made.

``Sec-Fetch-Site`` says whether a page is the service's own; no page can forge it.
Older browsers do not send it, nor does any browser over plain HTTP: then the page's
host and port are compared with the request's ``Host``.  Behind a proxy that ends TLS
the scheme is not known, so on a plain connection ``https://a.example`` and
``http://a.example`` both match ``Host: a.example``.  Where a proxy changes ``Host``,
the origin has to be listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

from txbayeux.adapter.request import HTTPRequest
from txbayeux.adapter.response import Header

__all__ = ["Origins", "cors_headers", "preflight_headers"]

# What Faye's and CometD's pages send.
_ALLOWED_HEADERS: Final = (
    "Accept, Authorization, Content-Type, Pragma, X-Requested-With"
)
_PREFLIGHT_AGE: Final = b"86400"  # seconds; Faye's

_MAX_LENGTH: Final = 512
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_SCHEME: Final = r"[a-z][a-z0-9+.\-]*"
_NAME: Final = r"[a-z0-9_\-]+(?:\.[a-z0-9_\-]+)*\.?|\[[0-9a-f:.]+\]"
_ORIGIN: Final = re.compile(rf"({_SCHEME})://({_NAME})(?::([0-9]{{1,5}}))?\Z")
_PATTERN: Final = re.compile(
    rf"({_SCHEME})://((?:\*\.)?(?:{_NAME}))(?::([0-9]{{1,5}}|\*))?\Z"
)
_REFERER: Final = re.compile(
    rf"((?:{_SCHEME})://(?:{_NAME})(?::[0-9]{{1,5}})?)(?:[/?#]|\Z)"
)
_HOST: Final = re.compile(rf"({_NAME})(?::([0-9]{{1,5}}))?\Z")

_Parts = tuple[str, str, int | None]


class Origins:
    """An allow-list of origins; a value that does not change.

    Each item is an exact origin (``https://example.com``), a pattern
    (``https://*.example.com`` for every name below it; ``http://localhost:*``
    for every port), ``*`` for every origin except ``null``, or ``null`` for
    pages without an origin (files, sandboxed frames).  The empty list, the
    default, allows the service's own pages only.

    ``hosts`` are the host names of the service (``www.example.com``), without
    ports.  By default any name will do, so that a page of any host that resolves to
    the service's address counts as its own (DNS rebinding).

    :raises ValueError: for an item or a host of another form.
    """

    __slots__ = ("_any", "_exact", "_hosts", "_null", "_patterns", "hosts", "items")

    def __init__(self, items: Iterable[str] = (), *, hosts: Iterable[str] = ()) -> None:
        self.items = tuple(items)
        """The origins and patterns, as given."""
        self.hosts = tuple(hosts)
        """The host names, as given."""
        self._hosts = frozenset(_parse_name(host) for host in self.hosts)
        listed = [item.strip().lower() for item in self.items]
        self._any = "*" in listed
        self._null = "null" in listed
        exact: set[_Parts] = set()
        patterns: list[_Parts] = []
        for item in listed:
            if item not in ("*", "null"):
                parts, fixed = _parse_item(item)
                if fixed:
                    exact.add(parts)
                else:
                    patterns.append(parts)
        self._exact = frozenset(exact)
        self._patterns = tuple(patterns)

    def __repr__(self) -> str:
        return f"Origins({list(self.items)!r}, hosts={list(self.hosts)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Origins) and (
            (self.items, self.hosts) == (other.items, other.hosts)
        )

    def __hash__(self) -> int:
        return hash((self.items, self.hosts))

    def allows(self, origin: str) -> bool:
        """Return whether ``origin``, as a browser writes it, is on the list."""
        if origin == "null":
            return self._null
        parts = _parse(origin)
        if parts is None:
            return False
        return (
            self._any
            or parts in self._exact
            or any(_matches(pattern, parts) for pattern in self._patterns)
        )

    def refusal(
        self, header: Callable[[str], str | None], secure: bool, *, script: bool = False
    ) -> str | None:
        """Return why a request is refused, for the operator; None if it is allowed.

        :param header: returns the value of a header by its name in lower case, None if
            there is none; several of one name are joined by a comma.
        :param secure: whether the connection to this service is TLS.
        :param script: whether a page can make the request without an ``Origin``, as it
            can load a script.
        """
        if self._hosts:
            name = _host_name(header("host"))
            if name not in self._hosts:
                return _explain_host(name)
        origin = header("origin")
        site = header("sec-fetch-site")
        if origin is None:
            if site in ("same-origin", "none"):
                return None
            referer = header("referer")
            if referer is None:
                return self._refusal_without_origin(header, site, script)
            match = _REFERER.match(referer[:_MAX_LENGTH].lower())
            origin = "null" if match is None else match.group(1)
        if site == "same-origin":
            return None
        if site is None and _is_same(origin, header("host"), secure):
            return None
        return None if self.allows(origin) else _explain(origin)

    def _refusal_without_origin(
        self, header: Callable[[str], str | None], site: str | None, script: bool
    ) -> str | None:
        if site is None:
            # On plain HTTP a page can hide from both headers (referrerpolicy),
            # but not from its browser's own User-Agent.
            agent = header("user-agent") or ""
            if not (script and agent.startswith("Mozilla/")):
                return None
        if self._any:
            return None
        return (
            "A request of another site's page that does not say which site: let the"
            " page send its Referer, and start the service with --allow-origin"
            " for the page's origin"
        )


def cors_headers(request: HTTPRequest) -> tuple[Header, ...]:
    """Return the CORS header fields that let the requesting page read the response."""
    origin = request.headers.get("origin")
    if origin is None:
        return ()
    return (
        (b"Access-Control-Allow-Origin", origin.encode("latin-1")),
        (b"Access-Control-Allow-Credentials", b"true"),
        (b"Vary", b"Origin"),
    )


def preflight_headers(request: HTTPRequest) -> tuple[Header, ...]:
    """Return the header fields that answer a CORS preflight request."""
    if request.headers.get("origin") is None:
        return ()
    wanted = request.headers.get("access-control-request-headers")
    names = f"{_ALLOWED_HEADERS}, {wanted}" if wanted else _ALLOWED_HEADERS
    return (
        (b"Access-Control-Allow-Methods", b"GET, POST"),
        (b"Access-Control-Allow-Headers", names.encode("latin-1")),
        (b"Access-Control-Max-Age", _PREFLIGHT_AGE),
    )


def _explain(origin: str) -> str:
    if origin != "null" and _parse(origin) is None:
        return "The Origin of this request is not an origin"
    return (
        f"Pages of {origin} may not use this service. To let them, start it with"
        f" --allow-origin {origin}"
    )


def _explain_host(name: str | None) -> str:
    if name is None:
        return "The Host of this request is not a host name"
    return f"This service has no host name {name}. If it should, add --host {name}"


def _host_name(host: str | None) -> str | None:
    match = None if host is None else _HOST.match(host[:_MAX_LENGTH].lower())
    return None if match is None else match.group(1).rstrip(".")


def _parse_name(host: str) -> str:
    match = _HOST.match(host.strip().lower())
    if match is None or match.group(2) is not None or len(host) > _MAX_LENGTH:
        raise ValueError(f"not the name of a host: {host!r} (write www.example.com)")
    return match.group(1).rstrip(".")


def _number(port: str | None, scheme: str) -> int | None:
    return int(port) if port is not None else _DEFAULT_PORTS.get(scheme, 0)


def _parse(origin: str) -> _Parts | None:
    if len(origin) > _MAX_LENGTH:
        return None
    match = _ORIGIN.match(origin.lower())
    if match is None:
        return None
    scheme, name, port = match.groups()
    return scheme, name, _number(port, scheme)


def _parse_item(item: str) -> tuple[_Parts, bool]:
    match = _PATTERN.match(item)
    if match is None or len(item) > _MAX_LENGTH:
        raise ValueError(
            f"not an origin: {item!r} (write https://example.com, without a path;"
            " https://*.example.com; http://localhost:*; or *; names outside"
            " ASCII as browsers send them, xn--...)"
        )
    scheme, name, port = match.groups()
    number = None if port == "*" else _number(port, scheme)
    return (scheme, name, number), number is not None and not name.startswith("*")


def _matches(pattern: _Parts, origin: _Parts) -> bool:
    scheme, name, port = pattern
    return (
        scheme == origin[0]
        and port in (None, origin[2])
        and (origin[1].endswith(name[1:]) if name[0] == "*" else name == origin[1])
    )


def _is_same(origin: str, host: str | None, secure: bool) -> bool:
    parts = _parse(origin)
    match = None if host is None else _HOST.match(host.lower())
    if parts is None or match is None:
        return False
    scheme, name, number = parts
    if scheme not in (("https",) if secure else ("http", "https")):
        return False
    host_name, port = match.groups()
    return name == host_name and number == _number(port, scheme)
