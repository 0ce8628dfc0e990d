"""The server's own client: publish and subscribe in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail

from txbayeux import channel as channels
from txbayeux.errors import BayeuxError, channel_invalid
from txbayeux.interfaces import Engine
from txbayeux.message import Entry, Message, encode
from txbayeux.registration import Registration
from txbayeux.server.services import ServiceChannels

if TYPE_CHECKING:
    from txbayeux.protocol import Processor, Response

__all__ = ["LocalClient"]


class LocalClient:
    """A client without a session: no handshake, no connect, no network.

    What it publishes passes the incoming extensions, with None as the request.
    """

    def __init__(
        self, processor: Processor, engine: Engine, services: ServiceChannels
    ) -> None:
        self._processor = processor
        self._engine = engine
        self._services = services

    def publish(self, channel: str, data: Any) -> Deferred[None]:
        """Publish ``data``, anything that JSON can hold, on ``channel``.

        Fires when the engine has accepted it.  Fails with
        :class:`~txbayeux.errors.BayeuxError` when it was refused.
        """
        message = {"channel": channel, "data": data}
        return self._processor.process([message], None).addCallback(_accepted)

    def subscribe(
        self, channel: str, listener: Callable[[Message], object]
    ) -> Registration:
        """Call ``listener`` with each message on a channel name or pattern.

        On channels below ``/service`` messages carry their publisher's
        ``clientId``; on others ``channel``, ``data`` and ``id``.  Messages come
        after the reactor turn in which they were published.

        :raises BayeuxError: 405 if ``channel`` is neither a name nor a pattern.
        """
        if not (channels.is_name(channel) or channels.is_pattern(channel)):
            raise channel_invalid(channel)
        if channels.is_service(channel):

            def serve(message: Message) -> None:
                listener(message)

            self._services.listen(channel, serve)
            return Registration(lambda: self._services.unlisten(channel, serve))

        def published(entry: Entry) -> None:
            listener(entry.message())

        return self._engine.hub.listen(channel, published)

    def deliver(self, session_id: str, channel: str, data: Any) -> Deferred[None]:
        """Send ``data`` to one session only, whatever it is subscribed to.

        The answer to a service request, for one.  Fails with
        :class:`~txbayeux.errors.UnknownSession`, or with BayeuxError 405 if
        ``channel`` is no channel name.
        """
        if not channels.is_name(channel) or channels.is_reserved(channel):
            return fail(channel_invalid(channel))
        try:
            json = encode({"channel": channel, "data": data})
        except Exception:
            return fail()
        return self._engine.deliver(session_id, channel, json)


def _accepted(response: Response) -> Deferred[None] | None:
    if response.held is not None:
        return response.held.addCallback(_accepted)
    for item in response.items:
        if isinstance(item, dict) and not item.get("successful"):
            raise BayeuxError.parse(item.get("error"))
    return None
