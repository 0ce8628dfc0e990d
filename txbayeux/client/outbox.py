"""Publishes and subscriptions that the server has not answered yet.

They are sent in order, in batches, whenever the session allows it, and again until
there is an answer.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from twisted.internet.defer import Deferred

from txbayeux import channel as channels
from txbayeux.client.backoff import Backoff
from txbayeux.client.dispatcher import Dispatcher
from txbayeux.client.envelope import Envelope
from txbayeux.client.errors import PublishTimeout
from txbayeux.client.session import Session
from txbayeux.client.transports import TransportSelector
from txbayeux.errors import BayeuxError
from txbayeux.message import Message
from txbayeux.transport.base import Transport, TransportError

__all__ = ["Outbox", "Queue"]

MAX_BATCH: Final = 100
"""Messages in one batch: a tenth of what our server takes in one request."""
WINDOW: Final = 8
"""Batches in flight where the transport keeps their order."""
_TOO_LARGE: Final = frozenset({400, 413, 414, 431})
"""HTTP statuses (413 also stands for a WebSocket's 1009) that reject the request as
such: sending it again cannot succeed."""
_SLACK: Final = 100
"""The queue is compacted when settled envelopes outnumber the others by more."""


class Queue:
    """Envelopes that wait or are in flight, by their place in the order.

    Pure: no clock, no network.  An envelope is put in, taken for a batch, and removed
    once it is settled; one that was not accepted is put back in its old place.
    """

    __slots__ = ("_all", "_first", "_places", "_waiting")

    def __init__(self) -> None:
        self._places = itertools.count()
        self._first = 0
        self._waiting: list[tuple[int, Envelope]] = []
        self._all: dict[int, Envelope] = {}

    def __len__(self) -> int:
        """Return how many envelopes are not settled, in flight or not."""
        return len(self._all)

    def put(self, envelope: Envelope) -> None:
        """Add an envelope at the end."""
        envelope.place = next(self._places)
        self._all[envelope.place] = envelope
        heapq.heappush(self._waiting, (envelope.place, envelope))

    def put_first(self, envelopes: Sequence[Envelope]) -> None:
        """Add envelopes ahead of all others, in the order given."""
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

    def put_back(self, envelope: Envelope) -> None:
        """Put an envelope back in its place, ahead of what came later."""
        if not envelope.settled:
            heapq.heappush(self._waiting, (envelope.place, envelope))

    def remove(self, envelope: Envelope) -> None:
        """Mark an envelope as settled, and forget it."""
        envelope.settled = True
        del self._all[envelope.place]
        if len(self._waiting) > 2 * len(self._all) + _SLACK:
            # Deadlines may pass for hours in which nothing is taken.
            self._waiting = [item for item in self._waiting if not item[1].settled]
            heapq.heapify(self._waiting)

    def unsettled(self) -> list[Envelope]:
        """Return everything that is not settled, in order."""
        return [self._all[place] for place in sorted(self._all)]

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        while self._waiting and self._waiting[0][1].settled:
            heapq.heappop(self._waiting)
        return bool(self._waiting)


@dataclass(slots=True, eq=False)
class _Batch:
    """What is in flight together."""

    session_id: str
    transport: Transport
    envelopes: Sequence[Envelope]
    sending: Deferred[None] | None = None


class Outbox:
    """Sends what waits, and decides after each attempt whether to send it again.

    :param on_failure: called with each failure that is being recovered from.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        session: Session,
        dispatcher: Dispatcher,
        transports: TransportSelector,
        backoff: Backoff,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._reactor = reactor
        self._session = session
        self._dispatcher = dispatcher
        self._transports = transports
        self._backoff = backoff
        self._on_failure = on_failure
        self._queue = Queue()
        self._in_flight: dict[Envelope, _Batch] = {}
        self._batches: dict[_Batch, None] = {}
        self._pause: Any = None
        self._one_by_one = False
        """Whether to send single messages, since a batch was refused because of one."""

    def __len__(self) -> int:
        """Return how many messages the server has not answered yet."""
        return len(self._queue)

    def put(self, envelope: Envelope) -> None:
        """Send an envelope behind all others, in a new session if there is none."""
        self._queue.put(envelope)
        self._session.start()
        self.pump()

    def replace_meta(self, envelopes: Sequence[Envelope]) -> None:
        """Put envelopes ahead of all others, in place of those on meta channels."""
        for envelope in self._queue.unsettled():
            if channels.is_meta(envelope.channel):
                self._queue.remove(envelope)
        self._queue.put_first(envelopes)

    def settle(self, envelope: Envelope, outcome: Message | Exception) -> None:
        """Stop sending an envelope, and report its outcome; once."""
        if envelope.settled:
            return
        self._queue.remove(envelope)
        envelope.report(outcome)

    def drop(self, envelope: Envelope) -> None:
        """Stop sending an envelope, without an outcome."""
        if not envelope.settled:
            self._queue.remove(envelope)

    def take_all(self, *, unsent: bool = False) -> list[Envelope]:
        """Stop sending everything; return it, for its outcome to be reported.

        :param unsent: take only what was never sent.
        """
        taken = [e for e in self._queue.unsettled() if not (unsent and e.attempts)]
        for envelope in taken:
            self._queue.remove(envelope)
        return taken

    # Sending.

    def pump(self) -> None:
        """Send what can be sent now."""
        while self._session.sendable and self._pause is None and self._queue.waiting:
            transport = self._transports.current
            if self._batches and not self._may_follow(transport):
                return
            limit = 1 if self._one_by_one else MAX_BATCH
            self._send(transport, self._queue.take(limit, transport.batch_bytes))

    def _may_follow(self, transport: Transport) -> bool:
        """Return whether another batch may be pipelined."""
        return (
            transport.pipelined
            and not self._one_by_one
            and len(self._batches) < WINDOW
            and all(batch.transport is transport for batch in self._batches)
        )

    def _send(self, transport: Transport, envelopes: list[Envelope]) -> None:
        session_id = cast(str, self._session.id)  # it is sendable
        batch = _Batch(session_id, transport, envelopes)
        self._batches[batch] = None
        self._transports.sending(transport)
        for envelope in envelopes:
            decode = self._dispatcher.extends(envelope.channel)
            envelope.begin_attempt(session_id, decode=decode)
            self._in_flight[envelope] = batch
        sending = self._dispatcher.send(
            transport, envelopes, self._transports.network_delay
        )
        batch.sending = sending
        sending.addBoth(self._sent, batch)

    def _sent(self, _: object, batch: _Batch) -> None:
        del self._batches[batch]
        self._transports.sent(batch.transport)
        if self._one_by_one and not self._queue.waiting:
            self._one_by_one = False
        self.pump()

    def stop(self) -> None:
        """Send no more, and leave nothing in the reactor."""
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.cancel()
        for batch in list(self._batches):
            if batch.sending is not None:
                batch.sending.cancel()

    # Outcomes.

    def replied(self, envelope: Envelope, reply: Message) -> None:
        """See :meth:`~txbayeux.client.envelope.Sender.replied`."""
        batch = self._in_flight.pop(envelope)
        if reply["successful"] is True:
            self._backoff.reset()
        else:
            error = BayeuxError.from_reply(reply)
            advice = reply.get("advice")
            advised = advice.get("reconnect") if isinstance(advice, dict) else None
            if error.code == 402 or advised == "handshake":
                self._retry(envelope, error)
                self._session.lost(batch.session_id, error, reply)
                return
            if error.code == 503 and envelope.channel == channels.SUBSCRIBE:
                # The server cannot tell now; the user still wants the subscription.
                self._retry(envelope, error)
                self._wait(error)
                return
        self.settle(envelope, reply)

    def failed(self, envelope: Envelope, error: Exception) -> None:
        """See :meth:`~txbayeux.client.envelope.Sender.failed`."""
        batch = self._in_flight.pop(envelope)
        if envelope.settled:
            return
        if not isinstance(error, TransportError):  # an extension stopped it
            self.settle(envelope, error)
            return
        if error.status in _TOO_LARGE:
            if len(batch.envelopes) == 1:
                why = f"The server refuses the request: {error}"
                self.settle(envelope, BayeuxError(413, (envelope.channel,), why))
                return
            self._one_by_one = True
        self._retry(envelope, error)
        self._session.doubt(batch.transport, error)
        if self._session.sendable:
            self._wait(error)

    def _retry(self, envelope: Envelope, error: Exception) -> None:
        if envelope.exhausted:
            why = f"Not accepted after {envelope.attempts} attempts"
            timeout = PublishTimeout(envelope.channel, why)
            timeout.__cause__ = error
            self.settle(envelope, timeout)
        else:
            self._queue.put_back(envelope)

    def _wait(self, error: Exception) -> None:
        if self._pause is None:
            self._pause = self._reactor.callLater(self._backoff.next(), self._resume)
            self._on_failure(error)

    def _resume(self) -> None:
        self._pause = None
        self.pump()
