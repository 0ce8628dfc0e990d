"""Responses: replies and messages, after the outgoing extensions.

Entries that no extension gets stay encoded once for all subscribers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from txbayeux import channel as channels
from txbayeux.errors import server_error
from txbayeux.events import Reason
from txbayeux.extension import Pipeline
from txbayeux.interfaces import Delivery, Engine, Request, Stream
from txbayeux.message import Entry, Message, encode
from txbayeux.processor import Response, Returnable
from txbayeux.server.context import ConnectAnswer
from txbayeux.server.extension_stream import ExtensionStream, TransformedEntry
from txbayeux.server.replies import refusal, refuse

__all__ = ["Answer", "Responder"]

Answer: TypeAlias = Message | ConnectAnswer | None
"""The answer to one message; None if an extension dropped the message."""

_REFUSAL_FIELDS: Final = ("channel", "id", "subscription", "clientId")
"""Fields of a reply that are needed to refuse its request afterwards."""

_log: Final = Logger()


class Responder:
    """Builds responses, and wraps streams, with the outgoing extensions."""

    def __init__(self, extensions: Pipeline, engine: Engine) -> None:
        self._extensions: Final = extensions
        self._engine: Final = engine

    def response(
        self, answers: Sequence[Answer], request: Request | None
    ) -> Response | Deferred[Response]:
        """Return the response to a request of several messages."""
        items: list[Message | Entry] = []
        deliveries: list[Delivery] = []
        for answer in answers:
            if isinstance(answer, dict):
                items.append(answer)
            elif answer is not None:
                items += answer.delivery.entries
                items.append(answer.reply)
                if answer.delivery.entries:
                    deliveries.append(answer.delivery)
        delivery: Returnable | None = None
        if deliveries:
            delivery = deliveries[0] if len(deliveries) == 1 else _Several(deliveries)
        return self._send(items, request, delivery)

    def response_to_one(
        self, answer: Answer, request: Request | None
    ) -> Response | Deferred[Response]:
        """Return the response to a request of one message.

        Messages come before their connect's reply: a client that has received the
        reply's ``ext.ack`` has received every message that it covers.
        """
        if isinstance(answer, dict):
            return self._send([answer], request, None)
        if answer is None:
            return self._send([], request, None)
        delivery = answer.delivery
        items: list[Message | Entry] = [*delivery.entries, answer.reply]
        return self._send(items, request, delivery if delivery.entries else None)

    def _send(
        self,
        items: list[Message | Entry],
        request: Request | None,
        delivery: Returnable | None,
    ) -> Response | Deferred[Response]:
        if self._extensions.empty or not any(self._applies_to(item) for item in items):
            return Response(items, None, delivery)
        return Deferred.fromCoroutine(self._transformed(items, request, delivery))

    def wrap_stream(self, stream: Stream, request: Request) -> Stream:
        """See :meth:`txbayeux.processor.Processor.wrap_stream`."""
        if self._extensions.meta_only:
            return stream
        return ExtensionStream(
            stream, lambda entry: self._transform(entry, request), self._engine.hub
        )

    def detach(self, stream: Stream, unsent: Sequence[Entry]) -> None:
        """See :meth:`txbayeux.processor.Processor.detach`."""
        if isinstance(stream, ExtensionStream):
            unsent = stream.connection_lost(unsent)
        self._engine.hub.detach(stream, unsent)

    def resume(self, stream: Stream) -> None:
        """See :meth:`txbayeux.processor.Processor.resume`."""
        if isinstance(stream, ExtensionStream):
            stream.resume()
        else:
            self._engine.hub.resume(stream)

    def _applies_to(self, item: Message | Entry) -> bool:
        channel = item.channel if isinstance(item, Entry) else item.get("channel")
        return self._extensions.applies_to(channel)

    async def _transformed(
        self,
        items: Sequence[Message | Entry],
        request: Request | None,
        delivery: Returnable | None,
    ) -> Response:
        transformed: list[Message | Entry] = []
        for item in items:
            outcome: Any = (
                self._transform(item, request)
                if isinstance(item, Entry)
                else self._transform_reply(item, request)
            )
            if isinstance(outcome, Deferred):
                outcome = await outcome
            if outcome is not None:
                transformed.append(outcome)
        return Response(transformed, None, delivery)

    def _transform(
        self, entry: Entry, request: Request | None
    ) -> Entry | Deferred[Entry | None] | None:
        """Pass a published message through the extensions; None if it is dropped."""
        if not self._extensions.applies_to(entry.channel):
            return entry

        def passed(message: Message | None) -> Entry | None:
            json = _encoded(message)
            if json is None or message is None or message.get("error"):
                return None
            return TransformedEntry(entry, json)

        outcome = self._extensions.run(entry.message(), request)
        if isinstance(outcome, Deferred):
            return outcome.addCallback(passed)
        return passed(outcome)

    def _transform_reply(
        self, reply: Message, request: Request | None
    ) -> Message | Deferred[Message | None] | None:
        """Pass a reply through the extensions; None if it is dropped."""
        if not self._applies_to(reply):
            return reply
        original: Message = {
            name: reply[name] for name in _REFUSAL_FIELDS if name in reply
        }
        before = reply.get("advice")
        advice = dict(before) if isinstance(before, dict) else before

        def passed(message: Message | None) -> Message | None:
            if message is None:
                return None
            if message.get("error") and message.get("successful"):
                self._end_refused_session(original)
                refuse(message, advice)
            if _encoded(message) is None:
                return refusal(original, server_error())
            return message

        outcome = self._extensions.run(reply, request)
        if isinstance(outcome, Deferred):
            return outcome.addCallback(passed)
        return passed(outcome)

    def _end_refused_session(self, reply: Message) -> None:
        """End the session that a handshake created, if the reply is one's."""
        if reply.get("channel") == channels.HANDSHAKE and "clientId" in reply:
            ended = self._engine.destroy_session(reply["clientId"], Reason.KICKED)
            ended.addErrback(lambda failure: None)


class _Several:
    """The deliveries of several connects in one request."""

    turn = None

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries = deliveries

    def give_back(self) -> None:
        # The last one first: each puts its messages ahead of what waits.
        for delivery in reversed(self._deliveries):
            delivery.give_back()


def _encoded(message: Message | None) -> bytes | None:
    """Return the JSON of what extensions returned; None if there is none."""
    if message is None:
        return None
    try:
        return encode(message)
    except Exception:
        _log.failure("An extension returned what JSON cannot represent")
        return None
