"""Show that subscriptions are shared by channel, and made again in new sessions."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.logger import capturedLogs, formatEvent

from txbayeux.client import BufferOverflow, Closed, State
from txbayeux.errors import BayeuxError
from txbayeux.message import Message

from .harness import Harness, Request, outcome


def names(harness: Harness, channel: str = "/meta/subscribe") -> list[Any]:
    return [message["subscription"] for message in harness.sent(channel)]


def test_subscribe_connects_and_ready_fires_on_confirmation() -> None:
    harness = Harness()
    ready = outcome(harness.client.subscribe("/a", print).ready)
    assert names(harness) == ["/a"]
    assert harness.sent("/meta/subscribe")[0]["clientId"] == "session1"
    assert ready == [None]


def test_ready_is_a_new_deferred_each_time() -> None:
    harness = Harness()
    harness.respond = lambda request: None
    subscription = harness.client.subscribe("/a", print)
    early = [outcome(subscription.ready), outcome(subscription.ready)]
    cancelled = subscription.ready
    outcome(cancelled)
    cancelled.cancel()
    harness.respond = harness.reply_to_all
    harness.answer(harness.requests[0])
    assert early == [[None], [None]]
    assert outcome(subscription.ready) == [None]


def test_many_listeners_share_one_subscription() -> None:
    harness = Harness()
    harness.connect()
    got: list[Any] = []
    subscriptions = [
        harness.client.subscribe("/a", lambda m, n=n: got.append((n, m["data"])))  # type: ignore[misc]
        for n in range(3)
    ]
    assert names(harness) == ["/a"]
    assert [outcome(s.ready) for s in subscriptions] == [[None]] * 3
    harness.deliver("/a", 1)
    assert got == [(0, 1), (1, 1), (2, 1)]
    for subscription in subscriptions[:2]:
        subscription.cancel()
        subscription.cancel()
    assert names(harness, "/meta/unsubscribe") == []
    subscriptions[2].cancel()
    assert names(harness, "/meta/unsubscribe") == ["/a"]
    harness.clock.advance(0)
    harness.deliver("/a", 2)
    assert len(got) == 3


def test_a_wildcard_listener_gets_each_message_once() -> None:
    harness = Harness()
    got: list[tuple[str, Any]] = []
    for pattern in ("/a/*", "/a/**", "/**", "/a/b", "/a/b/*"):
        harness.client.subscribe(
            pattern,
            lambda m, p=pattern: got.append((p, m["data"])),  # type: ignore[misc]
        )
    harness.connect()
    harness.deliver("/a/b", 1)
    assert sorted(got) == [("/**", 1), ("/a/*", 1), ("/a/**", 1), ("/a/b", 1)]


def test_a_listener_that_fails_is_logged_and_does_not_affect_others() -> None:
    harness = Harness()
    got: list[Any] = []
    later: Deferred[None] = Deferred()

    def raising(message: Message) -> None:
        raise RuntimeError("a listener")

    async def raising_later(message: Message) -> None:
        await later
        raise RuntimeError("a coroutine")

    harness.client.subscribe("/a", raising)
    harness.client.subscribe("/a", lambda m: fail(RuntimeError("a Deferred")))
    harness.client.subscribe("/a", raising_later)
    harness.client.subscribe("/a", got.append)
    harness.connect()
    harness.deliver("/a", 1)
    later.callback(None)
    harness.clock.advance(0)
    harness.deliver("/a", 2)
    assert [message["data"] for message in got] == [1, 2]
    assert harness.client.state is State.CONNECTED


def test_a_refusal_fails_ready_for_all_listeners() -> None:
    harness = Harness()
    harness.respond = lambda request: None
    readies = [outcome(harness.client.subscribe("/a", print).ready) for _ in range(2)]
    harness.respond = harness.reply_to_all
    harness.refuse("/meta/subscribe", "403:/a:Forbidden channel")
    harness.answer(harness.requests[0])
    harness.clock.advance(0)
    assert [[e.code for e in ready] for ready in readies] == [[403], [403]]
    assert harness.failures == []  # `ready` has reported it
    harness.respond = harness.reply_to_all
    assert outcome(harness.client.subscribe("/a", print).ready) == [None]


def test_a_refusal_is_logged_and_reported_although_nobody_asked_for_ready() -> None:
    harness = Harness()
    harness.connect()
    harness.refuse("/meta/subscribe", "403:/a:Forbidden channel", times=2)
    with capturedLogs() as logged:
        subscriptions = [harness.client.subscribe("/a", print) for _ in range(2)]
    assert [str(error) for error in harness.failures] == [
        "403:/a:Forbidden channel"
    ] * 2
    assert harness.client.last_failure is harness.failures[-1]
    assert not any(subscription.active for subscription in subscriptions)
    texts = [formatEvent(event) for event in logged]
    assert sum("403:/a:Forbidden channel" in text for text in texts) == 2
    assert harness.client.state is State.CONNECTED


def test_a_refusal_in_a_later_session_is_reported() -> None:
    harness = Harness()
    ready = outcome(harness.client.subscribe("/a", print).ready)
    harness.connect()
    harness.refuse("/meta/subscribe", "403:/a:No more")
    harness.answer(harness.held_connect, error="402::Unknown")
    harness.pass_time(1)
    assert ready == [None]
    assert [str(error) for error in harness.failures] == [
        "402::Unknown",
        "403:/a:No more",
    ]


@pytest.mark.parametrize(
    "channel", ["a", "", "/a\n", "/\x7f", "/\x9f", "/\udfff", "/" * 1025, 7, None]
)
def test_an_invalid_channel_is_refused_locally(channel: Any) -> None:
    harness = Harness()
    [error] = outcome(harness.client.subscribe(channel, print).ready)
    assert isinstance(error, BayeuxError)
    assert error.code == 405
    assert harness.requests == []


def test_subscriptions_are_made_again_in_a_new_session_in_order() -> None:
    harness = Harness()
    got: list[Any] = []
    for channel in ("/a", "/b", "/c"):
        harness.client.subscribe(channel, got.append)
    harness.connect()
    harness.client.subscribe("/d", got.append).cancel()
    held = harness.held_connect
    harness.requests.clear()
    harness.answer(held, error="402::Unknown client")
    harness.pass_time(1)
    assert names(harness) == ["/a", "/b", "/c"]
    assert {m["clientId"] for m in harness.sent("/meta/subscribe")} == {"session2"}
    harness.deliver("/b", 1)
    assert [m["data"] for m in got] == [1]


def test_a_subscription_cancelled_before_it_was_sent_is_not_sent() -> None:
    harness = Harness()
    harness.respond = lambda request: None
    subscription = harness.client.subscribe("/a", print)
    ready = outcome(subscription.ready)
    subscription.cancel()
    assert isinstance(ready[0], Closed)
    assert not subscription.active
    harness.respond = harness.reply_to_all
    harness.answer(harness.requests[0])
    harness.clock.advance(0)
    assert names(harness) == names(harness, "/meta/unsubscribe") == []


def test_subscribing_again_while_a_cancelled_subscription_is_in_flight() -> None:
    harness = Harness(types=["long-polling"])
    harness.connect()
    harness.respond = lambda request: None
    first = harness.client.subscribe("/a", print)
    in_flight = harness.last("/meta/subscribe")
    first.cancel()
    second = harness.client.subscribe("/a", print)
    ready = outcome(second.ready)
    harness.answer(in_flight)
    assert ready == []  # that was the answer to the first
    last = harness.last("/meta/subscribe")
    assert last.channels == ["/meta/unsubscribe", "/meta/subscribe"]
    last.answer(*[harness.reply(message) for message in last.messages])
    assert ready == [None]


def test_a_waiting_unsubscribe_is_dropped_with_its_session() -> None:
    harness = Harness(types=["long-polling"])
    harness.client.subscribe("/b", print)
    subscription = harness.client.subscribe("/a", print)
    harness.connect()
    harness.respond = lambda request: request.fail()
    subscription.cancel()
    held = harness.held_connect
    harness.answer(held, error="402::Unknown client")
    harness.respond = harness.reply_to_all
    harness.requests.clear()
    harness.pass_time(2)
    assert names(harness) == ["/b"]
    assert names(harness, "/meta/unsubscribe") == []


def test_a_subscription_refused_with_503_is_retried() -> None:
    harness = Harness()
    harness.connect()
    with harness.refuse("/meta/subscribe", "503::Later", times=None):
        ready = outcome(harness.client.subscribe("/a", print).ready)
        harness.pass_time(5)
        assert ready == []
        assert 2 < len(names(harness)) < 8
    harness.pass_time(10)
    assert ready == [None]


def test_malformed_messages_are_ignored() -> None:
    harness = Harness()
    got: list[Any] = []
    harness.client.subscribe("/**", got.append)
    harness.connect()
    harness.transports[0].receiver.received(
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
    assert harness.client.state is State.CONNECTED


def test_a_subscription_is_an_asynchronous_iterator() -> None:
    harness = Harness()
    harness.connect()
    subscription = harness.client.subscribe("/a")
    got: list[Any] = []

    async def read() -> str:
        async for message in subscription:
            got.extend([message["data"]])
        return "ended"

    ended = outcome(ensureDeferred(read()))
    for number in range(3):
        harness.deliver("/a", number)
        harness.clock.advance(0)
    assert got == [0, 1, 2]
    subscription.cancel()
    assert ended == ["ended"]


BUFFER = 200


@pytest.mark.parametrize("how", ["disconnect", "refused", "overflow"])
def test_how_an_iteration_ends(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("txbayeux.client.subscription.BUFFER", BUFFER)
    harness = Harness()
    harness.connect()
    subscription = harness.client.subscribe("/a")
    for number in range(BUFFER + 5 if how == "overflow" else 2):
        harness.transports[0].receiver.received([{"channel": "/a", "data": number}])
    if how == "refused":
        harness.refuse("/meta/subscribe", "403:/a:No more")
        harness.answer(harness.held_connect, error="402::Unknown")
        harness.pass_time(1)
    elif how == "disconnect":
        harness.client.disconnect()
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


def test_an_iterator_has_one_reader_at_a_time() -> None:
    harness = Harness()
    subscription = harness.client.subscribe("/a")
    waiting = ensureDeferred(subscription.__anext__())
    outcome(waiting)
    [error] = outcome(ensureDeferred(subscription.__anext__()))
    assert isinstance(error, RuntimeError)
    waiting.cancel()
    again = outcome(ensureDeferred(subscription.__anext__()))
    harness.connect()
    harness.deliver("/a", 1)
    assert again[0]["data"] == 1


def test_a_subscription_with_a_listener_is_not_an_iterator() -> None:
    harness = Harness()
    with pytest.raises(TypeError):
        harness.client.subscribe("/a", print).__aiter__()


def test_a_subscription_is_sent_again_after_a_failed_request() -> None:
    harness = Harness(types=["long-polling"])
    harness.connect()

    def serve(request: Request) -> None:
        request.fail()

    harness.respond = serve
    ready = outcome(harness.client.subscribe("/a", print).ready)
    harness.respond = harness.reply_to_all
    harness.pass_time(1)
    assert ready == [None]
    assert names(harness) == ["/a", "/a"]
    assert harness.client.state is State.CONNECTED


def test_ext_goes_with_the_request_in_each_session() -> None:
    harness = Harness()
    ext = {"token": ["x"]}
    harness.client.subscribe("/a", print, ext=ext)
    harness.client.subscribe("/b", print)
    ext["token"].append("later")
    harness.connect()
    harness.answer(harness.held_connect, error="402::Unknown client")
    harness.pass_time(5)
    sent = [(m["subscription"], m.get("ext")) for m in harness.sent("/meta/subscribe")]
    assert sent == [("/a", {"token": ["x"]}), ("/b", None)] * 2


def test_subscriptions_of_a_channel_have_one_ext() -> None:
    harness = Harness()
    first = harness.client.subscribe("/a", print, ext={"token": "x"})
    same = harness.client.subscribe("/a", print, ext={"token": "x"})
    any_other = harness.client.subscribe("/a", print)
    with pytest.raises(ValueError, match="/a is subscribed to with another ext"):
        harness.client.subscribe("/a", print, ext={"token": "y"})
    harness.connect()
    assert harness.count("/meta/subscribe") == 1
    for subscription in (first, same, any_other):
        subscription.cancel()
    harness.client.subscribe("/a", print, ext={"token": "y"})
    tokens = [m["ext"]["token"] for m in harness.sent("/meta/subscribe")]
    assert tokens == ["x", "y"]


def test_ext_of_a_subscription_must_be_json() -> None:
    harness = Harness()
    with pytest.raises(TypeError):
        harness.client.subscribe("/a", print, ext={"token": object()})
    assert harness.requests == []
