"""A server whose answers the test determines, for what no good server does."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from txbayeux import channel as channels
from txbayeux.message import Message
from txbayeux.testing.fake_server import CONNECTION_TYPES, FakeServer
from txbayeux.testing.transport import ClientRequest

__all__ = ["ScriptedServer"]


class ScriptedServer(FakeServer):
    """A server that answers as the test says, within the call in which a client asks.

    It knows no sessions, and delivers nothing by itself.  A test assigns
    :attr:`respond`, and uses :meth:`reply_to_all` for whatever is to be right.

    ::

        def respond(request):
            if "/meta/subscribe" in request.channels:
                server.answer(request, error="403::Not today")
            else:
                server.reply_to_all(request)

        server = ScriptedServer()
        server.respond = respond

    :param clock: see :class:`FakeServer`.
    """

    def __init__(self, clock: Any = None) -> None:
        super().__init__(clock)
        self.respond: Callable[[ClientRequest], None] = self.reply_to_all
        """Called with each request; may also answer it later, or never."""
        self.offer: list[str] = list(CONNECTION_TYPES)
        """The connection types in replies to handshakes."""
        self.advice: Message = {}
        """The advice in replies to handshakes and connects."""
        self._session_ids = itertools.count(1)

    def serve(self, request: ClientRequest) -> None:
        """Pass a request to :attr:`respond`."""
        self.respond(request)

    # Answers.

    def reply_to_all(self, request: ClientRequest) -> None:
        """Answer as a correct server does, but hold connects for ever."""
        if not any(self.is_held(message) for message in request.unrefused):
            request.answer(*[self.reply(message) for message in request.unrefused])

    @staticmethod
    def is_held(message: Message) -> bool:
        """Return whether ``message`` is a connect that may wait for messages."""
        at_once: bool = message.get("advice", {}).get("timeout") == 0
        return message["channel"] == channels.CONNECT and not at_once

    def reply(self, message: Message, **fields: Any) -> Message:
        """Return the reply to ``message``; unsuccessful if ``error`` is given.

        :param fields: are added to the reply, or replace what is there.  Sessions are
            called ``session1``, ``session2`` and so on.
        """
        channel = message["channel"]
        reply: Message = {"channel": channel, "id": message["id"], "successful": True}
        if channel == channels.HANDSHAKE:
            reply |= {
                "version": "1.0",
                "clientId": f"session{next(self._session_ids)}",
                "supportedConnectionTypes": self.offer,
            }
        if channel in (channels.HANDSHAKE, channels.CONNECT) and self.advice:
            reply["advice"] = self.advice
        if channel in (channels.SUBSCRIBE, channels.UNSUBSCRIBE):
            reply["subscription"] = message["subscription"]
        reply |= fields
        if "error" in fields:
            reply["successful"] = False
        return reply

    def answer(self, request: ClientRequest, *messages: Message, **fields: Any) -> None:
        """Answer a request of one message; ``messages`` come after the reply.

        :param fields: of the reply; see :meth:`reply`.
        """
        request.answer(self.reply(request.messages[0], **fields), *messages)

    def deliver(self, channel: str, data: object, **fields: Any) -> None:
        """Deliver a message together with the reply to the held connect."""
        message = {"channel": channel, "data": data, **fields}
        self.answer(self.held_connect, message)

    # Requests.

    def last(self, channel: str) -> ClientRequest:
        """Return the last request with a message on ``channel``."""
        return [request for request in self.requests if channel in request.channels][-1]

    @property
    def held_connect(self) -> ClientRequest:
        """The one connect that waits for its answer.

        :raises ValueError: if there is none, or more than one.
        """
        [request] = [
            request
            for request in self.requests
            if request.open and request.channels == [channels.CONNECT]
        ]
        return request
