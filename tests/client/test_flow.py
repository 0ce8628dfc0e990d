"""Show that a slow consumer slows the client down, and loses nothing.

Connects wait while too many messages have not been processed, and nothing else does.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent

from txbayeux.client import State
from txbayeux.client.flow import DEFAULT_LIMIT, STALLED
from txbayeux.extension import Extension
from txbayeux.extensions import ALL, Ack, Replay
from txbayeux.message import Message
from txbayeux.transport.base import TransportUnavailable

from .consumers import (
    AT_ONCE,
    EVENTS,
    DurableServer,
    Listener,
    acking,
    deliver,
    event,
    holds,
    number_of,
)
from .harness import Harness, no_logged_failures, outcome

# Back-pressure.


def test_a_slow_iterator_gets_all_that_a_durable_server_replays() -> None:
    store: dict[str, int] = {}
    harness = DurableServer(extensions=[Replay(store, default=ALL)])
    got: list[int] = []
    most = 0

    async def read() -> None:
        nonlocal most
        async for message in harness.client.subscribe("/a"):
            assert store.get("/a", 0) == len(got)
            most = max(most, harness.client.unprocessed)
            await deferLater(harness.clock, 0.002, lambda: None)
            got.append(number_of(message))

    ended = outcome(ensureDeferred(read()))
    harness.pass_time(EVENTS * 0.002 * 2)
    assert got == list(range(1, EVENTS + 1))
    assert ended == []
    assert most <= AT_ONCE + DEFAULT_LIMIT
    assert store == {"/a": EVENTS}


def test_an_iterator_gets_all_of_a_response_that_is_larger_than_the_bound() -> None:
    harness = Harness()
    subscription = harness.client.subscribe("/a")
    harness.connect()
    deliver(harness, EVENTS)
    got: list[Any] = []

    async def read() -> None:
        async for message in subscription:
            got.append(message["data"])  # noqa: PERF401 (it does not end)

    outcome(ensureDeferred(read()))
    assert got == list(range(EVENTS))
    assert holds(harness)


@pytest.mark.parametrize("kind", ["deferred", "coroutine"])
@pytest.mark.parametrize("types", [["long-polling"], ["websocket"]])
def test_connects_wait_for_listeners(kind: str, types: list[str]) -> None:
    harness = Harness(types=types)
    listener = Listener(kind)
    harness.client.subscribe("/a", listener)
    harness.connect()
    deliver(harness, 99)
    assert holds(harness)
    deliver(harness, 1)
    assert not holds(harness)
    assert harness.client.state is State.CONNECTED
    listener.finish(49)
    assert not holds(harness)
    listener.finish(1)
    assert holds(harness)
    assert listener.got == [*range(99), 0]


def test_transports_are_paused_meanwhile() -> None:
    harness = Harness()
    listener = Listener()
    harness.client.subscribe("/a", listener)
    harness.connect()
    [socket] = harness.transports
    deliver(harness, 100)
    assert socket.paused
    harness.respond = lambda request: (
        request.fail(TransportUnavailable("no sockets"))
        if request.transport is socket
        else harness.reply_to_all(request)
    )
    socket.drop(TransportUnavailable("no sockets"))
    harness.pass_time(1)
    assert harness.client.transport == "long-polling"
    assert harness.transports[-1].paused
    listener.finish(50)
    assert not harness.transports[-1].paused
    assert holds(harness)


def test_the_bound_is_an_option() -> None:
    harness = Harness(max_unprocessed=1)
    listener = Listener()
    harness.client.subscribe("/a", listener)
    harness.connect()
    deliver(harness, 1)
    assert not holds(harness)
    listener.finish(1)
    assert holds(harness)
    with pytest.raises(ValueError, match="max_unprocessed"):
        Harness(max_unprocessed=0)


def test_each_message_counts_once_however_many_listeners_it_has() -> None:
    harness = Harness()
    listeners = [Listener() for _ in range(3)]
    for listener in listeners:
        harness.client.subscribe("/a", listener)
    harness.connect()
    deliver(harness, 60)
    assert harness.client.unprocessed == 60
    listeners[0].finish(60)
    listeners[1].finish(60)
    assert harness.client.unprocessed == 60
    listeners[2].finish(60)
    assert harness.client.unprocessed == 0


def test_a_listener_that_fails_has_finished() -> None:
    harness = Harness(max_unprocessed=1)
    harness.client.subscribe("/a", lambda m: fail(RuntimeError("a Deferred")))
    harness.client.subscribe("/a", lambda m: {}["missing"])
    harness.connect()
    deliver(harness, 5)
    assert harness.client.unprocessed == 0
    assert holds(harness)


def test_an_iterator_has_finished_a_message_when_it_asks_for_the_next() -> None:
    harness = Harness(max_unprocessed=2)
    subscription = harness.client.subscribe("/a")
    harness.connect()
    deliver(harness, 2)
    outcome(ensureDeferred(subscription.__anext__()))
    assert harness.client.unprocessed == 2
    assert not holds(harness)
    outcome(ensureDeferred(subscription.__anext__()))
    assert harness.client.unprocessed == 1
    assert holds(harness)
    last = outcome(ensureDeferred(subscription.__anext__()))
    assert last == []
    assert harness.client.unprocessed == 0


def test_it_suffices_that_a_message_was_taken_if_the_consumer_wants_that() -> None:
    store: dict[str, int] = {}
    harness = Harness(max_unprocessed=1, extensions=[Replay(store)])
    listener = Listener()
    harness.client.subscribe("/a", listener, processed="taken")
    subscription = harness.client.subscribe("/b", processed="taken")
    harness.connect()
    deliver(harness, 5)
    assert harness.client.unprocessed == 0
    harness.answer(harness.held_connect, event(7), event(8, "/b"))
    assert store == {"/a": 7}
    assert harness.client.unprocessed == 1
    outcome(ensureDeferred(subscription.__anext__()))
    assert store == {"/a": 7, "/b": 8}
    with pytest.raises(ValueError, match="processed"):
        harness.client.subscribe("/a", processed="never")  # type: ignore[arg-type]


def test_messages_behind_a_slow_extension_count() -> None:
    waiting: list[Deferred[None]] = []

    class Slow(Extension):
        channels = ("/a",)

        def incoming(self, message: Message, request: object) -> Any:
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: message)

    harness = Harness(extensions=[Slow()])
    got: list[Any] = []
    harness.client.subscribe("/a", lambda m: got.append(m["data"]))
    harness.connect()
    deliver(harness, 101)
    assert harness.client.unprocessed >= 100
    while waiting:
        waiting.pop(0).callback(None)
    assert got == list(range(101))
    assert harness.client.unprocessed == 0


# What goes on while connects wait.


@pytest.mark.parametrize("types", [["long-polling"], ["websocket"]])
def test_a_listener_can_wait_for_its_publish_while_connects_wait(
    types: list[str],
) -> None:
    harness = Harness(types=types, max_unprocessed=10)
    published: list[Any] = []

    async def answer(message: Message) -> None:
        await harness.client.publish("/b", message["data"])
        await harness.client.subscribe("/c", print).ready
        published.append(message["data"])

    harness.client.subscribe("/a", answer)
    harness.connect()
    answering = harness.respond
    harness.respond = lambda request: None
    deliver(harness, 50)
    assert harness.client.unprocessed == 50
    harness.respond = answering
    waiting = [request for request in harness.requests if request.open]
    while waiting:
        for request in waiting:
            request.answer(*[harness.reply(m) for m in request.messages])
        waiting = [r for r in harness.requests if r.open and "/b" in r.channels]
    harness.pass_time(1)
    assert sorted(published) == list(range(50))
    assert holds(harness)


def test_publishes_are_sent_again_after_failures_while_connects_wait() -> None:
    harness = Harness(types=["long-polling"], max_unprocessed=1)
    listener = Listener()
    harness.client.subscribe("/a", listener)
    harness.connect()
    deliver(harness, 1)
    harness.respond = lambda request: request.fail()
    result = outcome(harness.client.publish("/b", 1))
    harness.respond = harness.reply_to_all
    harness.pass_time(5)
    assert result[0]["successful"] is True
    assert not holds(harness)
    assert harness.client.state is State.CONNECTED
    listener.finish(1)
    assert holds(harness)


def test_a_session_that_is_lost_meanwhile_is_replaced() -> None:
    harness = Harness(types=["long-polling"], max_unprocessed=1)
    listener = Listener()
    harness.client.subscribe("/a", listener)
    harness.connect()
    deliver(harness, 1)
    assert not holds(harness)
    harness.respond = lambda request: harness.answer(request, error="402::Unknown")
    result = outcome(harness.client.publish("/b", 1))
    harness.respond = harness.reply_to_all
    harness.pass_time(5)
    assert harness.client.session_id == "session2"
    assert result[0]["successful"] is True
    assert not holds(harness)  # but for the first, which a new session needs
    listener.finish(1)
    assert holds(harness)
    assert harness.client.session_id == "session2"


def test_the_client_can_be_disconnected_while_messages_are_processed() -> None:
    store: dict[str, int] = {}
    harness = Harness(max_unprocessed=1, extensions=[Ack(), Replay(store)])
    harness.respond = acking(harness)
    listener = Listener()
    harness.client.subscribe("/a", listener)
    iterator = harness.client.subscribe("/a")
    harness.connect()
    harness.answer(harness.held_connect, event(1))
    with no_logged_failures():
        harness.respond = lambda request: None
        ended = outcome(harness.client.disconnect())
        harness.transports[0].receiver.received([event(2)])  # nobody wants it
        harness.pass_time(10)
        assert ended == [None]
        assert harness.clock.getDelayedCalls() == []
        # What is finished nevertheless does not come again.
        listener.finish(1)
        assert store == {}
        outcome(ensureDeferred(iterator.__anext__()))
        outcome(ensureDeferred(iterator.__anext__()))
        assert store == {"/a": 1}
        assert harness.clock.getDelayedCalls() == []


def test_a_message_that_is_never_finished_is_logged_once() -> None:
    harness = Harness(max_unprocessed=1)
    stuck = Listener()
    harness.client.subscribe("/stuck/*", stuck)
    harness.connect()
    harness.deliver("/stuck/x", 1)
    with capturedLogs() as logged:
        for _ in range(5):
            harness.pass_time(STALLED)
    [line] = [text for text in map(formatEvent, logged) if "/stuck/x" in str(text)]
    assert "next connect" in str(line)
    stuck.finish(1)
    assert holds(harness)
    with capturedLogs() as logged:
        harness.pass_time(3 * STALLED)
    assert not any("/stuck/x" in str(formatEvent(event)) for event in logged)


def test_one_message_that_is_never_finished_holds_up_nothing_else() -> None:
    store: dict[str, int] = {}
    harness = Harness(max_unprocessed=10, extensions=[Replay(store)])
    harness.client.subscribe("/stuck", Listener())
    got: list[int] = []
    harness.client.subscribe("/a", lambda m: got.append(number_of(m)))
    harness.connect()
    harness.answer(harness.held_connect, event(1, "/stuck"))
    harness.clock.advance(0)
    for number in range(1, 51):
        harness.answer(harness.held_connect, event(number))
        harness.clock.advance(0)
    assert got == list(range(1, 51))
    assert store == {"/a": 50}


def test_a_cancelled_subscription_does_not_hold_up_the_client() -> None:
    harness = Harness()
    subscription = harness.client.subscribe("/a")
    harness.connect()
    deliver(harness, 100)
    outcome(ensureDeferred(subscription.__anext__()))
    assert not holds(harness)
    subscription.cancel()
    assert harness.client.unprocessed == 0
    assert holds(harness)
    assert outcome(ensureDeferred(subscription.__anext__()))[0]["data"] == 1
