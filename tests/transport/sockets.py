"""The server's end of a WebSocket, as a test plays it."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

from txbayeux.message import encode_list
from txbayeux.transport.websocket import WebSocket

from .support import Network, Pipe, Receiver, context, outcome

PUBLISH = {"channel": "/a", "data": 1, "id": "1", "clientId": "s"}
REPLY = {"channel": "/a", "id": "1", "successful": True}


def frame(payload: bytes, opcode: int = 1, *, rsv1: bool = False) -> bytes:
    head = bytes([0x80 | (0x40 if rsv1 else 0) | opcode])
    size = len(payload)
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + b"\x7e" + struct.pack(">H", size) + payload
    return head + b"\x7f" + struct.pack(">Q", size) + payload


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Read the client's masked frames."""
    found = []
    while data:
        opcode, size = data[0] & 15, data[1] & 127
        data = data[2:]
        if size == 126:
            size, data = struct.unpack(">H", data[:2])[0], data[2:]
        mask, data = data[:4], data[4:]
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(data[:size]))
        found.append((opcode, payload))
        data = data[size:]
    return found


class Stage:
    def __init__(self, **options: Any) -> None:
        self.context = context(**options)
        self.clock = self.context.reactor
        self.network = Network(self.clock)
        self.receiver = Receiver()
        self.transport = WebSocket(self.context, self.receiver, self.network)  # type: ignore[arg-type]

    @property
    def pipe(self) -> Pipe:
        return self.network.pipes[-1]

    def upgrade(self, *headers: str) -> None:
        """Answer the upgrade as a server does."""
        request = self.pipe.take().decode()
        [key] = [
            line.split(": ")[1]
            for line in request.split("\r\n")
            if line.startswith("Sec-WebSocket-Key")
        ]
        guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1((key + guid).encode()).digest())
        head = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept.decode()}",
            *headers,
        ]
        self.pipe.send("\r\n".join([*head, "", ""]).encode())

    def send(self, timeout: float = 10) -> list[Any]:
        return outcome(self.transport.send([PUBLISH], timeout))

    def opened(self) -> list[Any]:
        done = self.send()
        self.upgrade()
        return done

    def reply(self) -> None:
        self.pipe.send(frame(encode_list([REPLY])))

    def assert_nothing_left(self) -> None:
        closed = outcome(self.transport.close())
        self.clock.advance(0)
        assert closed == [None]
        assert self.clock.getDelayedCalls() == []
        assert all(pipe.closed for pipe in self.network.pipes)
