"""Sessions that come and go abruptly, in every state, by reset and by close."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, cycle, islice
from typing import Final

from tests.leaks.peer import LongPolling, Peer
from tests.leaks.service import DATA, Measurement, Service

OPTIONS: Final = ("--timeout", "1", "--session-timeout", "1.5")
"""A session ends 1.5 s after its handshake, or 2.5 s after a connect."""

CROWD: Final = 100
"""Visitors that are there at the same time; the next ones come before they leave."""

_MESSAGES: Final = 2
ADDRESSES: Final = 4_096
"""Addresses that the visitors come from, one after the other."""

_REPEATS: Final = 4
"""Connects in a row: to polls, this many answers are not read."""


class Visitor:
    """A session in a state in which its connections are lost.

    On Redis, its second connection is one to the other process.
    """

    def __init__(self, ports: Iterator[int], transport: LongPolling, address: str):
        self._ports = ports
        self._transport = transport
        self._address = address
        self._peers: list[Peer] = []
        self.peer = self._connection()

    def _connection(self) -> Peer:
        session = self._peers[0].session if self._peers else ""
        peer = Peer(
            next(self._ports),
            self._transport,
            address=self._address,
            session=session,
        )
        self._peers.append(peer)
        return peer

    def leave(self, *, reset: bool) -> None:
        for peer in self._peers:
            if reset:
                peer.reset()
            else:
                peer.close()

    # The states

    def before_handshake(self, channel: str) -> None:
        self.peer.send_half("/meta/handshake", version="1.0")

    def after_handshake(self, channel: str) -> None:
        self.peer.handshake()

    def with_held_connect(self, channel: str) -> None:
        self.peer.handshake()
        self.peer.subscribe("/leaks/quiet", f"/leaks/own/{self.peer.session}", "/q/**")
        self._connection().connect()

    def within_a_message(self, channel: str) -> None:
        self.with_held_connect(channel)
        self._peers[-1].send_half("/leaks/half", data=DATA[:1000])

    def with_messages_queued(self, channel: str) -> None:
        self.peer.handshake()
        self.peer.subscribe(channel)

    def with_messages_unread(self, channel: str) -> None:
        self.with_messages_queued(channel)
        reader = self._connection()
        for _ in range(1 if self._transport.is_stream else _REPEATS):
            reader.connect()


STATES: Final = (
    Visitor.before_handshake,
    Visitor.after_handshake,
    Visitor.with_held_connect,
    Visitor.within_a_message,
    Visitor.with_messages_queued,
    Visitor.with_messages_unread,
)


def run_round(service: Service, transports: Sequence[LongPolling], size: int) -> None:
    """Open ``size`` sessions and lose them, and wait until they are forgotten."""
    # A visitor's second connection goes to the next process.
    ports = cycle(node.port for node in service.nodes)
    visitors = _visitors(ports, transports)
    publisher = Peer(service.nodes[0].port)
    former: list[Visitor] = []
    for first in range(0, size, CROWD):
        channel = f"/leaks/crowd/{first}"
        crowd = list(islice(visitors, min(CROWD, size - first)))
        for state, visitor in zip(cycle(STATES), crowd, strict=False):
            state(visitor, channel)
        publisher.publish(channel, DATA, _MESSAGES)
        _leave(former)
        former = crowd
    _leave(former)
    publisher.close()
    service.settle()


def _visitors(
    ports: Iterator[int], transports: Sequence[LongPolling]
) -> Iterator[Visitor]:
    for number in count():
        transport = transports[number // len(STATES) % len(transports)]
        host = number % ADDRESSES
        yield Visitor(ports, transport, f"198.18.{host >> 8}.{host & 255}")


def _leave(visitors: list[Visitor]) -> None:
    for number, visitor in enumerate(visitors):
        visitor.leave(reset=number // len(STATES) % 2 == 0)


def rounds(
    service: Service, transports: Sequence[LongPolling], *, number: int, size: int
) -> Iterator[Measurement]:
    """Run some rounds, and measure after each."""
    service.prime()
    for _ in range(number):
        run_round(service, transports, size)
        yield service.measure()
