"""Publishes and subscriptions on their way: batches, retries, deadlines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from txbayeux import channel as channels
from txbayeux.client.dispatcher import Dispatcher, Flight, PendingRequest
from txbayeux.client.errors import PublishTimeout
from txbayeux.client.outbox import Envelope, Outbox
from txbayeux.client.retry import Backoff
from txbayeux.client.session import Connection
from txbayeux.client.transport_selector import TransportSelector
from txbayeux.errors import BayeuxError
from txbayeux.message import Message
from txbayeux.transport.base import Transport, TransportError

__all__ = ["Sender"]

MAX_BATCH: Final = 100
"""Messages in one batch: a tenth of what our server takes in one request."""
WINDOW: Final = 8
"""Batches in flight where the transport keeps their order."""
_TOO_LARGE: Final = frozenset({400, 413, 414, 431})
"""HTTP statuses, and 413 for a socket's 1009, that say that a request is the
matter, not the server: no retry of it will ever succeed."""


class _Batch:
    """Envelopes in flight together."""

    __slots__ = ("envelopes", "flight", "left", "session", "transport")

    def __init__(
        self, session: str, transport: Transport, envelopes: list[Envelope]
    ) -> None:
        self.session = session
        self.transport = transport
        self.envelopes = envelopes
        self.left = len(envelopes)
        self.flight: Flight | None = None


class Sender:
    """Sends what waits in the outbox whenever it can be sent, in order."""

    def __init__(
        self,
        reactor: Any,
        outbox: Outbox,
        *,
        dispatcher: Dispatcher,
        connection: Connection,
        selector: TransportSelector,
        backoff: Backoff,
        troubled: Callable[[Exception], None],
    ) -> None:
        self._reactor = reactor
        self._outbox = outbox
        self._dispatcher = dispatcher
        self._connection = connection
        self._selector = selector
        self._backoff = backoff
        self._troubled = troubled
        self._batches: dict[_Batch, None] = {}
        self._pause: Any = None
        self._careful = False
        """Send one at a time: one of them was refused for what it is."""

    def pump(self) -> None:
        """Send what can be sent now."""
        while (
            self._connection.sendable and self._pause is None and self._outbox.waiting
        ):
            transport = self._selector.current
            if self._batches and not self._may_follow(transport):
                return
            limit = 1 if self._careful else MAX_BATCH
            self._send(transport, self._outbox.take(limit, transport.batch_bytes))

    def _may_follow(self, transport: Transport) -> bool:
        """Tell whether a batch would arrive behind those that are in flight."""
        return (
            transport.pipelined
            and not self._careful
            and len(self._batches) < WINDOW
            and all(batch.transport is transport for batch in self._batches)
        )

    def _send(self, transport: Transport, envelopes: list[Envelope]) -> None:
        session = cast(str, self._connection.session)
        batch = _Batch(session, transport, envelopes)
        self._batches[batch] = None
        self._selector.loaded(transport)
        requests = []
        for envelope in envelopes:
            envelope.attempts += 1
            decoded = self._dispatcher.looks_at(envelope.fields["channel"])
            message = envelope.message(decoded=decoded)
            message["clientId"] = session
            requests.append(self._request(batch, envelope, message))
        delay = self._selector.network_delay
        batch.flight = self._dispatcher.send(transport, requests, delay)

    def _request(
        self, batch: _Batch, envelope: Envelope, message: Message
    ) -> PendingRequest:
        def replied(reply: Message) -> None:
            self._replied(batch, envelope, reply)
            self._ended(batch)

        def failed(error: Exception) -> None:
            self._failed(batch, envelope, error)
            self._ended(batch)

        return PendingRequest(message, replied, failed)

    def _replied(self, batch: _Batch, envelope: Envelope, reply: Message) -> None:
        advice = reply.get("advice")
        advised = advice.get("reconnect") if isinstance(advice, dict) else None
        if reply["successful"] is True:
            self._backoff.reset()
        else:
            error = BayeuxError.parse(reply.get("error"))
            if error.code == 402 or advised == "handshake":
                self._again(envelope, error)
                self._connection.lose_session(batch.session, error, reply)
                return
            if error.code == 503 and envelope.fields["channel"] == channels.SUBSCRIBE:
                # The server cannot tell now; the user's wish stands.
                self._again(envelope, error)
                self._wait(error)
                return
        if self._outbox.settle(envelope):
            envelope.then.answered(reply)

    def _failed(self, batch: _Batch, envelope: Envelope, error: Exception) -> None:
        if envelope.settled:
            return
        if not isinstance(error, TransportError):  # an extension kept it back
            self._abandon(envelope, error)
            return
        if error.status in _TOO_LARGE:
            if len(batch.envelopes) == 1:
                why = f"The server refuses the request: {error}"
                channel = envelope.fields["channel"]
                self._abandon(envelope, BayeuxError(413, (channel,), why))
                return
            self._careful = True
        self._again(envelope, error)
        self._connection.doubt(batch.transport, error)
        if self._connection.sendable:
            self._wait(error)

    def _wait(self, error: Exception) -> None:
        if self._pause is None:
            self._pause = self._reactor.callLater(self._backoff.next(), self._resume)
            self._troubled(error)

    def _again(self, envelope: Envelope, error: Exception) -> None:
        if envelope.exhausted:
            expired = PublishTimeout(
                envelope.fields["channel"], "No reply after all attempts"
            )
            expired.__cause__ = error
            self._abandon(envelope, expired)
        else:
            self._outbox.give_back([envelope])

    def _abandon(self, envelope: Envelope, error: Exception) -> None:
        if self._outbox.settle(envelope):
            envelope.then.abandoned(error)

    def _ended(self, batch: _Batch) -> None:
        batch.left -= 1
        if batch.left:
            return
        self._batches.pop(batch, None)
        self._selector.unloaded(batch.transport)
        if self._careful and not self._outbox.waiting:
            self._careful = False
        self.pump()

    def _resume(self) -> None:
        self._pause = None
        self.pump()

    def stop(self) -> None:
        """Send no more, and leave nothing in the reactor."""
        pause, self._pause = self._pause, None
        if pause is not None:
            pause.cancel()
        for batch in list(self._batches):
            if batch.flight is not None:
                batch.flight.give_up()
