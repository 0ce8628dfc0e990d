"""A server that does what Salesforce's documentation says.

Source: "Streaming API Developer Guide", "Handling Streaming API Errors", "Message
Durability" and "How the Client Connects".
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from twisted.web.http import Request

from .bayeux_site import BayeuxSite, Message, Session

__all__ = ["Salesforce"]

PATH = "/cometd/58.0/"


class Salesforce(BayeuxSite):
    """Stores events, wants a bearer token with each request, and ties sessions to a
    cookie.

    :param gateway: whether what stands before the server answers an invalid token
        with status 401.
    """

    path = PATH.encode()
    connect_advice: ClassVar[Message] = {
        "reconnect": "retry",
        "interval": 0,
        "timeout": 110_000,
    }

    def __init__(self, *, gateway: bool = False) -> None:
        super().__init__()
        self.tokens = {"first"}
        """Those that are valid."""
        self.denied: set[str] = set()
        """Channels that nobody may subscribe to."""
        self.gateway = gateway
        self.first_id = 1
        """The oldest event that is still stored."""
        self._events: list[Message] = []
        self._owners: dict[str, tuple[str, str]] = {}
        """The cookie and the token of each session."""

    # What happens at the server.

    def publish(self, channel: str, payload: object) -> None:
        replay_id = len(self._events) + 1
        event = {"replayId": replay_id, "createdDate": "2026-01-01T00:00:00.000Z"}
        data = {"schema": "abc", "payload": payload, "event": event}
        message = {"data": data, "channel": channel}
        self._events.append(message)
        for session in list(self.sessions.values()):
            if channel in session.subscriptions:
                session.deliver(message)

    def revoke(self, token: str) -> None:
        self.tokens.discard(token)
        for session in list(self.sessions.values()):
            if self.held_refusal(session):
                session.answer()

    def forget_sessions(self) -> None:
        forgotten, self.sessions = list(self.sessions.values()), {}
        for session in forgotten:
            session.answer()

    # Requests.

    def render_POST(self, request: Request) -> Any:
        if self.gateway and _token(request) not in self.tokens:
            request.setResponseCode(401)
            request.setHeader("Content-Type", "application/json;charset=UTF-8")
            code = "INVALID_SESSION_ID"
            errors = [{"message": "Session expired or invalid", "errorCode": code}]
            return json.dumps(errors).encode()
        return super().render_POST(request)

    def refusal(self, message: Message, request: Request | None) -> Message | None:
        assert request is not None
        if message["channel"] == "/meta/handshake":
            return self._handshake_refusal(_token(request))
        cookie, _ = self._owners.get(message.get("clientId", ""), ("", ""))
        if request.getCookie(b"BAYEUX_BROWSER") != cookie.encode():
            return self.unknown_session(message)
        if message["channel"] == "/meta/subscribe":
            return self._subscription_refusal(message)
        return None

    def _handshake_refusal(self, token: str | None) -> Message | None:
        if token in self.tokens:
            return None
        needed = "401::Request requires authentication"
        reason = needed if token is None else "401::Authentication invalid"
        return {
            "ext": {"sfdc": {"failureReason": reason}, "replay": True},
            "advice": {"reconnect": "none"},
            "error": "403::Handshake denied",
        }

    def _subscription_refusal(self, message: Message) -> Message | None:
        channel = message["subscription"]
        if channel in self.denied:
            error = "403:denied_by_security_policy:create_denied"
            return {
                "subscription": channel,
                "error": error,
                "ext": {"sfdc": {"failureReason": error}},
            }
        begin = self._begin(message)
        if begin >= 0 and not self.first_id <= begin <= len(self._events):
            return {
                "subscription": channel,
                "error": f"400::The replayId {{{begin}}} you provided was invalid.  "
                "Please provide a valid ID, -2 to replay all events, or -1 to replay "
                "only new events.",
            }
        return None

    def _begin(self, message: Message) -> int:
        begin: int = message["ext"]["replay"][message["subscription"]]
        return begin

    def unknown_session(self, message: Message) -> Message:
        advice = {"interval": 0, "reconnect": "handshake"}
        return {"error": "403::Unknown client", "advice": advice}

    def handshaken(self, session: Session, request: Request | None) -> None:
        assert request is not None
        cookie = f"browser-{session.id}"
        self._owners[session.id] = (cookie, _token(request) or "")
        request.addCookie("BAYEUX_BROWSER", cookie, path="/", httpOnly=True)

    def subscribed(self, session: Session, message: Message) -> None:
        begin = self._begin(message)
        first = {-1: len(self._events) + 1, -2: self.first_id}.get(begin, begin + 1)
        for event in self._events[first - 1 :]:
            if event["channel"] == message["subscription"]:
                session.deliver(event)

    def held_refusal(self, session: Session) -> Message:
        if session.id not in self.sessions:
            return {"successful": False} | self.unknown_session({})
        if self._owners[session.id][1] in self.tokens:
            return {}
        return {
            "successful": False,
            "advice": {"reconnect": "none", "interval": 0},
            "error": "401::Authentication invalid",
        }


def _token(request: Request) -> str | None:
    kind, _, token = (request.getHeader("Authorization") or "").partition(" ")
    return token if kind == "Bearer" else None
