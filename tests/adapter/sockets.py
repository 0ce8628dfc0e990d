"""A WebSocket client on a transport in memory."""

import json
import struct
import zlib
from typing import Any

from .support import Service, Transport, request, settle

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
Frames = list[tuple[int, bytes]]
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A


def frame(first: int, payload: bytes, mask: bytes = b"\x01\x02\x03\x04") -> bytes:
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = struct.pack("!BBH", first, 0xFE, size)
    else:
        head = struct.pack("!BBQ", first, 0xFF, size)
    key = mask * (size // 4 + 1)
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(key[:size], "big")
    return head + mask + masked.to_bytes(size, "big")


def upgrade(**headers: str) -> bytes:
    given = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec_websocket_version": "13",
        "sec_websocket_key": KEY,
        **headers,
    }
    return request(**{name: value for name, value in given.items() if value})


class Client:
    """An open connection, and what the server sent over it."""

    def __init__(self, service: Service, **headers: str) -> None:
        self.transport: Transport = service.send(upgrade(**headers))
        if not self.transport.value():
            settle(service.clock)  # a long head
        self.head = self.transport.take()
        self.inflate = zlib.decompressobj(-15)

    def raw(self, data: bytes) -> None:
        self.transport.protocol.dataReceived(data)

    def send(self, message: Any) -> None:
        self.raw(frame(TEXT, json.dumps(message).encode()))

    def take(self) -> bytes:
        return self.transport.take()

    def frames(self) -> Frames:
        """Take the frames that have come: the first byte and the payload of each."""
        data, frames = self.take(), []
        while data:
            first, size = data[0], data[1]
            assert size < 128, "a server must not mask"
            start = 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            elif size == 127:
                size, start = int.from_bytes(data[2:10], "big"), 10
            frames.append((first, data[start : start + size]))
            data = data[start + size :]
        return frames

    def received(self) -> Frames:
        """Take the messages and control frames, reassembled and decompressed."""
        found, pieces, first = [], b"", 0
        for head, payload in self.frames():
            if head & 0x08:
                found.append((head, payload))
                continue
            first, pieces = first or head, pieces + payload
            if head & 0x80:
                if first & 0x40:
                    inflate = zlib.decompressobj(-15)
                    pieces = inflate.decompress(pieces + b"\0\0\xff\xff")
                found.append((first & 0x0F | 0x80, pieces))
                pieces, first = b"", 0
        return found

    def messages(self) -> list[Any]:
        """Take the JSON messages that have come; there must be no other frames."""
        texts = self.frames()
        assert {first for first, _ in texts} <= {TEXT}
        return [json.loads(payload) for _, payload in texts]

    def closed_with(self) -> int | None:
        """Take what has come, and return the code of the close frame in it."""
        for first, payload in self.frames():
            if first == CLOSE:
                return int.from_bytes(payload[:2], "big")
        return None
