"""Show that a slow consumer slows the client down, and loses nothing.

Connects wait while too many messages have not been processed; only what was processed
is stored by Replay, or acknowledged by Ack.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail
from twisted.internet.task import deferLater
from twisted.logger import capturedLogs, formatEvent

from txbayeux.client import BufferOverflow, State
from txbayeux.client.flow import DEFAULT_LIMIT, STALLED
from txbayeux.client.subscription import BUFFER
from txbayeux.extension import Extension
from txbayeux.extensions import ALL, Ack, Replay
from txbayeux.message import Message

from .harness import Harness, Request, no_logged_failures, outcome

EVENTS = 6_000
AT_ONCE = 500


def event(number: int, channel: str = "/a") -> Message:
    return {"channel": channel, "data": {"event": {"replayId": number}}}


def number_of(message: Message) -> int:
    return int(message["data"]["event"]["replayId"])


class DurableServer(Harness):
    """Replays ``EVENTS`` events behind the one asked for, ``AT_ONCE`` a connect."""

    def __init__(self, **options: Any) -> None:
        super().__init__(types=["long-polling"], **options)
        self.sent_up_to = EVENTS  # until somebody subscribes
        self.respond = self.replay

    def replay(self, request: Request) -> None:
        replies = []
        for message in request.messages:
            if message["channel"] == "/meta/subscribe":
                [self.sent_up_to] = message["ext"]["replay"].values()
                self.sent_up_to = max(0, self.sent_up_to)
            if message["channel"] == "/meta/connect":
                last = min(EVENTS, self.sent_up_to + AT_ONCE)
                replies += map(event, range(self.sent_up_to + 1, last + 1))
                if self.is_held(message) and self.sent_up_to == last:
                    return
                self.sent_up_to = last
            replies.append(self.reply(message))
        request.answer(*replies)


class Listener:
    """Works on each message until the test lets it finish."""

    def __init__(self, kind: str = "deferred") -> None:
        self.kind = kind
        self.got: list[Any] = []
        self.working: list[Deferred[None]] = []

    def __call__(self, message: Message) -> Any:
        self.got.append(message["data"])
        self.working.append(Deferred())
        return self.wait() if self.kind == "coroutine" else self.working[-1]

    async def wait(self) -> None:
        await self.working[-1]

    def finish(self, count: int) -> None:
        for _ in range(count):
            self.working.pop(0).callback(None)


def deliver(harness: Harness, count: int, channel: str = "/a") -> None:
    held = harness.held_connect
    items = [{"channel": channel, "data": n} for n in range(count)]
    held.answer(*items, harness.reply(held.messages[0]))
    harness.clock.advance(0)


def holds(harness: Harness) -> bool:
    """Return whether a connect is in flight, after more than any delay."""
    harness.pass_time(10, step=1)
    return any(r.open and r.channels == ["/meta/connect"] for r in harness.requests)


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
    harness.pass_time(EVENTS * 0.002 * 2, step=0.002)
    assert got == list(range(1, EVENTS + 1))
    assert ended == []
    assert most <= AT_ONCE + DEFAULT_LIMIT
    assert store == {"/a": EVENTS}


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
        harness.pass_time(10, step=1)
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
            harness.pass_time(STALLED, step=1)
    [line] = [text for text in map(formatEvent, logged) if "/stuck/x" in str(text)]
    assert "next connect" in str(line)
    stuck.finish(1)
    assert holds(harness)
    with capturedLogs() as logged:
        harness.pass_time(3 * STALLED, step=1)
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


# Replay.


def replayed(harness: Harness) -> list[Any]:
    return [m["ext"]["replay"] for m in harness.sent("/meta/subscribe")]


def test_replay_stores_an_id_once_all_before_it_are_processed() -> None:
    store: dict[str, int] = {}
    harness = Harness(extensions=[Replay(store)])
    listener = Listener()
    harness.client.subscribe("/**", listener)
    harness.connect()
    harness.answer(
        harness.held_connect, *map(event, (1, 2, 3, 4)), event(9, "/b"), event(10, "/b")
    )
    assert store == {}
    one, two, three, four, nine, ten = listener.working
    two.callback(None)
    ten.callback(None)
    assert store == {}
    one.callback(None)
    assert store == {"/a": 2}
    nine.callback(None)
    assert store == {"/a": 2, "/b": 10}
    four.callback(None)
    three.callback(None)
    assert store == {"/a": 4, "/b": 10}


def test_after_a_restart_replay_repeats_what_was_being_processed() -> None:
    store = {"/a": 0}
    first = DurableServer(extensions=[Replay(store)])
    listener = Listener()
    first.client.subscribe("/a", listener)
    first.client.connect()
    first.clock.advance(0)
    listener.finish(3)
    second = DurableServer(extensions=[Replay(dict(store))])
    again = Listener()
    second.client.subscribe("/a", again)
    second.client.connect()
    second.clock.advance(0)
    assert [data["event"]["replayId"] for data in again.got[:2]] == [4, 5]


def test_in_a_new_session_replay_does_not_repeat_what_has_arrived() -> None:
    store: dict[str, int] = {}
    harness = Harness(extensions=[Replay(store)])
    listener = Listener()
    harness.client.subscribe("/a", listener)
    harness.connect()
    harness.answer(harness.held_connect, *map(event, (1, 2, 3)))
    harness.clock.advance(0)
    listener.finish(1)
    harness.requests.clear()
    [held] = [r for t in harness.transports for r in t.requests if r.open]
    harness.answer(held, error="402::Unknown client")
    harness.pass_time(1)
    assert replayed(harness) == [{"/a": 3}]
    harness.answer(harness.held_connect, event(4))
    assert store == {"/a": 1}
    listener.finish(3)
    assert store == {"/a": 4}


def test_replay_repeats_what_a_cancelled_subscription_has_not_finished() -> None:
    store: dict[str, int] = {}
    harness = Harness(extensions=[Replay(store)])
    subscription = harness.client.subscribe("/a")
    harness.connect()
    harness.answer(harness.held_connect, *map(event, (1, 2, 3)))
    harness.clock.advance(0)
    for _ in range(2):
        outcome(ensureDeferred(subscription.__anext__()))
    assert store == {"/a": 1}
    subscription.cancel()
    harness.answer(harness.held_connect, event(4))  # crossed the unsubscribe
    harness.clock.advance(0)
    assert store == {"/a": 1}
    harness.requests.clear()
    harness.client.subscribe("/a", print)
    assert replayed(harness) == [{"/a": 1}]
    [held] = [r for t in harness.transports for r in t.requests if r.open]
    harness.answer(held, event(2))
    assert store == {"/a": 2}


def test_what_another_subscription_has_processed_is_stored_after_a_cancel() -> None:
    store: dict[str, int] = {}
    harness = Harness(extensions=[Replay(store)])
    cancelled = harness.client.subscribe("/a")
    harness.client.subscribe("/a", lambda m: None)
    harness.connect()
    harness.answer(harness.held_connect, event(1))
    assert store == {}
    cancelled.cancel()
    assert store == {"/a": 1}


def test_replay_does_not_store_what_an_iterator_could_not_take() -> None:
    store: dict[str, int] = {}
    harness = Harness(max_unprocessed=2 * BUFFER, extensions=[Replay(store)])
    subscription = harness.client.subscribe("/a")
    harness.connect()
    harness.answer(harness.held_connect, *map(event, range(1, BUFFER + 3)))

    async def read() -> None:
        async for _ in subscription:
            pass

    [error] = outcome(ensureDeferred(read()))
    assert isinstance(error, BufferOverflow)
    assert store == {"/a": BUFFER}
    subscription.cancel()
    harness.client.subscribe("/a", print)
    assert replayed(harness)[-1] == {"/a": BUFFER}


def test_an_extension_that_fails_on_a_processed_message_affects_nothing_else() -> None:
    class Closed(dict[str, int]):
        def __setitem__(self, key: str, value: int) -> None:
            raise ValueError("the store is closed")

    store: dict[str, int] = {}
    harness = Harness(extensions=[Replay(Closed()), Replay(store)])
    harness.client.subscribe("/a", lambda m: None)
    harness.connect()
    harness.answer(harness.held_connect, event(1))
    assert store == {"/a": 1}
    assert holds(harness)


# Ack.


def acking(harness: Harness) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if request.channels == ["/meta/handshake"]:
            ack = {"enabled": True, "batch": 0}
            request.answer(harness.reply(request.messages[0], ext={"ack": ack}))
        else:
            harness.reply_to_all(request)

    return serve


def acknowledged(harness: Harness) -> list[int]:
    return [m["ext"]["ack"] for m in harness.sent("/meta/connect")]


def batch(harness: Harness, number: int, count: int) -> None:
    """Answer the held connect with so many messages, as batch ``number``."""
    held = harness.held_connect
    items = [{"channel": "/a", "data": n} for n in range(count)]
    held.answer(*items, harness.reply(held.messages[0], ext={"ack": number}))
    harness.clock.advance(0)


@pytest.mark.parametrize("types", [["long-polling"], ["websocket"]])
def test_a_batch_is_acknowledged_once_it_is_processed(types: list[str]) -> None:
    harness = Harness(types=types, extensions=[Ack()])
    harness.respond = acking(harness)
    listener = Listener()
    harness.client.subscribe("/a", listener)
    harness.connect()
    batch(harness, 1, 3)
    assert acknowledged(harness) == [0, 0]
    listener.finish(2)
    assert outcome(harness.client.publish("/b", 1))[0]["successful"]
    assert not holds(harness)
    listener.finish(1)
    assert holds(harness)
    assert acknowledged(harness) == [0, 0, 1]
    batch(harness, 2, 0)
    assert acknowledged(harness) == [0, 0, 1, 2]


def test_after_a_failure_only_what_was_processed_is_acknowledged() -> None:
    harness = Harness(types=["websocket"], extensions=[Ack()])
    harness.respond = acking(harness)
    listener = Listener()
    harness.client.subscribe("/a", listener)
    harness.connect()
    batch(harness, 1, 1)
    listener.finish(1)
    harness.clock.advance(0)
    batch(harness, 2, 2)
    listener.finish(1)
    harness.transports[0].drop()
    harness.pass_time(5)
    assert acknowledged(harness) == [0, 0, 1, 1]  # the last asks for an answer at once
    assert not holds(harness)
    listener.finish(1)
    assert holds(harness)
    assert acknowledged(harness) == [0, 0, 1, 1, 2]


def test_messages_of_a_lost_session_do_not_hold_up_the_next() -> None:
    harness = Harness(types=["long-polling"], extensions=[Ack()])
    harness.respond = acking(harness)
    listener = Listener()
    harness.client.subscribe("/a", listener)
    harness.connect()
    batch(harness, 5, 1)
    harness.respond = lambda request: harness.answer(request, error="402::Unknown")
    harness.client.publish("/b", 1)
    harness.respond = acking(harness)
    harness.requests.clear()
    harness.pass_time(5)
    assert harness.client.session_id == "session2"
    assert acknowledged(harness) == [0, 0]
    batch(harness, 1, 1)
    with no_logged_failures():
        listener.finish(1)
        assert acknowledged(harness) == [0, 0]
        listener.finish(1)
    assert holds(harness)
    assert acknowledged(harness) == [0, 0, 1]
