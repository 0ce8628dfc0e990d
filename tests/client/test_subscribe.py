"""Subscriptions: one message a channel, every listener served, made again."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.logger import capturedLogs, formatEvent

from txbayeux.client import BufferOverflow, Closed, State
from txbayeux.client.subscription import BUFFER
from txbayeux.errors import BayeuxError
from txbayeux.message import Message

from .stage import Request, Stage, outcome


def names(stage: Stage, channel: str = "/meta/subscribe") -> list[Any]:
    return [message["subscription"] for message in stage.sent(channel)]


def test_subscribing_connects_by_itself_and_tells_when_it_is_confirmed() -> None:
    stage = Stage()
    ready = outcome(stage.client.subscribe("/a", print).ready)
    assert names(stage) == ["/a"]
    assert stage.sent("/meta/subscribe")[0]["clientId"] == "session1"
    assert ready == [None]


def test_ready_may_be_asked_for_at_any_time_and_by_several() -> None:
    stage = Stage()
    stage.server = lambda request: None
    subscription = stage.client.subscribe("/a", print)
    early = [outcome(subscription.ready), outcome(subscription.ready)]
    cancelled = subscription.ready
    outcome(cancelled)
    cancelled.cancel()
    stage.server = stage.serve
    stage.requests[0].answer(stage.reply(stage.requests[0].messages[0]))
    assert early == [[None], [None]]
    assert outcome(subscription.ready) == [None]


def test_many_listeners_are_one_subscription() -> None:
    stage = Stage()
    stage.connect()
    got: list[Any] = []
    subscriptions = [
        stage.client.subscribe("/a", lambda m, n=n: got.append((n, m["data"])))  # type: ignore[misc]
        for n in range(3)
    ]
    assert names(stage) == ["/a"]
    assert [outcome(s.ready) for s in subscriptions] == [[None]] * 3
    stage.deliver("/a", 1)
    assert got == [(0, 1), (1, 1), (2, 1)]
    for subscription in subscriptions[:2]:
        subscription.cancel()
        subscription.cancel()
    assert names(stage, "/meta/unsubscribe") == []
    subscriptions[2].cancel()
    assert names(stage, "/meta/unsubscribe") == ["/a"]
    stage.clock.advance(0)
    stage.deliver("/a", 2)
    assert len(got) == 3


def test_a_wildcard_listener_gets_each_message_once() -> None:
    stage = Stage()
    got: list[tuple[str, Any]] = []
    for pattern in ("/a/*", "/a/**", "/**", "/a/b", "/a/b/*"):
        stage.client.subscribe(
            pattern,
            lambda m, p=pattern: got.append((p, m["data"])),  # type: ignore[misc]
        )
    stage.connect()
    stage.deliver("/a/b", 1)
    assert sorted(got) == [("/**", 1), ("/a/*", 1), ("/a/**", 1), ("/a/b", 1)]


def test_listeners_that_fail_are_logged_and_the_others_are_served() -> None:
    stage = Stage()
    got: list[Any] = []
    later: Deferred[None] = Deferred()

    def raising(message: Message) -> None:
        raise RuntimeError("a listener")

    async def raising_later(message: Message) -> None:
        await later
        raise RuntimeError("a coroutine")

    stage.client.subscribe("/a", raising)
    stage.client.subscribe("/a", lambda m: fail(RuntimeError("a Deferred")))
    stage.client.subscribe("/a", raising_later)
    stage.client.subscribe("/a", got.append)
    stage.connect()
    stage.deliver("/a", 1)
    later.callback(None)
    stage.clock.advance(0)
    stage.deliver("/a", 2)
    assert [message["data"] for message in got] == [1, 2]
    assert stage.client.state is State.CONNECTED


def test_a_refused_subscription_tells_all_its_listeners() -> None:
    stage = Stage()
    stage.server = lambda request: None
    readies = [outcome(stage.client.subscribe("/a", print).ready) for _ in range(2)]
    stage.server = lambda request: request.answer(
        *[
            stage.reply(m, error="403:/a:Forbidden channel")
            if m["channel"] == "/meta/subscribe"
            else stage.reply(m)
            for m in request.messages
        ]
    )
    stage.requests[0].answer(stage.reply(stage.requests[0].messages[0]))
    stage.clock.advance(0)
    assert [[e.code for e in ready] for ready in readies] == [[403], [403]]
    stage.server = stage.serve
    assert outcome(stage.client.subscribe("/a", print).ready) == [None]


def test_a_refusal_is_logged_and_reported_although_nobody_asked_for_ready() -> None:
    stage = Stage()
    stage.connect()
    stage.server = lambda request: request.answer(
        *[stage.reply(m, error="403:/a:Forbidden channel") for m in request.messages]
    )
    with capturedLogs() as logged:
        subscriptions = [stage.client.subscribe("/a", print) for _ in range(2)]
    assert [str(error) for error in stage.failures] == ["403:/a:Forbidden channel"] * 2
    assert stage.client.last_failure is stage.failures[-1]
    assert not any(subscription.active for subscription in subscriptions)
    texts = [formatEvent(event) for event in logged]
    assert sum("403:/a:Forbidden channel" in text for text in texts) == 2
    assert stage.client.state is State.CONNECTED


def test_a_refusal_in_a_later_session_is_reported() -> None:
    stage = Stage()
    ready = outcome(stage.client.subscribe("/a", print).ready)
    stage.connect()

    def serve(request: Request) -> None:
        if request.channels == ["/meta/subscribe"]:
            error = "403:/a:No more"
            request.answer(stage.reply(request.messages[0], error=error))
        else:
            stage.serve(request)

    stage.server = serve
    stage.held.answer(stage.reply(stage.held.messages[0], error="402::Unknown"))
    stage.pass_time(1)
    assert ready == [None]
    assert [str(error) for error in stage.failures] == [
        "402::Unknown",
        "403:/a:No more",
    ]


@pytest.mark.parametrize("channel", ["a", "", "/a/*/b", "/**/a", "/a b", 7, None])
def test_what_is_no_channel_is_refused_without_asking(channel: Any) -> None:
    stage = Stage()
    [error] = outcome(stage.client.subscribe(channel, print).ready)
    assert isinstance(error, BayeuxError)
    assert error.code == 405
    assert stage.requests == []


def test_subscriptions_are_made_again_in_a_new_session_in_order() -> None:
    stage = Stage()
    got: list[Any] = []
    for channel in ("/a", "/b", "/c"):
        stage.client.subscribe(channel, got.append)
    stage.connect()
    stage.client.subscribe("/d", got.append).cancel()
    held = stage.held
    stage.requests.clear()
    held.answer(stage.reply(held.messages[0], error="402::Unknown client"))
    stage.pass_time(1)
    assert names(stage) == ["/a", "/b", "/c"]
    assert {m["clientId"] for m in stage.sent("/meta/subscribe")} == {"session2"}
    stage.deliver("/b", 1)
    assert [m["data"] for m in got] == [1]


def test_cancelled_before_it_was_sent_nothing_is_sent() -> None:
    stage = Stage()
    stage.server = lambda request: None
    subscription = stage.client.subscribe("/a", print)
    ready = outcome(subscription.ready)
    subscription.cancel()
    assert isinstance(ready[0], Closed)
    assert not subscription.active
    stage.server = stage.serve
    stage.requests[0].answer(stage.reply(stage.requests[0].messages[0]))
    stage.clock.advance(0)
    assert names(stage) == names(stage, "/meta/unsubscribe") == []


def test_cancelled_while_in_flight_and_wanted_again() -> None:
    stage = Stage(types=["long-polling"])
    stage.connect()
    stage.server = lambda request: None
    first = stage.client.subscribe("/a", print)
    in_flight = stage.last("/meta/subscribe")
    first.cancel()
    second = stage.client.subscribe("/a", print)
    ready = outcome(second.ready)
    in_flight.answer(stage.reply(in_flight.messages[0]))
    assert ready == []  # that was the answer to the first
    last = stage.last("/meta/subscribe")
    assert last.channels == ["/meta/unsubscribe", "/meta/subscribe"]
    last.answer(*[stage.reply(message) for message in last.messages])
    assert ready == [None]


def test_a_session_lost_while_an_unsubscribe_waits() -> None:
    stage = Stage(types=["long-polling"])
    stage.client.subscribe("/b", print)
    subscription = stage.client.subscribe("/a", print)
    stage.connect()
    stage.server = lambda request: request.fail()
    subscription.cancel()
    held = stage.held
    held.answer(stage.reply(held.messages[0], error="402::Unknown client"))
    stage.server = stage.serve
    stage.requests.clear()
    stage.pass_time(2)
    assert names(stage) == ["/b"]
    assert names(stage, "/meta/unsubscribe") == []


def test_a_server_that_is_busy_is_asked_again() -> None:
    stage = Stage()
    stage.connect()
    stage.server = lambda request: request.answer(
        *[stage.reply(m, error="503::Later") for m in request.messages]
    )
    ready = outcome(stage.client.subscribe("/a", print).ready)
    stage.pass_time(5)
    assert ready == []
    assert 2 < len(names(stage)) < 8
    stage.server = stage.serve
    stage.pass_time(10)
    assert ready == [None]


def test_messages_of_wrong_shape_do_no_harm() -> None:
    stage = Stage()
    got: list[Any] = []
    stage.client.subscribe("/**", got.append)
    stage.connect()
    stage.wires[0].receiver.received(
        [
            {},
            {"channel": None, "data": 1},
            {"channel": ["/a"], "data": 1},
            {"channel": "/a"},
            {"channel": "/a/*", "data": 1},
            {"channel": "/meta/unknown", "data": 1},
            {"channel": "a" * 5000, "data": 1},
            {"channel": "/a", "data": 1, "id": {"x": 1}, "successful": "yes"},
        ]
    )
    assert [m["data"] for m in got] == [1]
    assert stage.client.state is State.CONNECTED


def test_iterating_with_await() -> None:
    stage = Stage()
    stage.connect()
    subscription = stage.client.subscribe("/a")
    got: list[Any] = []

    async def read() -> str:
        async for message in subscription:
            got.extend([message["data"]])
        return "ended"

    ended = outcome(ensureDeferred(read()))
    for number in range(3):
        stage.deliver("/a", number)
        stage.clock.advance(0)
    assert got == [0, 1, 2]
    subscription.cancel()
    assert ended == ["ended"]


@pytest.mark.parametrize("how", ["disconnect", "refused", "overflow"])
def test_the_end_of_an_iteration(how: str) -> None:
    stage = Stage()
    stage.connect()
    subscription = stage.client.subscribe("/a")
    for number in range(BUFFER + 5 if how == "overflow" else 2):
        stage.wires[0].receiver.received([{"channel": "/a", "data": number}])
    if how == "refused":
        stage.server = lambda request: (
            request.answer(
                *[
                    stage.reply(m, error="403:/a:No more")
                    if m["channel"] == "/meta/subscribe"
                    else stage.reply(m)
                    for m in request.messages
                    if not stage.is_held(m)
                ]
            )
            if not stage.is_held(request.messages[0])
            else None
        )
        stage.held.answer(stage.reply(stage.held.messages[0], error="402::Unknown"))
        stage.pass_time(1)
    elif how == "disconnect":
        stage.client.disconnect()
    got: list[Any] = []

    async def read() -> str:
        async for message in subscription:
            got.extend([message["data"]])
        return "ended"

    ended = outcome(ensureDeferred(read()))
    if how == "overflow":
        assert len(got) == BUFFER
        assert isinstance(ended[0], BufferOverflow)
    else:
        assert got == [0, 1]
    if how == "refused":
        assert ended[0].code == 403
        assert not subscription.active
    elif how == "disconnect":
        assert ended == ["ended"]


def test_one_reader_at_a_time() -> None:
    stage = Stage()
    subscription = stage.client.subscribe("/a")
    waiting = ensureDeferred(subscription.__anext__())
    outcome(waiting)
    [error] = outcome(ensureDeferred(subscription.__anext__()))
    assert isinstance(error, RuntimeError)
    waiting.cancel()
    again = outcome(ensureDeferred(subscription.__anext__()))
    stage.connect()
    stage.deliver("/a", 1)
    assert again[0]["data"] == 1


def test_a_subscription_with_a_listener_is_no_iterator() -> None:
    stage = Stage()
    with pytest.raises(TypeError):
        stage.client.subscribe("/a", print).__aiter__()


def test_a_request_that_fails_brings_the_subscription_again() -> None:
    stage = Stage(types=["long-polling"])
    stage.connect()

    def serve(request: Request) -> None:
        request.fail()

    stage.server = serve
    ready = outcome(stage.client.subscribe("/a", print).ready)
    stage.server = stage.serve
    stage.pass_time(1)
    assert ready == [None]
    assert names(stage) == ["/a", "/a"]
    assert stage.client.state is State.CONNECTED
