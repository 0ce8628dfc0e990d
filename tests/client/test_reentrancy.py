"""What users do on hearing of something, from inside the client's own calls."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from txbayeux.client import State
from txbayeux.errors import BayeuxError

from .stage import Request, Stage, outcome
from .test_chance import nothing_logged_as_failure

Server = Callable[[Stage, Request], None]


def refusing(stage: Stage, request: Request) -> None:
    advice = {"reconnect": "none"}
    request.answer(
        *[stage.reply(m, error="401::No", advice=advice) for m in request.messages]
    )


def forgetting(stage: Stage, request: Request) -> None:
    request.answer(*[stage.reply(m, error="402::Unknown") for m in request.messages])


def dropping(stage: Stage, request: Request) -> None:
    request.transport.drop()


def ending(stage: Stage, request: Request) -> None:
    advice = {"reconnect": "none"}
    request.answer(*[stage.reply(m, advice=advice) for m in request.messages])


SERVERS: list[Server] = [refusing, forgetting, dropping, ending]


class User:
    """Does the same thing whenever she hears of one thing, three times at most."""

    def __init__(self, stage: Stage, does: str) -> None:
        self.client = stage.client
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

    def hear(self, of: State | str) -> None:
        """Listen to a state or failures, or to the end of what she asks."""
        client = self.client
        if isinstance(of, State):
            client.on_state(lambda new, old: self() if new is of else None)
        elif of == "failure":
            client.on_failure(self)
        for name, asked in (
            ("published", client.publish("/a", 1)),
            ("ready", client.subscribe("/a", print).ready),
            ("connected", client.connect()),
        ):
            if of == name:
                asked.addBoth(self)
            asked.addErrback(lambda _: None)


@pytest.mark.parametrize("does", ["connect", "ask", "disconnect"])
@pytest.mark.parametrize(
    "of",
    [*State, "failure", "published", "ready", "connected"],
    ids=lambda of: of if isinstance(of, str) else of.name,
)
def test_nothing_that_is_done_on_hearing_of_anything_confuses_the_client(
    of: State | str, does: str
) -> None:
    for server, first in itertools.product(SERVERS, (0, 2)):
        with nothing_logged_as_failure():
            play(server, first, of, does)


def play(server: Server, first: int, of: State | str, does: str) -> None:
    """Let a server go wrong for three requests, in the middle of what a user does."""
    stage = Stage()
    requests = itertools.count()

    def serve(request: Request) -> None:
        if first <= next(requests) < first + 3:
            server(stage, request)
        else:
            stage.serve(request)

    stage.server = serve
    user = User(stage, does)
    user.hear(of)
    stage.pass_time(20, step=0.5)
    state = stage.client.state
    assert state in (State.CONNECTED, State.REFUSED, State.DISCONNECTED)
    if state is State.CONNECTED:  # whatever came before
        [reply] = outcome(stage.client.publish("/a", 2))
        assert reply["successful"] is True
    ended = outcome(stage.client.disconnect())
    stage.pass_time(8, step=0.5)
    assert ended == [None]
    assert stage.clock.getDelayedCalls() == []
    assert all(user.outcomes)


def test_whoever_connects_again_on_a_refusal_is_told_of_the_next_one_only() -> None:
    stage = Stage()
    stage.server = lambda request: refusing(stage, request)
    again: list[list[Any]] = []

    def refused(new: State, old: State) -> None:
        if new is State.REFUSED:
            stage.server = stage.serve
            again.append(outcome(stage.client.connect()))
            again.append(outcome(stage.client.publish("/a", 2)))

    stage.client.on_state(refused)
    [error] = outcome(stage.client.publish("/a", 1))
    assert isinstance(error, BayeuxError)
    stage.pass_time(1)
    assert again[0] == [None]
    assert again[1][0]["successful"] is True


def test_what_is_asked_on_hearing_of_a_session_comes_behind_the_subscriptions() -> None:
    stage = Stage()

    def began(new: State, old: State) -> None:
        if new is State.CONNECTING:
            stage.client.publish("/a", 1)

    stage.client.on_state(began)
    stage.client.subscribe("/a", print)
    stage.pass_time(1)
    sent = [channel for request in stage.requests for channel in request.channels]
    assert sent.index("/meta/subscribe") < sent.index("/a")
    assert sent.index("/meta/connect") < sent.index("/a")
