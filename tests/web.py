"""A browser's side of HTTP in memory, for tests of whole sites."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.testing import StringTransportWithDisconnection

HANDSHAKE = {
    "channel": "/meta/handshake",
    "version": "1.0",
    "supportedConnectionTypes": ["long-polling"],
}

UPGRADE = (
    b"GET /bayeux HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.0\r\nHost: a\r\n\r\n".encode()


def post(message: Any, path: str = "/bayeux", headers: str = "") -> bytes:
    body = json.dumps(message).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    return f"{head}{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One connection to a site."""

    def __init__(self, site: Any) -> None:
        self.transport = StringTransportWithDisconnection()
        protocol: Any = site.buildProtocol(None)
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)

    def send(self, request: bytes) -> None:
        protocol: Any = self.transport.protocol
        protocol.dataReceived(request)

    def received(self) -> bytes:
        """Return what came since this was called last."""
        value: bytes = self.transport.value()
        self.transport.clear()
        return value

    def replies(self) -> list[Any]:
        """Return the messages of the response that came."""
        replies: list[Any] = json.loads(self.received().partition(b"\r\n\r\n")[2])
        return replies


class Browser:
    """Sends each message on a new connection."""

    def __init__(self, site: Any) -> None:
        self.site = site

    def ask(self, request: bytes) -> bytes:
        connection = Connection(self.site)
        connection.send(request)
        return connection.received()

    def send(self, message: Any) -> Connection:
        """Send a message that may not be answered at once."""
        connection = Connection(self.site)
        connection.send(post(message))
        return connection

    def post(self, message: Any) -> list[Any]:
        return self.send(message).replies()

    def handshake(self) -> str:
        """Return the id of a new session."""
        (reply,) = self.post(HANDSHAKE)
        assert reply["successful"], reply
        session_id: str = reply["clientId"]
        return session_id

    def subscribe(self, session_id: str, channel: str) -> Any:
        """Return the reply."""
        fields = {"clientId": session_id, "subscription": channel}
        (reply,) = self.post({"channel": "/meta/subscribe", **fields})
        return reply

    def connect(self, session_id: str) -> Connection:
        """Send a connect, which may be held."""
        return self.send(connect(session_id))

    def poll(self, session_id: str) -> list[Any]:
        """Return the data of the messages that wait for a session."""
        replies = self.post(connect(session_id) | {"advice": {"timeout": 0}})
        return [reply["data"] for reply in replies if "data" in reply]


def connect(session_id: str) -> dict[str, Any]:
    fields = {"clientId": session_id, "connectionType": "long-polling"}
    return {"channel": "/meta/connect", **fields}
