"""What the server has not accepted yet, in the order in which it was asked for.

Pure: no clock, no network.  An envelope waits, is taken for a batch, and is
settled by its reply; a batch that fails gives its envelopes back to the very
places they were taken from.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from txbayeux.message import Message

__all__ = ["Envelope", "Outbox"]

_ENVELOPE_OVERHEAD: Final = 256
"""Bytes to count for what stands around ``data``: channel, id, session, commas."""

_SLACK: Final = 100
"""Settled envelopes that may stay beside as many that are not."""


class Outcome(Protocol):
    """What is told of an envelope's end: once, by one of these."""

    def answered(self, reply: Message) -> None:
        """Take the server's reply, whatever it says."""

    def abandoned(self, error: Exception) -> None:
        """Hear that it will not be sent any more."""


class Envelope:
    """One message and what becomes of it.

    ``fields`` are those that every attempt has in common; ``data``, if any, is
    kept as JSON, so that later changes of the user's object do not matter.
    """

    __slots__ = (
        "attempts",
        "attempts_allowed",
        "data",
        "fields",
        "place",
        "settled",
        "then",
    )

    def __init__(
        self,
        fields: Message,
        then: Outcome,
        data: bytes | None = None,
        attempts_allowed: int | None = None,
    ) -> None:
        if attempts_allowed is not None and attempts_allowed < 1:
            raise ValueError("there must be at least one attempt")
        self.fields = fields
        self.data = data
        self.then = then
        self.attempts_allowed = attempts_allowed
        self.attempts = 0
        self.place = -1
        self.settled = False

    @property
    def size(self) -> int:
        """About how many bytes of JSON it is."""
        return len(self.data or b"") + _ENVELOPE_OVERHEAD

    @property
    def exhausted(self) -> bool:
        """Whether it was sent as often as it may be."""
        return self.attempts_allowed is not None and (
            self.attempts >= self.attempts_allowed
        )

    def message(self, *, decoded: bool) -> Message:
        """Make a message of its own; ``decoded`` if somebody wants to look at ``data``.

        Otherwise ``data`` goes out as the bytes it is kept as.
        """
        message: Message = {
            name: dict(value) if isinstance(value, dict) else value
            for name, value in self.fields.items()
        }
        if self.data is not None:
            data: Any = msgspec.json.decode(self.data) if decoded else None
            message["data"] = data if decoded else msgspec.Raw(self.data)
        return message


class Outbox:
    """Envelopes that wait, or are in flight, by their place in the order."""

    __slots__ = ("_all", "_first", "_places", "_waiting")

    def __init__(self) -> None:
        self._places = itertools.count()
        self._first = 0
        self._waiting: list[tuple[int, Envelope]] = []
        self._all: dict[int, Envelope] = {}

    def __len__(self) -> int:
        """Count what is not settled, in flight or not."""
        return len(self._all)

    def put(self, envelope: Envelope) -> None:
        """Add at the end."""
        envelope.place = next(self._places)
        self._all[envelope.place] = envelope
        heapq.heappush(self._waiting, (envelope.place, envelope))

    def put_first(self, envelopes: Sequence[Envelope]) -> None:
        """Add ahead of everything, in the order given."""
        self._first -= len(envelopes)
        for place, envelope in enumerate(envelopes, self._first):
            envelope.place = place
            self._all[place] = envelope
            heapq.heappush(self._waiting, (place, envelope))

    def take(self, max_messages: int, max_bytes: int) -> list[Envelope]:
        """Take the next batch; at least one envelope, if any waits."""
        batch: list[Envelope] = []
        size = 0
        while self._waiting and len(batch) < max_messages:
            envelope = self._waiting[0][1]
            if not envelope.settled:
                size += envelope.size
                if batch and size > max_bytes:
                    break
                batch.append(envelope)
            heapq.heappop(self._waiting)
        return batch

    def give_back(self, batch: Iterable[Envelope]) -> None:
        """Put what was not accepted back where it was, ahead of what came later."""
        for envelope in batch:
            if not envelope.settled:
                heapq.heappush(self._waiting, (envelope.place, envelope))

    def settle(self, envelope: Envelope) -> bool:
        """Mark as done, wherever it is; give whether it was not done before."""
        if envelope.settled:
            return False
        envelope.settled = True
        del self._all[envelope.place]
        if len(self._waiting) > 2 * len(self._all) + _SLACK:
            # Nobody may take any for hours, while deadlines pass.
            self._waiting = [item for item in self._waiting if not item[1].settled]
            heapq.heapify(self._waiting)
        return True

    def unsettled(self) -> list[Envelope]:
        """Give everything that is not done, in order."""
        return [self._all[place] for place in sorted(self._all)]

    @property
    def waiting(self) -> bool:
        """Whether something is there to be taken."""
        while self._waiting and self._waiting[0][1].settled:
            heapq.heappop(self._waiting)
        return bool(self._waiting)
