"""A client of a scripted server, and what it reported."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher

from txbayeux.client import State
from txbayeux.testing import ClientRequest as Request
from txbayeux.testing import FakeTransport, ScriptedServer

__all__ = ["Harness", "Request", "no_logged_failures", "outcome"]


class Harness(ScriptedServer):
    """A server that answers correctly, unless a test says otherwise, and one client.

    :param types: the client's connection types.
    :param options: the client's.
    """

    def __init__(
        self, types: Sequence[str] = ("websocket", "long-polling"), **options: Any
    ) -> None:
        super().__init__()
        self.states: list[State] = []
        self.failures: list[Exception] = []
        self.client = self.new_client(transports=types, **options)
        self.client.on_state(lambda new, old: self.states.append(new))
        self.client.on_failure(self.failures.append)

    @property
    def transports(self) -> list[FakeTransport]:
        return self.connections

    def count(self, channel: str) -> int:
        return len(self.sent(channel))

    def connect(self) -> None:
        self.client.connect()
        self.advance()
        assert self.client.state is State.CONNECTED
        assert self.held_connect

    def pass_time(self, seconds: float) -> None:
        self.advance(seconds)


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Return a list that gets the Deferred's result or exception when it fires."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda f: results.append(f.value))
    return results


@contextmanager
def no_logged_failures() -> Generator[None]:
    """Assert that nothing is logged as a failure."""
    failures: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    assert failures == []
