"""Publish and subscribe in the server's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, fail

from txbayeux import channel as channels
from txbayeux.errors import BayeuxError, channel_invalid
from txbayeux.interfaces import Engine
from txbayeux.message import Message, encode
from txbayeux.processor import Processor, Response
from txbayeux.registration import Registration
from txbayeux.server.service_channels import ServiceChannels

__all__ = ["LocalClient"]


class LocalClient:
    """A client without session or network; :meth:`.Server.client` creates it.

    What it publishes passes the incoming extensions, with None as the request.
    """

    def __init__(
        self,
        processor: Processor,
        engine: Engine,
        services: ServiceChannels,
        names: channels.Grammar = channels.BAYEUX,
    ) -> None:
        self._processor: Final = processor
        self._engine: Final = engine
        self._services: Final = services
        self._names: Final = names

    def publish(self, channel: str, data: Any) -> Deferred[None]:
        """Publish ``data``, which may be anything that JSON can represent.

        Fires when the engine has accepted the message.  Fails with
        :class:`~txbayeux.errors.BayeuxError` when it was refused.
        """
        message = {"channel": channel, "data": data}
        return self._processor.process([message], None).addCallback(_accepted)

    def subscribe(
        self, channel: str, listener: Callable[[Message], object]
    ) -> Registration:
        """Call ``listener`` with each message on a channel name or pattern.

        A message has ``channel``, ``data`` and, if its publisher gave one, ``id``; the
        listener is called in a later reactor turn than that of the publish.  On
        ``/service`` channels a message also has its publisher's ``clientId`` and
        ``ext``, and the listener is called before the publisher is answered.

        It may return a Deferred or be a coroutine function.  Nothing waits for the
        result; a failure is logged.

        :raises BayeuxError: 405 if ``channel`` is neither a name nor a pattern.
        """
        if not (self._names.is_name(channel) or self._names.is_pattern(channel)):
            raise channel_invalid(channel)

        if channels.is_service(channel):
            return self._services.listen(channel, listener)
        return self._engine.hub.listen(channel, lambda e: listener(e.message()))

    def deliver(
        self,
        session_id: str,
        channel: str,
        data: Any,
        *,
        id: str | int | None = None,  # noqa: A002 -- the name of the field
        successful: bool | None = None,
    ) -> Deferred[None]:
        """Send ``data`` to one session only, whatever it is subscribed to.

        This is how a service replies to the client that called it.

        Fails with :class:`~txbayeux.errors.UnknownSession`; with BayeuxError 405 if
        ``channel`` is not a channel name; with the encoder's error if JSON cannot
        represent ``data``.

        :param id: of the message that is answered: CometD's ``remoteCall`` finds its
            answer by it.  :meth:`.Server.on_call` does this by itself.
        :param successful: whether ``data`` is the result of a call or a failure; left
            out of the message by default.
        """
        if not self._names.is_name(channel) or channels.is_reserved(channel):
            return fail(channel_invalid(channel))
        message: Message = {"channel": channel, "data": data}
        if id is not None:
            message["id"] = id
        if successful is not None:
            message["successful"] = successful
        try:
            json = encode(message)
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
