"""A session as the hub holds it; needs no reactor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

import msgspec
from twisted.internet.defer import Deferred

from txbayeux.engine.backlog import Backlog
from txbayeux.engine.expiry import NEVER
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery, Stream
from txbayeux.limits import Limits
from txbayeux.message import Entry

__all__ = [
    "DEFAULT_SESSION_TIMEOUT",
    "MAX_REPEATS",
    "WRITE_BYTES",
    "ConnectDelivery",
    "Session",
]

DEFAULT_SESSION_TIMEOUT: Final = 60.0
"""Seconds.  Longer than the interval of throttled timers in a browser's hidden tabs."""

MAX_REPEATS: Final = 100
"""How often the same messages are sent to a session that acknowledges none of them."""


WRITE_BYTES: Final = 256 * 1024
"""Bytes of messages that a connection is given at once, unless the first is larger.

What it cannot send is copied for it, and not counted in any limit.  The rest stays in
the queue, which shares messages with those of other sessions.
"""


class ConnectDelivery(msgspec.Struct):
    """A :class:`~txbayeux.interfaces.Delivery`."""

    entries: Sequence[Entry]
    acknowledgement: int | None
    superseded: bool = False
    ended: Reason | None = None
    why: str | None = None
    returned: Callable[[Sequence[Entry]], None] | None = None
    turn: int | None = None

    def give_back(self) -> None:
        """See :meth:`txbayeux.interfaces.Delivery.give_back`."""
        returned, self.returned = self.returned, None
        if returned is not None:
            returned(self.entries)


class Session:
    """Subscriptions, the queue, and the connection that delivers it.

    If the session acknowledges, entries stay in the queue until acknowledged; the
    first ``sent`` of them have been in an answer.  The first ``counted`` are in the
    ``backlog``, which the hub sets.
    """

    __slots__ = (
        "acknowledges",
        "backlog",
        "counted",
        "deadline",
        "dirty",
        "ended",
        "held",
        "hold_until",
        "id",
        "moved",
        "queue",
        "queued_bytes",
        "repeats",
        "seen",
        "sent",
        "stream",
        "subscriptions",
        "wakes_at",
        "why",
    )

    def __init__(self, session_id: str, *, acknowledges: bool, position: int) -> None:
        """:param position: of the last log entry that the session does not get."""
        self.id = session_id
        self.acknowledges = acknowledges
        self.subscriptions: set[str] = set()
        self.queue: list[Entry] = []
        self.queued_bytes = 0
        self.backlog: Backlog | None = None
        self.counted = 0
        self.sent = 0
        self.repeats = 0
        self.seen = position
        self.stream: Stream | None = None
        self.held: Deferred[Delivery] | None = None
        self.hold_until = 0.0
        self.deadline = 0.0
        self.wakes_at = NEVER
        self.dirty = False
        self.moved = False
        self.ended: Reason | None = None
        self.why: str | None = None

    @property
    def waiting(self) -> bool:
        """Whether entries are queued that have not been sent."""
        return len(self.queue) > self.sent

    @property
    def answers_carry_messages(self) -> bool:
        """Whether messages are sent with connect replies, not on a stream."""
        return self.acknowledges or self.stream is None

    def take(self, octets: float = WRITE_BYTES) -> Sequence[Entry]:
        """Return what is to be sent now, in order.

        It leaves the queue, unless the session acknowledges.

        :param octets: most bytes to take, unless the first message is larger.
        """
        if self.queued_bytes > octets:
            return self._take_some(octets)
        entries = self.queue
        if self.acknowledges:
            fresh = entries[self.sent :]
            self.sent = len(entries)
            if fresh:
                self.seen = fresh[-1].position
            return fresh
        if self.counted:
            self.discount()
        self.queue = []
        self.queued_bytes = 0
        return entries

    def _take_some(self, octets: float) -> Sequence[Entry]:
        start = self.sent
        end, size = start, 0
        for entry in islice(self.queue, start, None):
            size += len(entry.json)
            if size > octets and end > start:
                size -= len(entry.json)
                break
            end += 1
        entries = self.queue[start:end]
        if self.acknowledges:
            self.sent = end
            if entries:
                self.seen = entries[-1].position
        else:
            self.discount(end)
            del self.queue[:end]
            self.queued_bytes -= size
        return entries

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Queue entries that could not be written, ahead of the others."""
        self.queue[:0] = entries
        self.queued_bytes += sum(len(entry.json) for entry in entries)
        if self.backlog is not None:
            self.backlog.add(entries)
            self.counted += len(entries)

    def count(self) -> None:
        """Count all of the queue in the backlog: it waits."""
        counted, queue = self.counted, self.queue
        if counted < len(queue) and self.backlog is not None:
            self.counted = len(queue)
            self.backlog.add(queue[counted:] if counted else queue)

    def discount(self, entries: int | None = None) -> None:
        """Take the first entries of the queue, by default all, out of the backlog."""
        leaving = self.counted if entries is None else min(entries, self.counted)
        if leaving and self.backlog is not None:
            self.backlog.remove(self.queue[:leaving])
            self.counted -= leaving

    def acknowledge(self, position: int | None) -> bool:
        """Drop the entries up to ``position``; the others are to be sent again.

        A position beyond the last one sent counts as that one; None acknowledges
        nothing.  Return whether to continue: a client that acknowledges nothing is
        not sent the same messages for ever (compare CVE-2025-53114).
        """
        known = -1 if position is None else min(position, self.seen)
        count = 0
        while count < self.sent and self.queue[count].position <= known:
            self.queued_bytes -= len(self.queue[count].json)
            count += 1
        self.repeats = self.repeats + 1 if self.sent and not count else 0
        self.discount(count)
        del self.queue[:count]
        self.sent = 0
        return self.repeats < MAX_REPEATS

    def mark_sent(self, position: int) -> None:
        """Record that the client was sent everything up to ``position`` elsewhere."""
        self.seen = max(self.seen, position)
        while (
            self.sent < len(self.queue) and self.queue[self.sent].position <= position
        ):
            self.sent += 1

    def withdraw(self, held: Deferred[Delivery]) -> None:
        """Forget a held connect: its connection is gone."""
        if self.held is held:
            self.held = None

    def exceeds(self, limits: Limits) -> bool:
        """Return whether the queue is over its limit."""
        return (
            len(self.queue) > limits.queue_messages
            or self.queued_bytes > limits.queue_bytes
        )

    def clear(self) -> None:
        """Empty the queue."""
        self.discount()
        self.queue = []
        self.queued_bytes = self.sent = 0

    def __repr__(self) -> str:
        return f"<Session {self.id[:8]}>"
