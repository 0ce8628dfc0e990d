"""The way out: answers and messages through the outgoing extensions.

Where no extension wants them, entries pass as they are, shared by everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txbayeux import channel as channels
from txbayeux.errors import server_error
from txbayeux.events import Reason
from txbayeux.extension import Pipeline
from txbayeux.interfaces import Delivery, Engine, Request, Stream
from txbayeux.message import Entry, Message, encode
from txbayeux.protocol import Response, Returnable
from txbayeux.server.context import ConnectAnswer
from txbayeux.server.extension_stream import ExtensionStream, TransformedEntry
from txbayeux.server.replies import refusal, refuse

__all__ = ["Outgoing"]

_log: Final = Logger()


class Outgoing:
    """The outgoing extensions, for answers and for streams."""

    def __init__(self, pipeline: Pipeline, engine: Engine) -> None:
        self._pipeline = pipeline
        self._engine = engine

    def response(
        self, slots: Sequence[Message | ConnectAnswer | None], request: Request | None
    ) -> Response | Deferred[Response]:
        """Put an answer together: messages before the connect reply they go with.

        A client that dies half-way through has then seen less than the reply's
        ``ext.ack`` says, never more.
        """
        items: list[Message | Entry] = []
        deliveries: list[Delivery] = []
        for slot in slots:
            if isinstance(slot, ConnectAnswer):
                items += slot.delivery.entries
                items.append(slot.reply)
                if slot.delivery.entries:
                    deliveries.append(slot.delivery)
            elif slot is not None:
                items.append(slot)
        delivery: Returnable | None = None
        if deliveries:
            delivery = deliveries[0] if len(deliveries) == 1 else _Several(deliveries)
        if self._pipeline.empty or not any(self._sees(item) for item in items):
            return Response(items, None, delivery)
        return Deferred.fromCoroutine(self._piped(items, request, delivery))

    def wrap_stream(self, stream: Stream, request: Request) -> Stream:
        """See :meth:`txbayeux.protocol.Processor.wrap_stream`."""
        if self._pipeline.meta_only:
            return stream
        return ExtensionStream(
            stream, lambda entry: self._pipe(entry, request), self._engine
        )

    def detach(self, stream: Stream, unsent: Sequence[Entry]) -> None:
        """See :meth:`txbayeux.protocol.Processor.detach`."""
        if isinstance(stream, ExtensionStream):
            unsent = stream.lost(unsent)
        self._engine.hub.detach(stream, unsent)

    def resume(self, stream: Stream) -> None:
        """See :meth:`txbayeux.protocol.Processor.resume`."""
        if isinstance(stream, ExtensionStream):
            stream.resume()
        else:
            self._engine.hub.resume(stream)

    def _sees(self, item: Message | Entry) -> bool:
        channel = item.channel if isinstance(item, Entry) else item.get("channel")
        return self._pipeline.applies_to(channel)

    async def _piped(
        self,
        items: Sequence[Message | Entry],
        request: Request | None,
        delivery: Returnable | None,
    ) -> Response:
        passed: list[Message | Entry] = []
        for item in items:
            outcome: Any = (
                self._pipe(item, request)
                if isinstance(item, Entry)
                else self._pipe_reply(item, request)
            )
            if isinstance(outcome, Deferred):
                outcome = await outcome
            if outcome is not None:
                passed.append(outcome)
        return Response(passed, None, delivery)

    # One message

    def _pipe(
        self, entry: Entry, request: Request | None
    ) -> Entry | Deferred[Entry | None] | None:
        """Give what becomes of a published message, None if it is dropped."""
        if not self._pipeline.applies_to(entry.channel):
            return entry

        def passed(message: Message | None) -> Entry | None:
            json = _encoded(message)
            if json is None or message is None or message.get("error"):
                return None
            return TransformedEntry(entry, json)

        outcome = self._pipeline.run(entry.message(), request)
        if isinstance(outcome, Deferred):
            return outcome.addCallback(passed)
        return passed(outcome)

    def _pipe_reply(
        self, reply: Message, request: Request | None
    ) -> Message | Deferred[Message | None] | None:
        """Give what becomes of a reply, None if it is dropped."""
        if not self._sees(reply):
            return reply
        asked: Message = {name: reply[name] for name in _ASKED if name in reply}
        before = reply.get("advice")
        advice = dict(before) if isinstance(before, dict) else before

        def passed(message: Message | None) -> Message | None:
            if message is None:
                return None
            if message.get("error") and message.get("successful"):
                self._take_back(asked)
                refuse(message, advice)
            if _encoded(message) is None:
                return refusal(asked, server_error())
            return message

        outcome = self._pipeline.run(reply, request)
        if isinstance(outcome, Deferred):
            return outcome.addCallback(passed)
        return passed(outcome)

    def _take_back(self, asked: Message) -> None:
        """End the session whose handshake an extension refused on the way out."""
        if asked.get("channel") == channels.HANDSHAKE and "clientId" in asked:
            ended = self._engine.destroy_session(asked["clientId"], Reason.KICKED)
            ended.addErrback(lambda failure: None)


_ASKED: Final = ("channel", "id", "subscription", "clientId")
"""Fields of a reply that a refusal in its place needs."""


class _Several:
    """What the connects of one request were answered with."""

    turn = None

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries = deliveries

    def give_back(self) -> None:
        # The last one first: each puts its messages ahead of what waits.
        for delivery in reversed(self._deliveries):
            delivery.give_back()


def _encoded(message: Message | None) -> bytes | None:
    """Write what an extension made; None if it cannot be written."""
    if message is None:
        return None
    try:
        return encode(message)
    except Exception:
        _log.failure("An extension returned what JSON cannot represent")
        return None
