"""A server that replays a channel from any position, as Salesforce's does."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any, Final

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

Message = dict[str, Any]
reactor: Any = default_reactor

AT_ONCE: Final = 500
"""Events in a response, or in a frame."""


class DurableServer:
    """Long-polling and WebSocket, each on a port of 127.0.0.1.

    :param channel: where the events are.
    :param count: how many there are; their replay ids begin with 1.
    """

    def __init__(self, channel: str, count: int) -> None:
        self.channel = channel
        self.count = count
        self._ids = map(str, itertools.count(1))
        self._positions: dict[str, int] = {}
        """What each session has been sent."""
        sockets = WebSocketServerFactory(reactor=reactor)
        sockets.protocol = lambda: _Socket(self)
        self._ports = {
            name: reactor.listenTCP(0, factory, interface="127.0.0.1")
            for name, factory in {
                "long-polling": Site(_Polling(self)),
                "websocket": sockets,
            }.items()
        }

    def url(self, transport: str) -> str:
        """Return the URL for one connection type."""
        return f"http://127.0.0.1:{self._ports[transport].getHost().port}/"

    def stop(self) -> Deferred[Any]:
        """Listen no more."""
        return gatherResults(
            [maybeDeferred(port.stopListening) for port in self._ports.values()]
        )

    def reply(self, message: Message) -> Message:
        """Return the reply to any message."""
        reply = {key: message.get(key) for key in ("channel", "id")}
        reply["successful"] = True
        if message["channel"] == "/meta/handshake":
            types = list(self._ports)
            reply |= {"clientId": next(self._ids), "supportedConnectionTypes": types}
        if message["channel"] == "/meta/subscribe":
            position = message["ext"]["replay"][self.channel]
            self._positions[message["clientId"]] = max(0, position)
        return reply

    def next_events(self, session: str) -> list[Message]:
        """Return what the session is to be sent next."""
        begin = self._positions.get(session, self.count) + 1
        end = min(begin + AT_ONCE, self.count + 1)
        self._positions[session] = end - 1
        return [
            {"channel": self.channel, "data": {"event": {"replayId": number}}}
            for number in range(begin, end)
        ]

    def all_events(self, session: str) -> Iterator[list[Message]]:
        """Return everything that the session has not been sent, in parts."""
        return iter(lambda: self.next_events(session), [])


class _Polling(Resource):
    isLeaf = True

    def __init__(self, server: DurableServer) -> None:
        super().__init__()
        self._server = server
        self._held: dict[str, tuple[Any, Message]] = {}
        """The connect that each session waits with: its request and itself."""

    def render_POST(self, request: Any) -> Any:
        response: list[Message] = []
        for message in json.loads(request.content.read()):
            if message["channel"] == "/meta/connect":
                session = message["clientId"]
                events = self._server.next_events(session)
                if not events and message["advice"]["timeout"]:
                    self._held[session] = request, message
                    return NOT_DONE_YET
                response += events
            response.append(self._server.reply(message))
            if message["channel"] == "/meta/subscribe":
                self._release(message["clientId"])
        return _encoded(request, response)

    def _release(self, session: str) -> None:
        request, message = self._held.pop(session, (None, {}))
        if request is not None:
            events = self._server.next_events(session)
            request.write(_encoded(request, [*events, self._server.reply(message)]))
            request.finish()


def _encoded(request: Any, response: list[Message]) -> bytes:
    request.setHeader(b"Content-Type", b"application/json")
    return json.dumps(response).encode()


class _Socket(WebSocketServerProtocol):  # type: ignore[misc]
    def __init__(self, server: DurableServer) -> None:
        super().__init__()
        self._server = server

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        for message in json.loads(payload):
            is_connect = message["channel"] == "/meta/connect"
            if is_connect and message["advice"]["timeout"]:
                return
            self.sendMessage(json.dumps([self._server.reply(message)]).encode())
            if message["channel"] == "/meta/subscribe":
                for events in self._server.all_events(message["clientId"]):
                    self.sendMessage(json.dumps(events).encode())
