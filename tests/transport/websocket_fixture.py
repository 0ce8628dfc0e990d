"""A WebSocket transport, and its server's end for the test."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

from txbayeux.message import encode_list
from txbayeux.transport.websocket import WebSocket

from .support import REPLY, TransportFixture


def frame(payload: bytes, opcode: int = 1, *, rsv1: bool = False) -> bytes:
    head = bytes([0x80 | (0x40 if rsv1 else 0) | opcode])
    size = len(payload)
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + b"\x7e" + struct.pack(">H", size) + payload
    return head + b"\x7f" + struct.pack(">Q", size) + payload


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """Return opcode and payload of each of the client's masked frames."""
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


class WebSocketFixture(TransportFixture):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.transport = WebSocket(self.context, self.receiver, self.network)

    def upgrade(self, *headers: str) -> None:
        """Accept the upgrade as a server does."""
        request = self.connection.take().decode()
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
        self.connection.send("\r\n".join([*head, "", ""]).encode())

    def open(self) -> list[Any]:
        """Send a message and accept the upgrade; return the outcome of the send."""
        done = self.send()
        self.upgrade()
        return done

    def answer_pings(self, seconds: int) -> None:
        """Advance the clock, and answer all pings."""
        for _ in range(seconds):
            self.clock.advance(1)
            self.connection.send(frame(b"", opcode=10))

    def reply(self) -> None:
        self.connection.send(frame(encode_list([REPLY])))
