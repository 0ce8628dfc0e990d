"""Show that only what was processed is stored by Replay, or acknowledged by Ack."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred

from txbayeux.client import BufferOverflow, State
from txbayeux.extensions import Ack, Replay
from txbayeux.transport.base import NoReply, Unreachable

from .consumers import DurableServer, Listener, acking, event, holds
from .harness import Harness, no_logged_failures, outcome

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


@pytest.mark.parametrize("types", [["long-polling"], ["websocket"]])
def test_replay_repeats_what_was_lost_with_a_connection(types: list[str]) -> None:
    store: dict[str, int] = {}
    harness = Harness(types=types, extensions=[Replay(store)])
    harness.client.subscribe("/a", lambda m: None)
    harness.connect()
    harness.answer(harness.held_connect, event(1))
    harness.clock.advance(0)
    harness.transports[0].drop()  # and event 2 with it
    harness.pass_time(1)
    assert harness.client.session_id == "session2"
    assert replayed(harness)[-1] == {"/a": 1}


def test_replay_repeats_what_a_gateway_may_have_lost() -> None:
    harness = Harness(types=["long-polling"], extensions=[Replay()])
    harness.client.subscribe("/a", lambda m: None)
    harness.connect()
    harness.answer(harness.held_connect, event(1))
    harness.clock.advance(0)
    harness.held_connect.fail(NoReply("HTTP status 502", 502))
    harness.pass_time(1)
    assert harness.client.session_id == "session2"
    assert replayed(harness)[-1] == {"/a": 1}


def test_replay_keeps_the_session_if_there_was_no_connection_to_lose() -> None:
    harness = Harness(types=["long-polling"], extensions=[Replay()])
    harness.connect()
    harness.held_connect.fail(Unreachable("refused"))
    harness.pass_time(1)
    assert harness.client.session_id == "session1"
    assert harness.client.state is State.CONNECTED


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


def test_replay_does_not_store_what_an_iterator_could_not_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("txbayeux.client.subscription.BUFFER", 100)
    store: dict[str, int] = {}
    harness = Harness(max_unprocessed=1000, extensions=[Replay(store)])
    subscription = harness.client.subscribe("/a")
    harness.connect()
    harness.answer(harness.held_connect, *map(event, range(1, 103)))

    async def read() -> None:
        async for _ in subscription:
            pass

    [error] = outcome(ensureDeferred(read()))
    assert isinstance(error, BufferOverflow)
    assert store == {"/a": 100}
    subscription.cancel()
    harness.client.subscribe("/a", print)
    assert replayed(harness)[-1] == {"/a": 100}


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
