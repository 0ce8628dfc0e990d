"""The way out: answers and messages through the outgoing extensions.

Where no extension wants them, entries pass as they are, shared by everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.logger import Logger

from txbayeux.events import Reason
from txbayeux.extension import Pipeline
from txbayeux.interfaces import Delivery, Engine, Request, Stream
from txbayeux.message import Entry, Message, encode
from txbayeux.response import Response
from txbayeux.server.exchange import ConnectAnswer

__all__ = ["Outgoing"]

_log: Final = Logger()


class Outgoing:
    """The outgoing extensions, for answers and for streams."""

    def __init__(self, pipeline: Pipeline, engine: Engine) -> None:
        self._pipeline = pipeline
        self._engine = engine

    def response(
        self, slots: Sequence[Message | ConnectAnswer | None], request: Request | None
    ) -> Deferred[Response]:
        """Put an answer together: messages before the connect reply they go with.

        A client that dies half-way through has then seen less than the reply's
        ``ext.ack`` says, never more.
        """
        items: list[Message | Entry] = []
        delivery: Delivery | None = None
        for slot in slots:
            if isinstance(slot, ConnectAnswer):
                items += slot.delivery.entries
                items.append(slot.reply)
                delivery = slot.delivery
            elif slot is not None:
                items.append(slot)
        if not any(self._sees(item) for item in items):
            return succeed(Response(items, None, delivery))
        return ensureDeferred(self._piped(items, request, delivery))

    def outlet(self, stream: Stream, request: Request) -> Stream:
        """See :meth:`txbayeux.response.Processor.outlet`."""
        if self._pipeline.meta_only:
            return stream
        return _Outlet(stream, request, self)

    def detach(self, stream: Stream, unsent: Sequence[Entry]) -> None:
        """See :meth:`txbayeux.response.Processor.detach`."""
        if isinstance(stream, _Outlet):
            unsent = stream.lost(unsent)
        self._engine.detach(stream, unsent)

    def resume(self, stream: Stream) -> None:
        """Tell the engine that ``stream`` is writable again."""
        self._engine.resume(stream)

    async def pipe(self, entry: Entry, request: Request) -> Entry | None:
        """Pass one message through; None if it was dropped, or its extension failed."""
        if not self._pipeline.sees(entry.channel):
            return entry
        message = await _settled(self._pipeline.run(entry.message(), request))
        if message is None or message.get("error"):
            return None
        return Entry(entry.position, entry.channel, encode(message))

    def _sees(self, item: Message | Entry) -> bool:
        channel = item.channel if isinstance(item, Entry) else item.get("channel")
        return self._pipeline.sees(channel)

    async def _piped(
        self,
        items: Sequence[Message | Entry],
        request: Request | None,
        delivery: Delivery | None,
    ) -> Response:
        passed: list[Message | Entry] = []
        for item in items:
            if not self._sees(item):
                passed.append(item)
                continue
            isolated = item.message() if isinstance(item, Entry) else item
            message = await _settled(self._pipeline.run(isolated, request))
            if message is None or (isinstance(item, Entry) and message.get("error")):
                continue
            if message.get("error") and message.get("successful"):
                message["successful"] = False
            passed.append(message)
        return Response(passed, None, delivery)


async def _settled(outcome: Any) -> Message | None:
    if isinstance(outcome, Deferred):
        outcome = await outcome
    message: Message | None = outcome
    return message


class _Outlet:
    """A stream whose messages pass the outgoing extensions, one after the other."""

    def __init__(self, stream: Stream, request: Request, outgoing: Outgoing) -> None:
        self._stream = stream
        self._request = request
        self._outgoing = outgoing
        self._busy: Sequence[Entry] = ()
        self.yields_to_polls = stream.yields_to_polls

    @property
    def writable(self) -> bool:
        """No while extensions are at work: what comes meanwhile stays queued."""
        return not self._busy and self._stream.writable

    def send(self, entries: Sequence[Entry]) -> None:
        self._busy = entries
        ensureDeferred(self._send(entries))

    async def _send(self, entries: Sequence[Entry]) -> None:
        for index, entry in enumerate(entries):
            self._busy = entries[index:]
            try:
                passed = await self._outgoing.pipe(entry, self._request)
            except Exception:
                _log.failure(
                    "Piping a message on {channel} failed", channel=entry.channel
                )
                continue
            if not self._busy:
                return
            if passed is not None:
                self._stream.send([passed])
        self._busy = ()
        self._outgoing.resume(self)

    def lost(self, unsent: Sequence[Entry]) -> Sequence[Entry]:
        """Hear that the connection is gone; give what had not been written."""
        busy, self._busy = self._busy, ()
        return [*unsent, *busy]

    def replaced(self) -> None:
        self._stream.replaced()

    def close(self, reason: Reason) -> None:
        self._stream.close(reason)
