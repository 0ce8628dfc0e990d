"""The heads of plain requests, those that are served without ``twisted.web``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from txbayeux.adapter.request import RequestHeaders, is_host

__all__ = ["MAX_HEAD", "PlainHead", "may_become_plain", "read_head"]

MAX_HEAD: Final = 8192
"""Longest head that is read here, in bytes; those of browsers have about 500."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# No control characters, no continued lines, one target in origin form.
_HEAD: Final = re.compile(
    rb"(POST|GET|OPTIONS) (/[!-~]*) HTTP/1\.1\r\n((?:"
    + _TOKEN
    + rb":[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
_BEGINNINGS: Final = (b"POST /", b"GET /", b"OPTIONS /")
_LENGTH: Final = re.compile(r"[0-9]{1,15}\Z")
# What changes how a body is read or a connection goes on is left to twisted.web.
_NOT_PLAIN: Final = frozenset(["transfer-encoding", "expect", "te", "trailer"])


@dataclass(frozen=True, slots=True)
class PlainHead:
    """A request's head, and how many bytes it and its body have."""

    text: bytes
    method: bytes
    target: bytes
    headers: RequestHeaders
    size: int
    body_size: int


def may_become_plain(data: bytes) -> bool:
    """Return whether the beginning of a head may turn out to be a plain one."""
    return len(data) <= MAX_HEAD and any(
        data.startswith(beginning) or beginning.startswith(data)
        for beginning in _BEGINNINGS
    )


def read_head(data: bytes) -> PlainHead | None:
    """Read a whole head; return None for one that is left to ``twisted.web``.

    The strict form of RFC 9112's grammar, in one expression: 4 µs for a browser's
    450 bytes (httptools: 3 µs; ``twisted.web``'s lines: 40 µs).
    """
    match = _HEAD.match(data)
    if match is None or match.end() > MAX_HEAD:
        return None
    method, target, lines = match.groups()
    headers = RequestHeaders(lines)
    body_size = _body_size(method, headers)
    if body_size is None:
        return None
    size = match.end()
    return PlainHead(data[:size], method, target, headers, size, body_size)


def _body_size(method: bytes, headers: RequestHeaders) -> int | None:
    """Return the length of a plain request's body, None if it is not plain."""
    if not _NOT_PLAIN.isdisjoint(headers.names) or not is_host(headers.get("host")):
        return None
    connection = (headers.get("connection") or "keep-alive").lower()
    upgrade = headers.get("upgrade")
    if upgrade is None:
        if connection != "keep-alive":
            return None
    elif (
        method != b"GET"
        or upgrade.lower() != "websocket"
        or connection not in ("upgrade", "keep-alive, upgrade")
    ):
        return None
    length = headers.get("content-length")
    if method == b"POST":
        return int(length) if length and _LENGTH.match(length) else None
    return 0 if length is None else None
