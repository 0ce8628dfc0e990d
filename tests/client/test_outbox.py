"""Show that the outbox does not keep settled messages."""

from __future__ import annotations

import gc
from typing import Any

from txbayeux.client.envelope import Envelope
from txbayeux.client.outbox import Queue
from txbayeux.message import Message


class Ignoring:
    def replied(self, envelope: Envelope, reply: Message) -> None:
        pass

    def failed(self, envelope: Envelope, error: Exception) -> None:
        pass


def envelopes() -> int:
    gc.collect()
    return sum(isinstance(thing, Envelope) for thing in gc.get_objects())


def put(outbox: Queue, name: str) -> Envelope:
    fields: dict[str, Any] = {"channel": name}
    envelope = Envelope(fields, Ignoring())
    outbox.put(envelope)
    return envelope


def test_settled_messages_are_freed_although_nothing_is_taken() -> None:
    outbox = Queue()
    first = put(outbox, "/first")
    before = envelopes()
    for number in range(1000):
        outbox.remove(put(outbox, f"/{number}"))
    last = put(outbox, "/last")
    assert envelopes() - before < 200
    assert outbox.take(10, 10_000) == [first, last]
