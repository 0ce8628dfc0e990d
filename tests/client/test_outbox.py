"""What waits, and that what is settled does not stay."""

from __future__ import annotations

import gc
from typing import Any

from txbayeux.client.outbox import Envelope, Outbox
from txbayeux.message import Message


class Ignoring:
    def answered(self, reply: Message) -> None:
        pass

    def abandoned(self, error: Exception) -> None:
        pass


def envelopes() -> int:
    gc.collect()
    return sum(isinstance(thing, Envelope) for thing in gc.get_objects())


def put(outbox: Outbox, name: str) -> Envelope:
    fields: dict[str, Any] = {"channel": name}
    envelope = Envelope(fields, Ignoring())
    outbox.put(envelope)
    return envelope


def test_what_expires_is_not_kept_until_somebody_takes_it() -> None:
    outbox = Outbox()
    first = put(outbox, "/first")
    before = envelopes()
    for number in range(1000):
        outbox.settle(put(outbox, f"/{number}"))
    last = put(outbox, "/last")
    assert envelopes() - before < 200
    assert outbox.take(10, 10_000) == [first, last]
