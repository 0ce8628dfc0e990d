"""The server's end of an HTTP connection, as a test plays it."""

from __future__ import annotations

from typing import Any

from twisted.web.client import URI

from txbayeux.message import encode_list
from txbayeux.transport.base import Context, Transport
from txbayeux.transport.http import Http
from txbayeux.transport.long_polling import LongPolling

from .support import Network, Pipe, Receiver, context, outcome

PUBLISH = {"channel": "/a", "data": 1, "id": "1", "clientId": "s"}
REPLY = {"channel": "/a", "id": "1", "successful": True}
BODY = encode_list([REPLY])


class Network80(Network):
    """For Twisted's agent, through the endpoint_factory's watched connections."""

    def endpointForURI(self, uri: URI) -> Network:
        self.uris = [*getattr(self, "uris", []), uri.toBytes().decode()]
        return self


class Stage:
    def __init__(self, kind: type = LongPolling, **options: Any) -> None:
        self.context: Context = context(**options)
        self.clock = self.context.reactor
        self.network = Network(self.clock)
        self.receiver = Receiver()
        self.http = Http(self.context)
        self.http._endpoint_factory.endpoint = self.network.endpoint  # type: ignore[assignment, method-assign]
        self.transport: Transport = kind(self.context, self.receiver, self.http)

    @property
    def pipe(self) -> Pipe:
        return self.network.pipes[-1]

    def send(self, timeout: float = 10) -> list[Any]:
        return outcome(self.transport.send([PUBLISH], timeout))

    def answer(self, body: bytes = BODY, *headers: str, status: str = "200 OK") -> None:
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        self.pipe.send("\r\n".join(head).encode() + body)

    def assert_nothing_left(self) -> None:
        closed = outcome(self.transport.close())
        self.clock.advance(0)
        assert closed == [None]
        assert self.clock.getDelayedCalls() == []
        assert all(pipe.closed for pipe in self.network.pipes)
