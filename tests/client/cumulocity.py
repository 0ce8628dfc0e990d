"""A server that does what Cumulocity's documentation says.

Source: Cumulocity, "Real-time notifications": "Handshake", and the remark on Accept.
"""

from __future__ import annotations

import json
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.web.http import Request

from .bayeux_site import BayeuxSite, Message

__all__ = ["PATH", "Cumulocity"]

PATH = "/notification/realtime"


class Cumulocity(BayeuxSite):
    """Advises nothing.  Wants a token in ``ext`` of a WebSocket's handshake, and an
    ``Accept`` header and Basic authentication, or a cookie, with other requests.
    """

    path = PATH.encode()
    types = ("websocket", "long-polling")

    def __init__(self) -> None:
        super().__init__()
        self.tokens = {"first"}
        """Those that are valid, in ``ext`` and in the cookie ``authorization``."""
        self.headers: list[dict[str, str | None]] = []
        """Some headers of each request that was not for a WebSocket."""
        factory = WebSocketServerFactory()
        factory.protocol = lambda: _WebSocket(self)
        self._websocket = WebSocketResource(factory)

    def publish(self, channel: str, data: object) -> None:
        for session in list(self.sessions.values()):
            if channel in session.subscriptions:
                session.deliver({"channel": channel, "data": data, "id": "139"})

    def render(self, request: Request) -> Any:
        if request.getHeader("Upgrade") is not None:
            return self._websocket.render(request)
        names = ("Accept", "Authorization", "X-XSRF-TOKEN")
        self.headers.append({name: request.getHeader(name) for name in names})
        if request.getHeader("Accept") is None:
            return b""  # "otherwise an empty response body will be returned"
        cookie = request.getCookie(b"authorization") or b""
        basic = request.getUser() == b"t1/alice" and request.getPassword() == b"s3cret"
        if not basic and cookie.decode() not in self.tokens:
            request.setResponseCode(401)
            return json.dumps({"error": "security/Unauthorized"}).encode()
        return super().render(request)

    def refusal(self, message: Message, request: Request | None) -> Message | None:
        if message["channel"] != "/meta/handshake" or request is not None:
            return None
        authn = message.get("ext", {}).get("com.cumulocity.authn", {})
        if authn.get("token") in self.tokens:
            return None
        return {"error": "403::Handshake denied"}


class _WebSocket(WebSocketServerProtocol):  # type: ignore[misc]
    def __init__(self, server: Cumulocity) -> None:
        super().__init__()
        self._server = server

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        for message in json.loads(payload):
            self._server.process(message, None, self._answer)

    def _answer(self, messages: list[Message]) -> None:
        self.sendMessage(json.dumps(messages).encode())
