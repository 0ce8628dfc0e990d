"""A minimal blocking WebSocket client for text messages."""

import base64
import os
import socket
import struct


class Closed(OSError):
    """The server closed the connection."""


class WebSocket:
    """A connection to ``/bayeux`` on a port of this machine."""

    def __init__(self, port: int, timeout: float) -> None:
        self._data = b""
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        try:
            self._open(port)
        except BaseException:
            self.close()
            raise

    def _open(self, port: int) -> None:
        head = [
            "GET /bayeux HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "\r\n",
        ]
        self._socket.sendall("\r\n".join(head).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self._read(1)
        if b" 101 " not in answer:
            raise Closed(answer.decode())

    def send(self, text: bytes, opcode: int = 1) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[n % 4] for n, byte in enumerate(text))
        size = len(text)
        length = struct.pack("!B", 128 | size)
        if size > 125:
            length = struct.pack("!BH", 128 | 126, size)
        self._socket.sendall(bytes([128 | opcode]) + length + mask + masked)

    def receive(self) -> bytes:
        """Return the next message; answers pings on the way."""
        while True:
            first, size = self._read(2)
            if size == 126:
                (size,) = struct.unpack("!H", self._read(2))
            elif size == 127:
                (size,) = struct.unpack("!Q", self._read(8))
            payload = self._read(size)
            if first & 15 == 1:
                return payload
            if first & 15 == 8:
                raise Closed("a close frame came")
            if first & 15 == 9:
                self.send(payload, 10)

    def close(self) -> None:
        self._socket.close()

    def _read(self, size: int) -> bytes:
        while len(self._data) < size:
            part = self._socket.recv(65536)
            if not part:
                raise Closed("end of stream")
            self._data += part
        data, self._data = self._data[:size], self._data[size:]
        return data
