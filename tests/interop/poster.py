"""A minimal client: one POST for each message."""

from __future__ import annotations

import json
from http.cookiejar import CookieJar
from typing import Any
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

from .client_program import DEADLINE


class Poster:
    """A session that publishes at once after its handshake, and never connects."""

    def __init__(self, url: str) -> None:
        """:param url: the mount of a server."""
        self._url = url
        # CometD's servers tie a session to a cookie.
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))
        handshake = self._post(
            {
                "channel": "/meta/handshake",
                "version": "1.0",
                "supportedConnectionTypes": ["long-polling"],
            }
        )
        self._session = handshake["clientId"]

    def publish(self, channel: str, data: Any) -> None:
        """Publish, successfully."""
        message = {"channel": channel, "data": data, "clientId": self._session}
        reply = self._post(message)
        assert reply["successful"], reply

    def _post(self, message: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps([message]).encode()
        request = Request(self._url, body, {"Content-Type": "application/json"})
        with self._opener.open(request, timeout=DEADLINE) as response:
            replies: list[dict[str, Any]] = json.load(response)
        return next(reply for reply in replies if "successful" in reply)
