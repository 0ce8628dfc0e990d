"""Clients on blocking sockets, which leave at any time."""

from __future__ import annotations

import json
import re
import socket
from typing import Any, Final
from urllib.parse import urlencode

from tests.adapter.sockets import TEXT, frame
from tests.resets import reset_on_close
from tests.web import HANDSHAKE, UPGRADE, post

_OUTCOME: Final = re.compile(rb'"successful":(true|false)')
_SESSION: Final = re.compile(rb'"clientId":"([^"]+)"')


class LongPolling:
    """How messages are sent by long-polling."""

    name = "long-polling"
    is_stream = False
    """Whether a connect is answered with a stream."""

    def opening(self, headers: str) -> bytes:
        """Return what is sent, and answered, before messages are."""
        return b""

    def encode(self, message: dict[str, Any], headers: str) -> bytes:
        return post([message], headers=headers)


class CallbackPolling(LongPolling):
    """How they are sent by callback-polling."""

    name = "callback-polling"

    def encode(self, message: dict[str, Any], headers: str) -> bytes:
        query = urlencode({"jsonp": "f", "message": json.dumps(message)})
        return f"GET /bayeux?{query} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode()


class EventSource(LongPolling):
    """How they are sent beside an event stream."""

    name = "eventsource"
    is_stream = True

    def encode(self, message: dict[str, Any], headers: str) -> bytes:
        if message["channel"] != "/meta/connect":
            return super().encode(message, headers)
        return (
            f"GET /bayeux/{message['clientId']} HTTP/1.1\r\nHost: a\r\n"
            f"Accept: text/event-stream\r\n{headers}\r\n"
        ).encode()


class WebSocket(LongPolling):
    """How they are sent on a WebSocket."""

    name = "websocket"
    is_stream = True

    def opening(self, headers: str) -> bytes:
        return UPGRADE[:-2] + headers.encode() + b"\r\n"

    def encode(self, message: dict[str, Any], headers: str) -> bytes:
        return frame(TEXT, json.dumps([message]).encode())


TRANSPORTS: Final = (LongPolling(), CallbackPolling(), EventSource(), WebSocket())


class Peer:
    """One connection, and the session that it has made or continues.

    :param address: where the client seems to be, behind a proxy on this machine.
    :param receive_buffer: bytes that the kernel keeps; what is not read stays in the
        service if they are few.  None for the kernel's default.
    """

    def __init__(
        self,
        port: int,
        transport: LongPolling = TRANSPORTS[0],
        *,
        address: str | None = None,
        session: str = "",
        receive_buffer: int | None = 4096,
    ) -> None:
        self.session = session
        self._transport = transport
        self._headers = f"X-Forwarded-For: {address}\r\n" if address else ""
        self._socket = socket.socket()
        if receive_buffer is not None:
            size = receive_buffer
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(60)
        self._socket.connect(("127.0.0.1", port))
        opening = transport.opening(self._headers)
        if opening:
            self._socket.sendall(opening)
            assert b" 101 " in self._receive_until(re.compile(rb"\r\n\r\n"))

    def _encoded(self, channel: str, fields: dict[str, Any]) -> bytes:
        message = {"channel": channel, **fields}
        if self.session:
            message["clientId"] = self.session
        return self._transport.encode(message, self._headers)

    def _receive_until(self, pattern: re.Pattern[bytes], count: int = 1) -> bytes:
        data = b""
        while len(pattern.findall(data)) < count:
            part = self._socket.recv(65536)
            if not part:
                raise ConnectionError(f"closed after {data[-300:]!r}")
            data += part
        assert b'"successful":false' not in data, data[-500:]
        return data

    def send(self, channel: str, **fields: Any) -> None:
        """Send a message and do not wait for the reply."""
        self._socket.sendall(self._encoded(channel, fields))

    def send_half(self, channel: str, **fields: Any) -> None:
        """Send the first half of a message."""
        data = self._encoded(channel, fields)
        self._socket.sendall(data[: len(data) // 2])

    def ask(self, channel: str, **fields: Any) -> bytes:
        """Send a message and return what comes up to its reply, which is a success."""
        self.send(channel, **fields)
        return self._receive_until(_OUTCOME)

    def ask_all(self, *messages: dict[str, Any]) -> None:
        """Send messages in one request, by long-polling, and wait for all replies."""
        self._socket.sendall(post(messages))
        self._receive_until(_OUTCOME, len(messages))

    def publish(self, channel: str, data: str, count: int) -> None:
        """Publish some messages with the same data, in one request."""
        self.ask_all(*[{"channel": channel, "data": data}] * count)

    def handshake(self) -> None:
        found = _SESSION.search(self.ask(**HANDSHAKE))
        assert found is not None
        self.session = found[1].decode()

    def subscribe(self, *channels: str) -> None:
        self.ask("/meta/subscribe", subscription=channels)

    def connect(self, **fields: Any) -> None:
        """Send a connect, which may be held."""
        kind = self._transport.name
        self.send("/meta/connect", connectionType=kind, **fields)

    def send_heartbeat(self) -> None:
        """Send the message without a reply that Faye's client sends on WebSockets."""
        self._socket.sendall(frame(TEXT, b"[]"))

    def read_into(self, buffer: bytearray) -> int:
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        reset_on_close(self._socket)
        self._socket.close()
