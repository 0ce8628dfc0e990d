"""A polling transport, and its server's end for the test."""

from __future__ import annotations

from typing import Any

from txbayeux.message import encode_list
from txbayeux.transport.http import Http
from txbayeux.transport.long_polling import LongPolling

from .support import REPLY, TransportFixture

BODY = encode_list([REPLY])


class HTTPFixture(TransportFixture):
    def __init__(self, transport: type = LongPolling, **options: Any) -> None:
        super().__init__(**options)
        self.http = Http(self.context, self.network)
        self.transport = transport(self.context, self.receiver, self.http)

    def respond(
        self, body: bytes = BODY, *headers: str, status: str = "200 OK"
    ) -> None:
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        self.connection.send("\r\n".join(head).encode() + body)
