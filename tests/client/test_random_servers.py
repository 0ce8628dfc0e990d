"""Show with hypothesis that invariants hold whatever a server does."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from txbayeux.client import State
from txbayeux.transport.base import (
    NoReply,
    ReplyTimeout,
    TransportUnavailable,
    Unreachable,
)

from .harness import Harness, Request, no_logged_failures, outcome

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
ANSWERS = st.one_of(
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
STEPS = st.one_of(
    st.tuples(st.just("time"), st.floats(0, 30)),
    st.tuples(st.just("publish"), st.integers(1, 5)),
    st.tuples(st.just("subscribe"), st.sampled_from(["/a", "/b", "/a/*"])),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("release"), st.integers(0, 5)),
    st.tuples(st.just("break"), st.integers(0, 5)),
    st.tuples(st.just("late"), st.integers(0, 50)),
)


class Run:
    """One run of a client against drawn answers and drawn calls."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers
        self.harness = Harness()
        self.harness.respond = self.respond
        self.subscriptions: list[Any] = []
        self.published: list[list[Any]] = []
        self.accepted: list[int] = []
        self.numbers = 0

    def respond(self, request: Request) -> None:
        harness = self.harness
        answer = self.answers.pop() if self.answers else "right"
        match answer:
            case "right" | "twice":
                self.note(request)
                harness.reply_to_all(request)
                if answer == "twice" and not request.open:
                    harness.transports[-1].receiver.received(
                        [harness.reply(message) for message in request.messages]
                    )
            case "empty":
                request.answer()
            case "drop":
                request.transport.drop()
            case ("fail", error):
                request.fail(error)
            case ("refuse", error, advice):
                replies = [
                    harness.reply(m, error=error, advice=advice)
                    for m in request.messages
                ]
                request.answer(*replies)

    def note(self, request: Request) -> None:
        self.accepted += [m["data"] for m in request.messages if m["channel"] == "/a"]

    def do(self, step: Any) -> None:
        harness = self.harness
        match step:
            case ("time", seconds):
                harness.pass_time(seconds)
            case ("publish", count):
                for _ in range(count):
                    number = self.numbers
                    self.numbers += 1
                    self.published.append(outcome(harness.client.publish("/a", number)))
            case ("subscribe", channel):
                subscription = harness.client.subscribe(channel, lambda message: None)
                outcome(subscription.ready)
                self.subscriptions.append(subscription)
            case ("cancel", index) if index < len(self.subscriptions):
                self.subscriptions.pop(index).cancel()
            case ("release", index):
                self.release(index)
            case ("break", index) if index < len(harness.transports):
                harness.transports[index].drop()
            case ("late", index) if index < len(harness.requests):
                self.answer_late(harness.requests[index])

    def release(self, index: int) -> None:
        waiting = [request for request in self.harness.requests if request.open]
        if index < len(waiting):
            request = waiting[index]
            self.note(request)
            request.answer(*[self.harness.reply(m) for m in request.messages])

    def answer_late(self, request: Request) -> None:
        if not request.open:
            replies = [self.harness.reply(message) for message in request.messages]
            request.transport.receiver.received(replies)

    def handshakes_in_any_ten_seconds(self, times: list[float]) -> int:
        return max(
            (sum(start <= time < start + 10 for time in times) for start in times),
            default=0,
        )


@settings(max_examples=300, deadline=None)
@given(st.lists(ANSWERS, max_size=40), st.lists(STEPS, max_size=25))
def test_invariants_hold_with_a_random_server(
    answers: list[Any], steps: list[Any]
) -> None:
    with no_logged_failures():
        run = Run(answers)
        harness = run.harness
        times: list[float] = []

        def changed(new: State, old: State) -> None:
            if new is State.HANDSHAKING:
                times.append(harness.clock.seconds())

        harness.client.on_state(changed)
        for step in steps:
            run.do(step)
            in_flight = [
                request.channels
                for request in harness.requests
                if request.open and request.channels[0].startswith("/meta/")
            ]
            assert in_flight.count(["/meta/handshake"]) <= 1
            assert in_flight.count(["/meta/connect"]) <= 1
        run.answers.clear()
        harness.pass_time(120)
        harness.states.clear()
        harness.pass_time(80)  # in which a held connect comes to its end
        assert run.handshakes_in_any_ten_seconds(times) < 10
        if steps and harness.client.state is not State.IDLE:
            assert State.CONNECTED in {harness.client.state, *harness.states}
            assert harness.client.pending == 0
        # Each is settled once: accepted, or refused for what it said or was.
        assert all(len(result) == 1 for result in run.published)
        good = [
            number
            for number, result in enumerate(run.published)
            if isinstance(result[0], dict)
        ]
        assert set(good) <= set(run.accepted)
        ended = outcome(harness.client.disconnect())
        harness.pass_time(10)
        assert ended == [None]
        assert harness.clock.getDelayedCalls() == []
        assert all(transport.closed for transport in harness.transports)
