"""A program to test: it shows prices, says when they may be old, and sends orders."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from txbayeux import Client
from txbayeux.message import Message


class Board:
    """The last price of everything.

    :param client: is passed in, so that a test can pass in another one.
    """

    def __init__(self, client: Client) -> None:
        self.prices: dict[str, float] = {}
        self.status = "connecting"
        self._client = client
        client.on_up(lambda: self._show("live"))
        client.on_down(lambda: self._show("old"))
        self._subscription = client.subscribe("/prices/*", self._priced)
        self._subscription.ready.addErrback(lambda f: self._show(f"refused: {f.value}"))

    def _show(self, status: str) -> None:
        self.status = status

    def _priced(self, message: Message) -> None:
        self.prices[message["channel"].removeprefix("/prices/")] = message["data"]

    def order(self, name: str) -> Deferred[Any]:
        """Fire when the server has the order."""
        return self._client.publish("/orders", {"name": name})
