"""What scripted servers on a real port share: HTTP, and sessions with queues."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

__all__ = ["BayeuxSite", "Message", "Session", "serving", "until"]

Message = dict[str, Any]


class Session:
    """A session, its queue, and the connect that is held for it."""

    def __init__(self, session_id: str) -> None:
        self.id = session_id
        self.queue: list[Message] = []
        self.subscriptions: set[str] = set()
        self.held: Callable[[list[Message]], None] | None = None
        """Answers the connect with these messages ahead of its reply."""
        self.connects = 0

    def deliver(self, message: Message) -> None:
        self.queue.append(message)
        self.answer()

    def answer(self) -> None:
        """Answer the held connect, if there is one, with what is queued."""
        held, self.held = self.held, None
        if held is not None:
            queue, self.queue = self.queue, []
            held(queue)


class BayeuxSite(Resource):
    """A server that a subclass makes particular.  It knows one request path.

    :meth:`refusal` may refuse any message, :meth:`subscribed` queues what is replayed.
    """

    isLeaf = True
    path = b"/"
    types: tuple[str, ...] = ("long-polling",)
    connect_advice: ClassVar[Message | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.sessions: dict[str, Session] = {}
        self.received: list[Message] = []
        self._ids = itertools.count(1)

    def sent(self, channel: str) -> list[Message]:
        """Return what clients sent on a meta channel, in order."""
        return [message for message in self.received if message["channel"] == channel]

    # For subclasses.

    def refusal(self, message: Message, request: Request | None) -> Message | None:
        """Return the fields of a reply that refuses a message; None to accept it."""
        return None

    def subscribed(self, session: Session, message: Message) -> None:
        """Called with each subscription that is accepted."""

    def handshaken(self, session: Session, request: Request | None) -> None:
        """Called with each new session."""

    # HTTP.

    def render_POST(self, request: Request) -> Any:
        if request.path != self.path:
            request.setResponseCode(404)
            return b""
        assert request.content is not None
        answers: list[Message] = []
        messages = json.loads(request.content.read())
        waiting = len(messages)

        def answered(replies: list[Message]) -> None:
            nonlocal waiting
            waiting -= 1
            answers.extend(replies)
            if not waiting:
                request.setHeader("Content-Type", "application/json;charset=UTF-8")
                request.write(json.dumps(answers).encode())
                request.finish()

        def gone(_: object) -> None:
            for session in self.sessions.values():
                if session.held in mine:
                    session.held = None

        mine: list[Any] = []
        request.notifyFinish().addErrback(gone)
        for message in messages:
            held = self.process(message, request, answered)
            mine.append(held)
        return NOT_DONE_YET

    # Bayeux.

    def process(
        self,
        message: Message,
        request: Request | None,
        answer: Callable[[list[Message]], None],
    ) -> object:
        """Answer a message, perhaps later: then return what is held."""
        self.received.append(message)
        channel = message["channel"]
        reply = {"channel": channel, "id": message["id"], "successful": True}
        refused = self.refusal(message, request)
        session = self.sessions.get(message.get("clientId", ""))
        if refused is not None:
            answer([reply | {"successful": False} | refused])
        elif channel == "/meta/handshake":
            session = Session(f"session{next(self._ids)}")
            self.sessions[session.id] = session
            self.handshaken(session, request)
            types = list(self.types)
            reply |= {"clientId": session.id, "supportedConnectionTypes": types}
            answer([reply | {"version": "1.0", "minimumVersion": "1.0"}])
        elif session is None:
            answer([reply | {"successful": False} | self.unknown_session(message)])
        elif channel == "/meta/connect":
            return self._connect(session, reply, answer)
        elif channel == "/meta/subscribe":
            session.subscriptions.add(message["subscription"])
            answer([reply | {"subscription": message["subscription"]}])
            self.subscribed(session, message)
        else:
            if channel == "/meta/disconnect":
                del self.sessions[session.id]
                session.answer()
            answer([reply])
        return None

    def unknown_session(self, message: Message) -> Message:
        """Return the fields of the reply for a session that does not exist."""
        return {"error": "402::Unknown client"}

    def _connect(
        self,
        session: Session,
        reply: Message,
        answer: Callable[[list[Message]], None],
    ) -> object:
        def respond(messages: list[Message]) -> None:
            # What was revoked while the connect was held is refused now.
            refused = self.held_refusal(session)
            answer([*messages, reply | refused])

        if self.connect_advice is not None:
            reply["advice"] = self.connect_advice
        session.answer()
        session.connects += 1
        session.held = respond
        if session.connects == 1 or session.queue or self.held_refusal(session):
            session.answer()
        return respond

    def held_refusal(self, session: Session) -> Message:
        """Return fields that make the reply to a held connect a refusal."""
        return {}


@contextmanager
def serving(resource: BayeuxSite) -> Iterator[str]:
    """Serve on a port of 127.0.0.1; return the URL of the port, without a path."""
    port = reactor.listenTCP(0, Site(resource), interface="127.0.0.1")  # type: ignore[attr-defined]
    try:
        yield f"http://127.0.0.1:{port.getHost().port}"
    finally:
        for session in resource.sessions.values():
            session.answer()
        pytest_twisted.blockon(maybeDeferred(port.stopListening))


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; fail if it is not true within two minutes."""
    clock: Any = reactor
    deadline = clock.seconds() + 120
    while not condition():
        assert clock.seconds() < deadline, "this did not happen"
        await deferLater(clock, 0.01, lambda: None)
