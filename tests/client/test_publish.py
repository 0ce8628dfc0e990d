"""Publishes: in order, until they are accepted, refused, or out of time."""

from __future__ import annotations

import math
from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from txbayeux.client import Closed, OutboxFull, PublishTimeout, State
from txbayeux.client.client import MAX_WAITING
from txbayeux.client.outbox import MAX_BATCH, WINDOW
from txbayeux.errors import BayeuxError
from txbayeux.transport.base import NoReply, Unreachable

from .stage import Request, Stage, outcome


def data(stage: Stage, channel: str = "/a") -> list[Any]:
    return [message["data"] for message in stage.sent(channel)]


def silent_to(channel: str, stage: Stage) -> None:
    stage.server = lambda request: (
        None if channel in request.channels else stage.serve(request)
    )


def test_publishing_connects_by_itself_and_gives_the_reply() -> None:
    stage = Stage()
    [reply] = outcome(stage.client.publish("/a", {"text": "x"}, ext={"token": 1}))
    [message] = stage.sent("/a")
    assert message["data"] == {"text": "x"}
    assert message["ext"] == {"token": 1}
    assert message["clientId"] == "session1"
    assert reply == {"channel": "/a", "id": message["id"], "successful": True}
    assert stage.client.pending == 0


@pytest.mark.parametrize("value", [None, 0, "", False, [], {}, "ü€😀", 1.5])
def test_any_json_is_data(value: object) -> None:
    stage = Stage()
    outcome(stage.client.publish("/a", value))
    assert data(stage) == [value]


@pytest.mark.parametrize(
    ("value", "error"),
    [(object(), TypeError), ({(): 1}, TypeError), ("\ud800", ValueError)],
)
def test_what_is_no_json_fails_at_once(value: object, error: type[Exception]) -> None:
    stage = Stage()
    [caught] = outcome(stage.client.publish("/a", value))
    assert isinstance(caught, error)
    assert stage.requests == []


@pytest.mark.parametrize(
    "limit",
    [{"attempts": 0}, {"attempts": -1}, {"deadline": -0.1}, {"deadline": math.nan}],
)
def test_limits_that_are_none_fail_at_once(limit: Any) -> None:
    stage = Stage()
    [error] = outcome(stage.client.publish("/a", 1, **limit))
    assert isinstance(error, ValueError)
    assert stage.client.pending == 0
    assert stage.clock.getDelayedCalls() == []


def test_data_is_taken_as_it_was() -> None:
    stage = Stage()
    value = {"n": 1}
    stage.client.publish("/a", value)
    value["n"] = 2
    stage.pass_time(1)
    assert data(stage) == [{"n": 1}]


@pytest.mark.parametrize(
    "channel", ["/a/*", "/**", "", "a", "/meta/connect", "/a/", 7, None]
)
def test_what_is_no_channel_fails_at_once(channel: Any) -> None:
    stage = Stage()
    [error] = outcome(stage.client.publish(channel, 1))
    assert isinstance(error, BayeuxError)
    assert error.code == 405
    assert stage.requests == []


def test_a_refusal_is_the_publisher_s() -> None:
    stage = Stage()
    stage.connect()
    stage.server = lambda request: request.answer(
        stage.reply(request.messages[0], error="403:/a:Forbidden channel")
    )
    [error] = outcome(stage.client.publish("/a", 1))
    assert (error.code, error.arguments, error.text) == (
        403,
        ("/a",),
        "Forbidden channel",
    )
    assert stage.client.state is State.CONNECTED
    assert stage.count("/a") == 1


def test_over_http_one_request_at_a_time_keeps_the_order() -> None:
    stage = Stage(types=["long-polling"])
    stage.connect()
    silent_to("/a", stage)
    results = [outcome(stage.client.publish("/a", number)) for number in range(5)]
    assert data(stage) == [0]
    stage.server = stage.serve
    first = stage.last("/a")
    first.answer(stage.reply(first.messages[0]))
    assert data(stage) == [0, 1, 2, 3, 4]
    assert len(stage.last("/a").messages) == 4
    assert all(result[0]["successful"] for result in results)


def test_over_a_socket_several_batches_are_in_flight_up_to_a_window() -> None:
    stage = Stage(types=["websocket"])
    stage.connect()
    silent_to("/a", stage)
    for number in range(WINDOW + 5):
        stage.client.publish("/a", number)
    assert data(stage) == list(range(WINDOW))
    waiting = [r for r in stage.requests if r.open and "/a" in r.channels]
    stage.server = stage.serve
    waiting[0].answer(stage.reply(waiting[0].messages[0]))
    for request in waiting[1:]:
        request.answer(*[stage.reply(message) for message in request.messages])
    assert data(stage) == list(range(WINDOW + 5))


def test_batches_are_bounded_by_count_and_by_bytes() -> None:
    stage = Stage(types=["long-polling"])
    for number in range(MAX_BATCH + 10):
        stage.client.publish("/a", number)
    for _ in range(3):
        stage.client.publish("/b", "x" * 6000)
    stage.pass_time(1)
    sizes = [len(request.messages) for request in stage.requests]
    assert max(sizes) <= MAX_BATCH
    assert data(stage) == list(range(MAX_BATCH + 10))
    assert all(
        sum(len(str(m.get("data"))) for m in request.messages) < 10_000
        for request in stage.requests
    )


@pytest.mark.parametrize("types", [["long-polling"], ["websocket"]])
def test_what_was_not_accepted_is_sent_again_in_order(types: list[str]) -> None:
    stage = Stage(types=types)
    stage.connect()
    silent_to("/a", stage)
    results = [outcome(stage.client.publish("/a", number)) for number in range(20)]
    stage.requests.clear()
    stage.server = stage.serve
    wire = stage.wires[0]
    wire.drop()
    results += [outcome(stage.client.publish("/a", n)) for n in range(20, 25)]
    stage.pass_time(5)
    assert data(stage) == list(range(25))
    assert all(result[0]["successful"] for result in results)


def test_only_the_unanswered_of_a_batch_are_sent_again() -> None:
    stage = Stage(types=["long-polling"])
    seen: list[int] = []

    def serve(request: Request) -> None:
        if "/a" not in request.channels:
            stage.serve(request)
            return
        seen.extend(message["data"] for message in request.messages)
        request.answer(*[stage.reply(m) for m in request.messages if m["data"] % 2])

    stage.server = lambda request: None
    results = [outcome(stage.client.publish("/a", number)) for number in range(4)]
    stage.server = serve
    [handshake] = stage.requests
    handshake.answer(stage.reply(handshake.messages[0]))
    assert seen == [0, 1, 2, 3]
    stage.server = stage.serve
    stage.requests.clear()
    stage.pass_time(1)
    assert data(stage) == [0, 2]
    assert all(result[0]["successful"] for result in results)


def test_publishes_outlive_a_session_and_come_after_the_subscriptions() -> None:
    stage = Stage()
    stage.client.subscribe("/a", print)
    stage.connect()
    silent_to("/a", stage)
    result = outcome(stage.client.publish("/a", 1))
    lost = stage.last("/a")
    stage.server = stage.serve
    lost.answer(stage.reply(lost.messages[0], error="402::Unknown client"))
    assert stage.client.state is State.WAITING
    assert result == []
    stage.client.publish("/a", 2)
    stage.requests.clear()
    stage.pass_time(1)
    order = [
        channel
        for request in stage.requests
        for channel in request.channels
        if channel != "/meta/connect"
    ]
    assert order == ["/meta/handshake", "/meta/subscribe", "/a", "/a"]
    assert data(stage) == [1, 2]
    assert {m["clientId"] for m in stage.sent("/a")} == {"session2"}
    assert result[0]["successful"] is True


def test_attempts_are_counted() -> None:
    stage = Stage()
    stage.connect()
    stage.server = lambda request: (
        request.fail() if "/a" in request.channels else stage.serve(request)
    )
    result = outcome(stage.client.publish("/a", 1, attempts=3))
    forever = outcome(stage.client.publish("/a", 2))
    stage.pass_time(30)
    [error] = result
    assert isinstance(error, PublishTimeout)
    assert isinstance(error.__cause__, NoReply)
    assert data(stage).count(1) == 3
    assert data(stage).count(2) > 3
    assert forever == []


def test_sessions_that_are_lost_count_as_attempts() -> None:
    stage = Stage()
    stage.server = lambda request: (
        request.answer(stage.reply(request.messages[0], error="402::Unknown"))
        if "/a" in request.channels
        else stage.serve(request)
    )
    result = outcome(stage.client.publish("/a", 1, attempts=2))
    stage.pass_time(30)
    assert isinstance(result[0], PublishTimeout)
    assert stage.count("/a") == 2


def test_a_deadline_passes_without_a_connection() -> None:
    stage = Stage()
    stage.server = lambda request: request.fail(Unreachable("refused"))
    result = outcome(stage.client.publish("/a", 1, deadline=3))
    stage.pass_time(2.9)
    assert result == []
    stage.pass_time(0.2)
    [error] = result
    assert isinstance(error, PublishTimeout)
    assert error.code == 408
    stage.server = stage.serve
    stage.pass_time(60)
    assert stage.count("/a") == 0


def test_a_deadline_passes_while_the_reply_is_awaited() -> None:
    stage = Stage()
    stage.connect()
    silent_to("/a", stage)
    result = outcome(stage.client.publish("/a", 1, deadline=3))
    stage.pass_time(3.1)
    assert isinstance(result[0], PublishTimeout)
    late = stage.last("/a")
    late.answer(stage.reply(late.messages[0]))
    stage.pass_time(60)
    assert stage.count("/a") == 1
    assert len(result) == 1


def test_a_deadline_kept_leaves_no_timer() -> None:
    stage = Stage()
    stage.connect()
    before = len(stage.clock.getDelayedCalls())
    assert outcome(stage.client.publish("/a", 1, deadline=3))
    assert len(stage.clock.getDelayedCalls()) == before


def test_a_cancelled_publish_is_not_sent() -> None:
    stage = Stage()
    stage.server = lambda request: None
    publishing = stage.client.publish("/a", 1)
    result = outcome(publishing)
    publishing.cancel()
    assert isinstance(result[0], CancelledError)
    stage.requests[0].fail()
    stage.server = stage.serve
    stage.pass_time(5)
    assert stage.count("/a") == 0


def test_disconnecting_fails_what_waits() -> None:
    stage = Stage()
    stage.connect()
    silent_to("/a", stage)
    results = [outcome(stage.client.publish("/a", number)) for number in range(20)]
    ended = outcome(stage.client.disconnect())
    assert ended == [None]
    assert all(isinstance(result[0], Closed) for result in results)
    assert stage.clock.getDelayedCalls() == []


def test_what_is_accepted_while_disconnecting_counts() -> None:
    stage = Stage()
    stage.connect()
    stage.server = lambda request: None
    result = outcome(stage.client.publish("/a", 1))
    stage.client.disconnect()
    request = stage.last("/a")
    request.answer(stage.reply(request.messages[0]))
    assert result[0]["successful"] is True


def test_a_refused_client_fails_what_waits() -> None:
    stage = Stage()
    stage.server = lambda request: None
    result = outcome(stage.client.publish("/a", 1))
    ready = outcome(stage.client.subscribe("/a", print).ready)
    [handshake] = stage.requests
    advice = {"reconnect": "none"}
    handshake.answer(stage.reply(handshake.messages[0], error="500::No", advice=advice))
    assert result[0].code == ready[0].code == 500
    assert stage.clock.getDelayedCalls() == []


def test_what_waits_is_bounded() -> None:
    stage = Stage()
    stage.server = lambda request: None
    for number in range(MAX_WAITING):
        stage.client.publish("/a", number)
    assert stage.client.pending == MAX_WAITING
    [error] = outcome(stage.client.publish("/a", -1))
    assert isinstance(error, OutboxFull)


def test_one_message_that_is_too_large_does_not_hold_up_the_others() -> None:
    stage = Stage(types=["long-polling"])
    stage.connect()

    def serve(request: Request) -> None:
        if any(message.get("data") == "huge" for message in request.messages):
            request.fail(NoReply("too large", 413))
        else:
            stage.serve(request)

    stage.server = lambda request: None
    results = [outcome(stage.client.publish("/a", 0))]
    stage.server = serve
    results += [outcome(stage.client.publish("/a", v)) for v in (1, "huge", 2, 3)]
    first = stage.last("/a")
    first.answer(stage.reply(first.messages[0]))
    stage.pass_time(10)
    [error] = results[2]
    assert isinstance(error, BayeuxError)
    assert error.code == 413
    assert all(results[n][0]["successful"] for n in (0, 1, 3, 4))
    accepted = [value for value in data(stage) if value != "huge"]
    assert [v for i, v in enumerate(accepted) if v not in accepted[:i]] == [0, 1, 2, 3]


def test_publishing_from_a_listener_is_fine() -> None:
    stage = Stage()
    results: list[list[Any]] = []

    def listener(message: Any) -> None:
        results.append(outcome(stage.client.publish("/b", message["data"])))

    stage.client.subscribe("/a", listener)
    stage.connect()
    stage.deliver("/a", 1)
    assert data(stage, "/b") == [1]
    assert results[0][0]["successful"] is True


def test_a_session_must_have_shown_that_it_lives_before_it_publishes() -> None:
    stage = Stage()
    stage.client.subscribe("/a", print)
    stage.connect()
    stage.server = lambda request: None
    stage.held.fail()
    stage.client.publish("/a", 1)
    stage.pass_time(1)
    [opening] = [request for request in stage.requests if request.open]
    assert opening.channels == ["/meta/connect"]
    stage.server = stage.serve
    opening.answer(stage.reply(opening.messages[0]))
    assert data(stage) == [1]
