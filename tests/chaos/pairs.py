"""One-to-one traffic: many channels, each with one subscriber.

Subscribers stay on a node while they can, unlike those in :mod:`tests.chaos.clients`,
so that each node wants some of the channels only.  Publishers are on the other nodes.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from tests.chaos.clients import END, Client, Publisher, SocketSubscriber, Subscriber

LEAVES: Final = 0.02
"""The share of requests before which a subscriber goes to another node."""
RETURNS: Final = 0.2
"""The share of requests before which it goes back to its first node."""

DEADLINE: Final = 100.0
"""Seconds in which a message must arrive on a busy machine; nothing waits so long."""


class Sender(Publisher):
    """Publishes numbers to its channels, to one after the other.

    The data of a message is the name of the sender, the number and ``padding``.
    """

    pause = 0.005
    padding = ""

    def __init__(self, ports: list[int], seed: int, channels: list[str]) -> None:
        super().__init__(ports, seed)
        self.name = f"sender-{seed}"
        self.channels = channels
        self.begun: list[float] = [0.0]
        """When each number was published."""

    def message(self, number: int) -> dict[str, Any]:
        self.begun.append(time.monotonic())
        data = [self.name, number, self.padding]
        return {"channel": self.channel(number), "data": data}

    def channel(self, number: int) -> str:
        return self.channels[number % len(self.channels)]

    def end(self) -> None:
        """The test publishes the end."""

    def on(self, subscription: str, numbers: list[int]) -> list[int]:
        """Return those numbers that a subscriber of a channel, or of all, gets."""
        if subscription.endswith("*"):
            return numbers
        return [n for n in numbers if self.channel(n) == subscription]


@dataclass
class Part:
    """What was received in one session.

    :param first: index of the first message.
    :param since: when the subscription was confirmed.
    """

    first: int
    since: float


class Staying(Subscriber):
    """Subscribes to a channel on one node; goes to another if that one fails.

    :param home: port of the first node.
    """

    def __init__(
        self, ports: list[int], seed: int, *, acknowledges: bool, home: int, to: str
    ) -> None:
        super().__init__(ports, seed, acknowledges=acknowledges)
        self.subscription = to
        self.parts: list[Part] = []
        self.port = self._home = home
        self._failed = 0

    def next_port(self) -> int:
        if self._failed < self.broken:
            self._failed = self.broken
            self.leave()
        elif self.wants_to_move():
            self.move()
        return self.port

    def leave(self) -> None:
        """Go to another node."""
        self.port = self.random.choice([p for p in self.ports if p != self.port])

    def wants_to_move(self) -> bool:
        """Return whether to leave, or to go back."""
        chance = LEAVES if self.port == self._home else RETURNS
        return self.random.random() < chance

    def move(self) -> None:
        """Leave, or go back."""
        if self.port == self._home:
            self.leave()
        else:
            self.port = self._home

    def subscribe(self) -> bool:
        first = len(self.received)
        there = super().subscribe()
        if there:
            self.parts.append(Part(first, time.monotonic()))
        return there

    def numbers(self) -> list[list[tuple[str, int]]]:
        """Return sender and number of what was received in each session."""
        ends = [part.first for part in self.parts[1:]] + [len(self.received)]
        return [
            [(m[0], m[1]) for m in self.received[part.first : end] if m != END]
            for part, end in zip(self.parts, ends, strict=True)
        ]

    def all_numbers(self) -> list[tuple[str, int]]:
        """Return sender and number of everything that was received."""
        return list(chain.from_iterable(self.numbers()))

    def repeated(self) -> dict[tuple[str, int], int]:
        """Return how often messages came again in the same session.

        A publish that was under way when Redis lost its data may be in both logs.
        """
        found: dict[tuple[str, int], int] = {}
        for numbers in self.numbers():
            found |= {
                n: count - 1 for n, count in Counter(numbers).items() if count > 1
            }
        return found


class StayingSocket(Staying, SocketSubscriber):
    """The same over a WebSocket.

    It leaves its node only if it acknowledges: what was sent on a connection that is
    closed is lost otherwise.
    """

    def connect(self) -> bool:
        if self.acknowledges and self.wants_to_move():
            self.close()
            self.move()
        return super().connect()


def check(subscriber: Staying, senders: list[Sender]) -> None:
    """Check what a subscriber received of its channel, or of all with a pattern.

    Between two handshakes nothing is missing, and what is confirmed is in order.
    """
    parts = subscriber.numbers()
    for place, (part, numbers) in enumerate(zip(subscriber.parts, parts, strict=True)):
        received = set(numbers)
        for sender in senders:
            own = [n for name, n in dict.fromkeys(numbers) if name == sender.name]
            confirmed = sender.on(subscriber.subscription, sender.confirmed)
            unknown = sender.on(subscriber.subscription, sender.unknown)
            known = set(confirmed)
            arrived = [n for n in own if n in known]
            assert arrived == sorted(arrived), f"order: {arrived}"
            # A new handshake says that the rest of a session may be lost.
            last = len(confirmed)
            if place < len(parts) - 1:
                last = bisect_left(confirmed, arrived[-1]) if arrived else 0
            expected = [n for n in confirmed[:last] if sender.begun[n] > part.since]
            lost = [n for n in expected if (sender.name, n) not in received]
            assert lost == [], f"{subscriber.subscription}: lost {lost}, have {own}"
            assert set(own) <= known.union(unknown)
    if subscriber.acknowledges:
        assert subscriber.repeated() == {}


class Coming(Staying):
    """Subscribes and unsubscribes in turn, and publishes to itself through any node.

    What it publishes while it is subscribed must arrive, unless the session is lost
    meanwhile, and what it publishes otherwise must not.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.publisher = Client(self.ports, self.random.randrange(2**30))
        self.name = f"coming-{self.random.randrange(2**30)}"
        self.stopping = False
        self.turns = 0
        self.told = 0
        """How often the session was lost while a message was to arrive."""
        self.unwanted: list[int] = []
        self._number = 0

    def work(self) -> None:
        self.handshake()
        while not self.stopping:
            time.sleep(self.random.uniform(0, 0.2))
            self.turns += 1
            self._receive(self._publish())
            if not self.change("/meta/unsubscribe"):
                self.handshake()
                continue
            self.unwanted.append(self._publish())
            if not self.subscribe():
                self.handshake()
        arrived = {item[1] for item in self.received if item[0] == self.name}
        wrong = arrived & set(self.unwanted)
        assert wrong == set(), f"received without a subscription: {wrong}"
        if self.acknowledges:
            assert self.repeated() == {}

    def _publish(self) -> int:
        """Publish a number until one is confirmed; return that."""
        while True:
            self._number += 1
            data = [self.name, self._number]
            message = {"channel": self.subscription, "data": data}
            answer = self.publisher.post(message)
            if answer is not None and answer[-1].get("successful"):
                return self._number

    def _receive(self, number: int) -> None:
        end = time.monotonic() + DEADLINE
        before = len(self.received)
        while [self.name, number] not in self.received[before:]:
            if not self.connect():
                self.told += 1
                return
            assert time.monotonic() < end, f"{self.name} lost {number}"


class ComingSocket(Coming, StayingSocket):
    """The same over a WebSocket."""
