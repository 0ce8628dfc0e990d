"""Sockets that do not read, while others get everything that is published."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from typing import Final

from tests.leaks.peer import TRANSPORTS, Peer
from tests.leaks.service import Service

OPTIONS: Final = ("--timeout", "600", "--session-timeout", "900")
"""A session ends because too much waits for it, not because its client is silent."""

STALLED: Final = 100
READERS: Final = 10
BATCH: Final = 50
"""Messages of a request, which all readers get before the next one is sent."""

DATA: Final = "x" * 10_000

_CHANNEL: Final = "/leaks/stalled"
_WEBSOCKET: Final = TRANSPORTS[-1]
_MARK: Final = b'"data":'
"""What each message has once."""


class Reader:
    """A session on a WebSocket that counts the messages it gets."""

    def __init__(self, port: int) -> None:
        self.received = 0
        self._peer = Peer(port, _WEBSOCKET, receive_buffer=None)
        self._peer.handshake()
        self._peer.subscribe(_CHANNEL)
        self._peer.connect()
        self._buffer = bytearray(1 << 18)
        self._end = b""

    def read(self, total: int) -> None:
        """Read until so many messages have come in all."""
        while self.received < total:
            size = self._peer.read_into(self._buffer)
            assert size, f"closed after {self.received} messages"
            data = self._end + self._buffer[:size]
            self.received += data.count(_MARK)
            self._end = data[1 - len(_MARK) :]

    def show_life(self) -> None:
        """Send a heartbeat in place of an answer to pings."""
        self._peer.send_heartbeat()

    def close(self) -> None:
        self._peer.close()


class StalledPeer:
    """A subscriber that sends connects and does not read."""

    def __init__(self, port: int, number: int) -> None:
        transport = TRANSPORTS[number % len(TRANSPORTS)]
        self._number = number
        self._peer = Peer(port, transport)
        self._peer.handshake()
        self._peer.subscribe(_CHANNEL)
        for _ in range(1 if transport.is_stream else 16):
            self._peer.connect()

    def leave(self) -> None:
        if self._number // len(TRANSPORTS) % 2:
            self._peer.close()
        else:
            self._peer.reset()


def publish_beside_stalled(
    service: Service, *, messages: int, parts: int
) -> Iterator[int]:
    """Publish to readers and stalled sockets; yield the resident bytes of each part.

    In each part other sockets stall.
    """
    ports = cycle(node.port for node in service.nodes)
    publisher = Peer(service.nodes[0].port)
    readers = [Reader(port) for port in islice(ports, READERS)]
    published = 0
    for _ in range(parts):
        stalled = [StalledPeer(next(ports), number) for number in range(STALLED)]
        for _ in range(messages // parts // BATCH):
            publisher.publish(_CHANNEL, DATA, BATCH)
            published += BATCH
            for reader in readers:
                reader.read(published)
        yield sum(node.rss for node in service.nodes)
        for reader in readers:
            reader.show_life()
        for peer in stalled:
            peer.leave()
    for reader in readers:
        reader.close()
    publisher.close()
