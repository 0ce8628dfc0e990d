"""Servers that do anything at any time, drawn by hypothesis; invariants hold."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from txbayeux.client import State
from txbayeux.transport.base import (
    NoReply,
    ReplyTimeout,
    TransportUnavailable,
    Unreachable,
)

from .stage import Request, Stage, outcome

ERRORS = [
    NoReply("x"),
    NoReply("x", 413),
    ReplyTimeout("x"),
    Unreachable("x"),
    TransportUnavailable("x"),
]
ADVICE = [
    None,
    {"reconnect": "handshake"},
    {"reconnect": "retry", "interval": 0},
    {"interval": 1000, "timeout": 2000},
    {"reconnect": "handshake", "hosts": ["b.example.com"]},
    {"interval": "wrong"},
]
answers = st.one_of(
    st.just("right"),
    st.just("right"),
    st.just("silent"),
    st.just("empty"),
    st.just("twice"),
    st.just("drop"),
    st.tuples(st.just("fail"), st.sampled_from(ERRORS)),
    st.tuples(
        st.just("refuse"),
        st.sampled_from(["402::Unknown", "500::No", "wrong", None, "404::x"]),
        st.sampled_from(ADVICE),
    ),
)
steps = st.one_of(
    st.tuples(st.just("time"), st.floats(0, 30)),
    st.tuples(st.just("publish"), st.integers(1, 5)),
    st.tuples(st.just("subscribe"), st.sampled_from(["/a", "/b", "/a/*"])),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("release"), st.integers(0, 5)),
    st.tuples(st.just("break"), st.integers(0, 5)),
    st.tuples(st.just("late"), st.integers(0, 50)),
)


@contextmanager
def nothing_logged_as_failure() -> Generator[None]:
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


class Play:
    """One drawn server, and one drawn user."""

    def __init__(self, drawn: list[Any]) -> None:
        self.drawn = drawn
        self.stage = Stage()
        self.stage.server = self.serve
        self.subscriptions: list[Any] = []
        self.published: list[list[Any]] = []
        self.accepted: list[int] = []
        self.numbers = 0

    def serve(self, request: Request) -> None:
        stage = self.stage
        answer = self.drawn.pop() if self.drawn else "right"
        match answer:
            case "right" | "twice":
                self.note(request)
                stage.serve(request)
                if answer == "twice" and not request.open:
                    stage.wires[-1].receiver.received(
                        [stage.reply(message) for message in request.messages]
                    )
            case "empty":
                request.answer()
            case "drop":
                request.transport.drop()
            case ("fail", error):
                request.fail(error)
            case ("refuse", error, advice):
                replies = [
                    stage.reply(m, error=error, advice=advice) for m in request.messages
                ]
                request.answer(*replies)

    def note(self, request: Request) -> None:
        self.accepted += [m["data"] for m in request.messages if m["channel"] == "/a"]

    def play(self, step: Any) -> None:
        stage = self.stage
        match step:
            case ("time", seconds):
                stage.pass_time(seconds, step=0.5)
            case ("publish", count):
                for _ in range(count):
                    number = self.numbers
                    self.numbers += 1
                    self.published.append(outcome(stage.client.publish("/a", number)))
            case ("subscribe", channel):
                subscription = stage.client.subscribe(channel, lambda message: None)
                outcome(subscription.ready)
                self.subscriptions.append(subscription)
            case ("cancel", index) if index < len(self.subscriptions):
                self.subscriptions.pop(index).cancel()
            case ("release", index):
                self.release(index)
            case ("break", index) if index < len(stage.wires):
                stage.wires[index].drop()
            case ("late", index) if index < len(stage.requests):
                self.answer_late(stage.requests[index])

    def release(self, index: int) -> None:
        waiting = [request for request in self.stage.requests if request.open]
        if index < len(waiting):
            request = waiting[index]
            self.note(request)
            request.answer(*[self.stage.reply(m) for m in request.messages])

    def answer_late(self, request: Request) -> None:
        if not request.open:
            replies = [self.stage.reply(message) for message in request.messages]
            request.transport.receiver.received(replies)

    def handshakes_in_any_ten_seconds(self, times: list[float]) -> int:
        return max(
            (sum(start <= time < start + 10 for time in times) for start in times),
            default=0,
        )


@settings(max_examples=300, deadline=None)
@given(st.lists(answers, max_size=40), st.lists(steps, max_size=25))
def test_whatever_happens(drawn: list[Any], played: list[Any]) -> None:
    with nothing_logged_as_failure():
        play = Play(drawn)
        stage = play.stage
        times: list[float] = []

        def changed(new: State, old: State) -> None:
            if new is State.HANDSHAKING:
                times.append(stage.clock.seconds())

        stage.client.on_state(changed)
        for step in played:
            play.play(step)
            in_flight = [
                request.channels
                for request in stage.requests
                if request.open and request.channels[0].startswith("/meta/")
            ]
            assert in_flight.count(["/meta/handshake"]) <= 1
            assert in_flight.count(["/meta/connect"]) <= 1
        play.drawn.clear()
        stage.pass_time(120, step=0.5)
        stage.states.clear()
        stage.pass_time(80, step=0.5)  # in which a held connect comes to its end
        assert play.handshakes_in_any_ten_seconds(times) < 10
        if played and stage.client.state is not State.IDLE:
            assert State.CONNECTED in {stage.client.state, *stage.states}
            assert stage.client.pending == 0
        # Each is settled once: accepted, or refused for what it said or was.
        assert all(len(result) == 1 for result in play.published)
        good = [
            number
            for number, result in enumerate(play.published)
            if isinstance(result[0], dict)
        ]
        assert set(good) <= set(play.accepted)
        ended = outcome(stage.client.disconnect())
        stage.pass_time(10, step=1)
        assert ended == [None]
        assert stage.clock.getDelayedCalls() == []
        assert all(wire.closed for wire in stage.wires)
