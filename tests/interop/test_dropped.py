"""A message published just after a client dropped its connection is not lost.

Faye's and CometD's servers for Node write it to the connection that is gone. Here
sockets are the kernel's, and close with an end (a closed tab) or a reset (a proxy).
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tests.resets import reset_on_close

from .client_program import DEADLINE
from .servers import Server

TIMES = 20


class Wire:
    """One connection to the server."""

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), DEADLINE)
        self._host = f"127.0.0.1:{server.port}"

    def post(self, *messages: dict[str, Any]) -> None:
        body = json.dumps(messages).encode()
        length = f"Content-Length: {len(body)}"
        self.head("POST /bayeux", "Content-Type: application/json", length)
        self._socket.sendall(body)

    def head(self, line: str, *headers: str) -> None:
        lines = [f"{line} HTTP/1.1", f"Host: {self._host}", *headers, "", ""]
        self._socket.sendall("\r\n".join(lines).encode())

    def frame(self, message: dict[str, Any]) -> None:
        payload = json.dumps([message]).encode()
        head = struct.pack("!BBH", 0x81, 0x80 | 126, len(payload)) + bytes(4)
        self._socket.sendall(head + payload)

    def read_until(self, *ends: bytes) -> bytes:
        data = b""
        while not data.endswith(ends):
            piece = self._socket.recv(65536)
            assert piece, data
            data += piece
        return data

    def close(self, *, reset: bool = False) -> None:
        if reset:
            reset_on_close(self._socket)
        self._socket.close()


def ask(server: Server, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    wire = Wire(server)
    wire.post(*messages)
    answer = wire.read_until(b"}]", b"[]")
    wire.close()
    replies: list[dict[str, Any]] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return replies


def connect(session: str, kind: str, **advice: int) -> dict[str, Any]:
    message = {"channel": "/meta/connect", "clientId": session, "connectionType": kind}
    return {**message, "advice": advice} if advice else message


def poll(server: Server, session: str) -> Wire:
    wire = Wire(server)
    wire.post(connect(session, "long-polling"))
    return wire


def event_stream(server: Server, session: str) -> Wire:
    wire = Wire(server)
    wire.head(f"GET /bayeux/{session}", "Accept: text/event-stream")
    wire.read_until(b"\n\n", b"\r\n\r\n")
    return wire


def web_socket(server: Server, session: str) -> Wire:
    wire = Wire(server)
    wire.head(
        "GET /bayeux",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
    )
    wire.read_until(b"\r\n\r\n")
    wire.frame(connect(session, "websocket", timeout=0))
    wire.read_until(b"}]")
    wire.frame(connect(session, "websocket"))
    return wire


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
@pytest.mark.parametrize("listen", [poll, event_stream, web_socket])
def test_it_waits_for_the_next_connect(
    server: Server, listen: Callable[[Server, str], Wire], reset: bool
) -> None:
    handshake = {
        "channel": "/meta/handshake",
        "version": "1.0",
        "supportedConnectionTypes": ["long-polling"],
    }
    for number in range(TIMES):
        session = ask(server, handshake)[0]["clientId"]
        mine = {"clientId": session, "subscription": f"/mine/{session}"}
        assert ask(server, {"channel": "/meta/subscribe", **mine})[0]["successful"]
        listen(server, session).close(reset=reset)
        published = {"channel": f"/mine/{session}", "data": number}
        assert ask(server, published)[0]["successful"]
        answers = ask(server, connect(session, "long-polling", timeout=0))
        assert [answer["data"] for answer in answers if "data" in answer] == [number]
