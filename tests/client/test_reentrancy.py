"""Show that listeners may call the client from within its own calls."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from txbayeux.client import State
from txbayeux.errors import BayeuxError

from .harness import Harness, Request, no_logged_failures, outcome

Server = Callable[[Harness, Request], None]


def refusing(harness: Harness, request: Request) -> None:
    advice = {"reconnect": "none"}
    request.answer(
        *[harness.reply(m, error="401::No", advice=advice) for m in request.messages]
    )


def forgetting(harness: Harness, request: Request) -> None:
    request.answer(*[harness.reply(m, error="402::Unknown") for m in request.messages])


def dropping(harness: Harness, request: Request) -> None:
    request.transport.drop()


def ending(harness: Harness, request: Request) -> None:
    advice = {"reconnect": "none"}
    request.answer(*[harness.reply(m, advice=advice) for m in request.messages])


SERVERS: list[Server] = [refusing, forgetting, dropping, ending]


class Caller:
    """A listener that calls the client, three times at most."""

    def __init__(self, harness: Harness, does: str) -> None:
        self.client = harness.client
        self.does = does
        self.left = 3
        self.outcomes: list[list[Any]] = []

    def __call__(self, *_: object) -> None:
        if not self.left:
            return
        self.left -= 1
        if self.does == "disconnect":
            self.outcomes.append(outcome(self.client.disconnect()))
            return
        if self.does == "connect":
            self.outcomes.append(outcome(self.client.connect()))
        self.outcomes.append(outcome(self.client.publish("/b", 1)))
        self.outcomes.append(outcome(self.client.subscribe("/b", print).ready))

    def listen(self, event: State | str) -> None:
        """Listen for a state or failures, or to the outcome of a call."""
        client = self.client
        if isinstance(event, State):
            client.on_state(lambda new, old: self() if new is event else None)
        elif event == "failure":
            client.on_failure(self)
        for name, deferred in (
            ("published", client.publish("/a", 1)),
            ("ready", client.subscribe("/a", print).ready),
            ("connected", client.connect()),
        ):
            if event == name:
                deferred.addBoth(self)
            deferred.addErrback(lambda _: None)


@pytest.mark.parametrize("does", ["connect", "ask", "disconnect"])
@pytest.mark.parametrize(
    "event",
    [*State, "failure", "published", "ready", "connected"],
    ids=lambda event: event if isinstance(event, str) else event.name,
)
def test_any_call_from_any_listener_is_safe(event: State | str, does: str) -> None:
    for server, first in itertools.product(SERVERS, (0, 2)):
        with no_logged_failures():
            run(server, first, event, does)


def run(server: Server, first: int, event: State | str, does: str) -> None:
    """Fail three requests, while a listener calls the client."""
    harness = Harness()
    requests = itertools.count()

    def serve(request: Request) -> None:
        if first <= next(requests) < first + 3:
            server(harness, request)
        else:
            harness.reply_to_all(request)

    harness.respond = serve
    caller = Caller(harness, does)
    caller.listen(event)
    harness.pass_time(20)
    state = harness.client.state
    assert state in (State.CONNECTED, State.REFUSED, State.DISCONNECTED)
    if state is State.CONNECTED:  # whatever came before
        [reply] = outcome(harness.client.publish("/a", 2))
        assert reply["successful"] is True
    ended = outcome(harness.client.disconnect())
    harness.pass_time(8)
    assert ended == [None]
    assert harness.clock.getDelayedCalls() == []
    assert all(caller.outcomes)


def test_reconnecting_on_a_refusal_is_not_failed_by_that_refusal() -> None:
    harness = Harness()
    harness.respond = lambda request: refusing(harness, request)
    again: list[list[Any]] = []

    def refused(new: State, old: State) -> None:
        if new is State.REFUSED:
            harness.respond = harness.reply_to_all
            again.append(outcome(harness.client.connect()))
            again.append(outcome(harness.client.publish("/a", 2)))

    harness.client.on_state(refused)
    [error] = outcome(harness.client.publish("/a", 1))
    assert isinstance(error, BayeuxError)
    harness.pass_time(1)
    assert again[0] == [None]
    assert again[1][0]["successful"] is True


def test_what_a_state_listener_publishes_follows_the_subscriptions() -> None:
    harness = Harness()

    def began(new: State, old: State) -> None:
        if new is State.CONNECTING:
            harness.client.publish("/a", 1)

    harness.client.on_state(began)
    harness.client.subscribe("/a", print)
    harness.pass_time(1)
    sent = [channel for request in harness.requests for channel in request.channels]
    assert sent.index("/meta/subscribe") < sent.index("/a")
    assert sent.index("/meta/connect") < sent.index("/a")
