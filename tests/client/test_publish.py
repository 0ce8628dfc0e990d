"""Show that publishes are sent in order until accepted, refused or out of time."""

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

from .harness import Harness, Request, outcome


def data(harness: Harness, channel: str = "/a") -> list[Any]:
    return [message["data"] for message in harness.sent(channel)]


def silent_to(channel: str, harness: Harness) -> None:
    harness.respond = lambda request: (
        None if channel in request.channels else harness.reply_to_all(request)
    )


def test_publish_connects_and_fires_with_the_reply() -> None:
    harness = Harness()
    [reply] = outcome(harness.client.publish("/a", {"text": "x"}, ext={"token": 1}))
    [message] = harness.sent("/a")
    assert message["data"] == {"text": "x"}
    assert message["ext"] == {"token": 1}
    assert message["clientId"] == "session1"
    assert reply == {"channel": "/a", "id": message["id"], "successful": True}
    assert harness.client.pending == 0


def test_replies_without_id_belong_to_the_oldest_request_on_their_channel() -> None:
    harness = Harness()

    def respond(request: Request) -> None:
        if not harness.is_held(request.messages[0]):
            replies = [harness.reply(message) for message in request.messages]
            for reply in replies:
                del reply["id"]
            request.answer(*replies)

    harness.respond = respond
    results = [outcome(harness.client.publish("/a", number)) for number in range(3)]
    assert [[reply["channel"] for reply in result] for result in results] == [
        ["/a"]
    ] * 3
    assert data(harness) == [0, 1, 2]


@pytest.mark.parametrize("successful", [True, False])
def test_the_answer_of_a_service_is_a_message_and_not_the_reply(
    successful: bool,
) -> None:
    """The answer to a remote call has the id of the publish, and may come first."""
    harness = Harness()
    received: list[Any] = []
    harness.client.subscribe("/service/words", received.append)
    harness.connect()
    silent_to("/service/words", harness)
    results = outcome(harness.client.publish("/service/words", {"text": "to be"}))
    [message] = harness.sent("/service/words")
    answer = {"id": message["id"], "successful": successful}
    harness.deliver("/service/words", {"words": 2}, **answer)
    assert [one["data"] for one in received] == [{"words": 2}]
    assert results == []
    request = next(one for one in harness.requests if message in one.messages)
    request.answer(harness.reply(message))
    assert [reply["successful"] for reply in results] == [True]


@pytest.mark.parametrize("value", [None, 0, "", False, [], {}, "ü€😀", 1.5])
def test_any_json_is_data(value: object) -> None:
    harness = Harness()
    outcome(harness.client.publish("/a", value))
    assert data(harness) == [value]


@pytest.mark.parametrize(
    ("value", "error"),
    [(object(), TypeError), ({(): 1}, TypeError), ("\ud800", ValueError)],
)
def test_data_that_is_not_json_fails_at_once(
    value: object, error: type[Exception]
) -> None:
    harness = Harness()
    [caught] = outcome(harness.client.publish("/a", value))
    assert isinstance(caught, error)
    assert harness.requests == []


@pytest.mark.parametrize(
    "limit",
    [{"attempts": 0}, {"attempts": -1}, {"deadline": -0.1}, {"deadline": math.nan}],
)
def test_invalid_limits_fail_at_once(limit: Any) -> None:
    harness = Harness()
    [error] = outcome(harness.client.publish("/a", 1, **limit))
    assert isinstance(error, ValueError)
    assert harness.client.pending == 0
    assert harness.clock.getDelayedCalls() == []


def test_later_changes_to_data_have_no_effect() -> None:
    harness = Harness()
    value = {"n": 1}
    harness.client.publish("/a", value)
    value["n"] = 2
    harness.pass_time(1)
    assert data(harness) == [{"n": 1}]


@pytest.mark.parametrize(
    "channel",
    ["", "a", "/a\n", "/a\x00", "/\ud800", "/" * 1025, "/meta", "/meta/a", 7, None],
)
def test_an_invalid_channel_fails_at_once(channel: Any) -> None:
    harness = Harness()
    [error] = outcome(harness.client.publish(channel, 1))
    assert isinstance(error, BayeuxError)
    assert error.code == 405
    assert harness.requests == []


def test_a_refusal_fails_the_publish() -> None:
    harness = Harness()
    harness.connect()
    harness.respond = lambda request: harness.answer(
        request, error="403:/a:Forbidden channel"
    )
    [error] = outcome(harness.client.publish("/a", 1))
    assert (error.code, error.arguments, error.text) == (
        403,
        ("/a",),
        "Forbidden channel",
    )
    assert harness.client.state is State.CONNECTED
    assert harness.count("/a") == 1


def test_over_http_one_request_at_a_time_keeps_the_order() -> None:
    harness = Harness(types=["long-polling"])
    harness.connect()
    silent_to("/a", harness)
    results = [outcome(harness.client.publish("/a", number)) for number in range(5)]
    assert data(harness) == [0]
    harness.respond = harness.reply_to_all
    first = harness.last("/a")
    harness.answer(first)
    assert data(harness) == [0, 1, 2, 3, 4]
    assert len(harness.last("/a").messages) == 4
    assert all(result[0]["successful"] for result in results)


def test_over_a_socket_several_batches_are_in_flight_up_to_a_window() -> None:
    harness = Harness(types=["websocket"])
    harness.connect()
    silent_to("/a", harness)
    for number in range(WINDOW + 5):
        harness.client.publish("/a", number)
    assert data(harness) == list(range(WINDOW))
    waiting = [r for r in harness.requests if r.open and "/a" in r.channels]
    harness.respond = harness.reply_to_all
    harness.answer(waiting[0])
    for request in waiting[1:]:
        request.answer(*[harness.reply(message) for message in request.messages])
    assert data(harness) == list(range(WINDOW + 5))


def test_batches_are_bounded_by_count_and_by_bytes() -> None:
    harness = Harness(types=["long-polling"])
    for number in range(MAX_BATCH + 10):
        harness.client.publish("/a", number)
    for _ in range(3):
        harness.client.publish("/b", "x" * 6000)
    harness.pass_time(1)
    sizes = [len(request.messages) for request in harness.requests]
    assert max(sizes) <= MAX_BATCH
    assert data(harness) == list(range(MAX_BATCH + 10))
    assert all(
        sum(len(str(m.get("data"))) for m in request.messages) < 10_000
        for request in harness.requests
    )


@pytest.mark.parametrize("types", [["long-polling"], ["websocket"]])
def test_unanswered_publishes_are_sent_again_in_order(types: list[str]) -> None:
    harness = Harness(types=types)
    harness.connect()
    silent_to("/a", harness)
    results = [outcome(harness.client.publish("/a", number)) for number in range(20)]
    harness.requests.clear()
    harness.respond = harness.reply_to_all
    transport = harness.transports[0]
    transport.drop()
    results += [outcome(harness.client.publish("/a", n)) for n in range(20, 25)]
    harness.pass_time(5)
    assert data(harness) == list(range(25))
    assert all(result[0]["successful"] for result in results)


def test_only_the_unanswered_of_a_batch_are_sent_again() -> None:
    harness = Harness(types=["long-polling"])
    seen: list[int] = []

    def serve(request: Request) -> None:
        if "/a" not in request.channels:
            harness.reply_to_all(request)
            return
        seen.extend(message["data"] for message in request.messages)
        request.answer(*[harness.reply(m) for m in request.messages if m["data"] % 2])

    harness.respond = lambda request: None
    results = [outcome(harness.client.publish("/a", number)) for number in range(4)]
    harness.respond = serve
    [handshake] = harness.requests
    harness.answer(handshake)
    assert seen == [0, 1, 2, 3]
    harness.respond = harness.reply_to_all
    harness.requests.clear()
    harness.pass_time(1)
    assert data(harness) == [0, 2]
    assert all(result[0]["successful"] for result in results)


def test_publishes_outlive_a_session_and_come_after_the_subscriptions() -> None:
    harness = Harness()
    harness.client.subscribe("/a", print)
    harness.connect()
    silent_to("/a", harness)
    result = outcome(harness.client.publish("/a", 1))
    lost = harness.last("/a")
    harness.respond = harness.reply_to_all
    harness.answer(lost, error="402::Unknown client")
    assert harness.client.state is State.WAITING
    assert result == []
    harness.client.publish("/a", 2)
    harness.requests.clear()
    harness.pass_time(1)
    order = [
        channel
        for request in harness.requests
        for channel in request.channels
        if channel != "/meta/connect"
    ]
    assert order == ["/meta/handshake", "/meta/subscribe", "/a", "/a"]
    assert data(harness) == [1, 2]
    assert {m["clientId"] for m in harness.sent("/a")} == {"session2"}
    assert result[0]["successful"] is True


def test_attempts_are_counted() -> None:
    harness = Harness()
    harness.connect()
    harness.respond = lambda request: (
        request.fail() if "/a" in request.channels else harness.reply_to_all(request)
    )
    result = outcome(harness.client.publish("/a", 1, attempts=3))
    forever = outcome(harness.client.publish("/a", 2))
    harness.pass_time(30)
    [error] = result
    assert isinstance(error, PublishTimeout)
    assert isinstance(error.__cause__, NoReply)
    assert data(harness).count(1) == 3
    assert data(harness).count(2) > 3
    assert forever == []


def test_lost_sessions_count_as_attempts() -> None:
    harness = Harness()
    harness.respond = lambda request: (
        harness.answer(request, error="402::Unknown")
        if "/a" in request.channels
        else harness.reply_to_all(request)
    )
    result = outcome(harness.client.publish("/a", 1, attempts=2))
    harness.pass_time(30)
    assert isinstance(result[0], PublishTimeout)
    assert harness.count("/a") == 2


def test_a_deadline_passes_without_a_connection() -> None:
    harness = Harness()
    harness.respond = lambda request: request.fail(Unreachable("refused"))
    result = outcome(harness.client.publish("/a", 1, deadline=3))
    harness.pass_time(2.9)
    assert result == []
    harness.pass_time(0.2)
    [error] = result
    assert isinstance(error, PublishTimeout)
    assert error.code == 408
    harness.respond = harness.reply_to_all
    harness.pass_time(60)
    assert harness.count("/a") == 0


def test_a_deadline_passes_while_the_reply_is_awaited() -> None:
    harness = Harness()
    harness.connect()
    silent_to("/a", harness)
    result = outcome(harness.client.publish("/a", 1, deadline=3))
    harness.pass_time(3.1)
    assert isinstance(result[0], PublishTimeout)
    late = harness.last("/a")
    harness.answer(late)
    harness.pass_time(60)
    assert harness.count("/a") == 1
    assert len(result) == 1


def test_a_reply_before_the_deadline_leaves_no_timer() -> None:
    harness = Harness()
    harness.connect()
    before = len(harness.clock.getDelayedCalls())
    assert outcome(harness.client.publish("/a", 1, deadline=3))
    assert len(harness.clock.getDelayedCalls()) == before


def test_a_cancelled_publish_is_not_sent() -> None:
    harness = Harness()
    harness.respond = lambda request: None
    publishing = harness.client.publish("/a", 1)
    result = outcome(publishing)
    publishing.cancel()
    assert isinstance(result[0], CancelledError)
    harness.requests[0].fail()
    harness.respond = harness.reply_to_all
    harness.pass_time(5)
    assert harness.count("/a") == 0


def test_disconnecting_fails_waiting_publishes() -> None:
    harness = Harness()
    harness.connect()
    silent_to("/a", harness)
    results = [outcome(harness.client.publish("/a", number)) for number in range(20)]
    ended = outcome(harness.client.disconnect())
    assert ended == [None]
    assert all(isinstance(result[0], Closed) for result in results)
    assert harness.clock.getDelayedCalls() == []


def test_a_reply_while_disconnecting_counts() -> None:
    harness = Harness()
    harness.connect()
    harness.respond = lambda request: None
    result = outcome(harness.client.publish("/a", 1))
    harness.client.disconnect()
    request = harness.last("/a")
    harness.answer(request)
    assert result[0]["successful"] is True


def test_a_final_refusal_fails_everything_that_waits() -> None:
    harness = Harness()
    harness.respond = lambda request: None
    result = outcome(harness.client.publish("/a", 1))
    ready = outcome(harness.client.subscribe("/a", print).ready)
    [handshake] = harness.requests
    advice = {"reconnect": "none"}
    harness.answer(handshake, error="500::No", advice=advice)
    assert result[0].code == ready[0].code == 500
    assert harness.clock.getDelayedCalls() == []


def test_the_number_of_waiting_messages_is_bounded() -> None:
    harness = Harness()
    harness.respond = lambda request: None
    for number in range(MAX_WAITING):
        harness.client.publish("/a", number)
    assert harness.client.pending == MAX_WAITING
    [error] = outcome(harness.client.publish("/a", -1))
    assert isinstance(error, OutboxFull)


def test_one_message_that_is_too_large_does_not_hold_up_the_others() -> None:
    harness = Harness(types=["long-polling"])
    harness.connect()

    def serve(request: Request) -> None:
        if any(message.get("data") == "huge" for message in request.messages):
            request.fail(NoReply("too large", 413))
        else:
            harness.reply_to_all(request)

    harness.respond = lambda request: None
    results = [outcome(harness.client.publish("/a", 0))]
    harness.respond = serve
    results += [outcome(harness.client.publish("/a", v)) for v in (1, "huge", 2, 3)]
    first = harness.last("/a")
    harness.answer(first)
    harness.pass_time(10)
    [error] = results[2]
    assert isinstance(error, BayeuxError)
    assert error.code == 413
    assert all(results[n][0]["successful"] for n in (0, 1, 3, 4))
    accepted = [value for value in data(harness) if value != "huge"]
    assert [v for i, v in enumerate(accepted) if v not in accepted[:i]] == [0, 1, 2, 3]


def test_a_listener_may_publish() -> None:
    harness = Harness()
    results: list[list[Any]] = []

    def listener(message: Any) -> None:
        results.append(outcome(harness.client.publish("/b", message["data"])))

    harness.client.subscribe("/a", listener)
    harness.connect()
    harness.deliver("/a", 1)
    assert data(harness, "/b") == [1]
    assert results[0][0]["successful"] is True


def test_nothing_is_published_until_a_connect_shows_that_the_session_lives() -> None:
    harness = Harness()
    harness.client.subscribe("/a", print)
    harness.connect()
    harness.respond = lambda request: None
    harness.held_connect.fail()
    harness.client.publish("/a", 1)
    harness.pass_time(1)
    [opening] = [request for request in harness.requests if request.open]
    assert opening.channels == ["/meta/connect"]
    harness.respond = harness.reply_to_all
    harness.answer(opening)
    assert data(harness) == [1]
