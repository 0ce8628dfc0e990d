"""HTTP by both ways to read it: ``adapter/http.py`` must do what twisted.web does.

The input is what a client sends over one connection.
"""

from __future__ import annotations

import random
import re
import zlib
from typing import Final

from tests.adapter.http_ways import outcome, pieces
from tests.fuzz.logs import nothing_fails

__all__ = ["LEXEMES", "TOKENS", "fuzz_one"]

LEXEMES: Final = re.compile(rb"\r\n|[A-Za-z0-9_-]+|.", re.DOTALL)

TOKENS: Final = (
    *(b"GET", b"POST", b"OPTIONS", b"HEAD", b"PUT", b"get", b"PRI"),
    *(b"/bayeux", b"/bayeux/", b"/bayeux/s1", b"/other", b"*", b"/", b"/bayeux/%2e"),
    *(b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0", b" HTTP/0.9", b"HTTP", b" http/1.1"),
    *(b"?message=%5B1%5D&jsonp=a", b"?jsonp=", b"&message=[2]", b"?x=1", b"%", b"#"),
    *(b"http://bayeux.example/bayeux", b"//bayeux", b"bayeux.example:443", b"\xc3\xa4"),
    *(b"\r\nHost: bayeux.example", b"\r\nHost: a, b", b"\r\nHost:", b"\r\nhost: [::1]"),
    *(b"\r\nContent-Length: 3", b"\r\nContent-Length: 0", b"\r\nContent-Length: +3"),
    *(b"\r\nContent-Length: 3, 3", b"\r\nContent-Length: 501", b"\r\nContent-Length:"),
    *(b"\r\nContent-Length: " + b"9" * 4301, b"\r\nContent-Length: 0x3"),
    *(b"\r\nTransfer-Encoding: chunked", b"\r\nTransfer-Encoding: identity"),
    *(b"\r\nTransfer-Encoding: gzip, chunked", b"\r\nTransfer-Encoding : chunked"),
    *(b"\r\nConnection: close", b"\r\nConnection: Upgrade", b"\r\nConnection: x"),
    *(b"\r\nUpgrade: websocket", b"\r\nUpgrade: h2c", b"\r\nSec-WebSocket-Version: 13"),
    *(b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"\r\nTE: trailers"),
    *(b"\r\nExpect: 100-continue", b"\r\nTrailer: x", b"\r\nX: y\r\n z", b"\r\nX : y"),
    *(b"\r\nContent-Type: application/json", b"\r\nContent-Type: image/png"),
    *(b"\r\nContent-Type: application/x-www-form-urlencoded", b"\r\nCookie: a=b"),
    *(b"\r\nOrigin: http://evil.example", b"\r\nOrigin: http://bayeux.example"),
    *(b"\r\nOrigin: null", b"\r\nSec-Fetch-Site: cross-site", b"\r\nAccept: */*"),
    *(b"\r\nAccept: text/event-stream", b"\r\nX-Forwarded-For: 192.0.2.9"),
    *(b"\r\nAccess-Control-Request-Method: POST", b"\r\nReferer: http://evil.example/"),
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\n\n", b" ", b"\t", b"\0", b":", b";"),
    *(
        b"3\r\n[1]\r\n0\r\n\r\n",
        b"0\r\n\r\n",
        b"3;x=y\r\n",
        b"-3\r\n",
        b"FFFFFFFFF\r\n",
    ),
    *(b"FFFFFFFFF\r\n", b"[1,2,3,4,5,6]", b"[1]"),
    *(b"{}", b"[]", b"message=%5B2%5D", b"\x81\x80\0\0\0\0"),
    *(b"x" * 600, b"x" * 300, b"PROXY UNKNOWN\r\n", b"\x16\x03\x01"),
    b"POST /bayeux HTTP/1.1\r\nHost: bayeux.example\r\nContent-Length: 3\r\n\r\n[1]",
    b"GET /bayeux HTTP/1.1\r\nHost: bayeux.example\r\n\r\n",
)


def fuzz_one(data: bytes) -> None:
    """Send the bytes over both ways: at once, and then in pieces with late answers."""
    chance = random.Random(zlib.crc32(data))
    _compare([data], [])
    _compare(pieces(data, chance), [chance.random() < 0.3 for _ in range(10)])


def _compare(stream: list[bytes], waits: list[bool]) -> None:
    # A malformed head is refused at its end, by twisted.web a little earlier.
    stream = [*stream, b"\r\n\r\n"]
    with nothing_fails():
        fast = outcome(stream, waits, fast=True)
        slow = outcome(stream, waits, fast=False)
    assert fast == slow, f"\n{stream!r}\nfast: {fast!r}\ntwisted.web: {slow!r}"
