"""Show how extensions run on the client, and what the shipped ones do."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from txbayeux.client import State
from txbayeux.errors import BayeuxError
from txbayeux.extension import Extension
from txbayeux.extensions import ALL, NEW, Ack, Replay, TimeSync
from txbayeux.message import Message

from .harness import Harness, Request, outcome


class Changing(Extension):
    def __init__(self, kind: str) -> None:
        self.kind = kind

    def outgoing(self, message: Message, request: object) -> Any:
        assert request is None
        message.setdefault("ext", {})["seen"] = True
        return succeed(message) if self.kind == "deferred" else message

    def incoming(self, message: Message, request: object) -> Any:
        assert request is None
        message["came"] = True
        return succeed(message) if self.kind == "deferred" else message


@pytest.mark.parametrize("kind", ["plain", "deferred"])
def test_every_message_passes_both_ways(kind: str) -> None:
    harness = Harness(extensions=[Changing(kind)])
    got: list[Message] = []
    harness.client.subscribe("/a", got.append)
    data = {"n": 1}
    [reply] = outcome(harness.client.publish("/a", data, ext={"mine": 1}))
    assert reply["came"] is True
    assert all(m["ext"]["seen"] for r in harness.requests for m in r.messages)
    assert harness.sent("/a")[0]["ext"] == {"mine": 1, "seen": True}
    harness.clock.advance(0)
    harness.deliver("/a", 2)
    assert got[0]["came"] is True


def test_changes_by_an_extension_do_not_accumulate_over_attempts() -> None:
    class Adding(Extension):
        channels = ("/a",)

        def outgoing(self, message: Message, request: object) -> Message:
            message["data"]["n"] += 1
            return message

    harness = Harness(extensions=[Adding()], types=["long-polling"])
    harness.connect()
    harness.respond = lambda request: request.fail()
    data = {"n": 1}
    harness.client.publish("/a", data)
    harness.respond = harness.reply_to_all
    harness.pass_time(1)
    # Once for each attempt, not once more for each.
    assert [m["data"] for m in harness.sent("/a")] == [{"n": 2}, {"n": 2}]
    assert data == {"n": 1}


def test_extensions_can_be_added_later() -> None:
    harness = Harness()
    harness.connect()
    harness.client.add_extension(Changing("plain"))
    harness.client.publish("/a", 1)
    assert harness.sent("/a")[0]["ext"] == {"seen": True}


@pytest.mark.parametrize("how", ["drops", "refuses", "raises", "fails", "gives 7"])
def test_an_extension_can_stop_a_publish(how: str) -> None:
    class Keeping(Extension):
        channels = ("/a",)

        def outgoing(self, message: Message, request: object) -> Any:
            if how == "drops":
                return None
            if how == "raises":
                raise RuntimeError("extension")
            if how == "fails":
                return fail(RuntimeError("extension"))
            if how == "gives 7":
                return 7
            return {**message, "error": "403:/a:Mine"}

    harness = Harness(extensions=[Keeping()])
    [error] = outcome(harness.client.publish("/a", 1))
    assert isinstance(error, BayeuxError)
    assert error.code == (403 if how == "refuses" else 500)
    assert outcome(harness.client.publish("/b", 1))[0]["successful"]
    assert harness.count("/a") == 0


def test_a_publish_cancelled_while_an_extension_has_it_is_not_sent() -> None:
    waiting: list[Deferred[Message]] = []

    class Slow(Extension):
        channels = ("/a",)

        def outgoing(self, message: Message, request: object) -> Deferred[Message]:
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: message)

    harness = Harness(extensions=[Slow()], types=["long-polling"])
    harness.connect()
    publishing = harness.client.publish("/a", 1)
    result = outcome(publishing)
    later = outcome(harness.client.publish("/b", 2))
    publishing.cancel()
    assert isinstance(result[0], CancelledError)
    assert later == []
    waiting[0].callback({})
    assert harness.count("/a") == 0
    assert later[0]["successful"] is True


def test_messages_keep_their_order_behind_a_slow_extension() -> None:
    waiting: list[Deferred[Message]] = []

    class Slow(Extension):
        channels = ("/a",)

        def incoming(self, message: Message, request: object) -> Deferred[Message]:
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: message)

    harness = Harness(extensions=[Slow()])
    got: list[Any] = []
    harness.client.subscribe("/**", lambda m: got.append(m["data"]))
    harness.connect()
    held = harness.held_connect
    held.answer(
        {"channel": "/a", "data": 1},
        {"channel": "/b", "data": 2},
        {"channel": "/a", "data": 3},
        harness.reply(held.messages[0]),
    )
    assert got == []
    waiting[0].callback({})
    assert got == [1, 2]
    before = harness.count("/meta/connect")
    harness.pass_time(1)
    assert harness.count("/meta/connect") == before  # the reply waits its turn
    waiting[1].callback({})
    harness.pass_time(1)
    assert got == [1, 2, 3]
    assert harness.count("/meta/connect") == before + 1


@pytest.mark.parametrize("instead", [None, {}, {"channel": 7, "successful": "yes"}])
def test_a_reply_dropped_by_an_extension_counts_as_lost(
    instead: Message | None,
) -> None:
    class Keeping(Extension):
        left = 2

        def incoming(self, message: Message, request: object) -> Message | None:
            if message["channel"] in {"/meta/handshake", "/a"} and self.left:
                self.left -= 1
                return instead
            return message

    harness = Harness(extensions=[Keeping()])
    result = outcome(harness.client.publish("/a", 1))
    harness.pass_time(5)
    assert result[0]["successful"] is True
    assert harness.count("/meta/handshake") == 3


def test_disconnecting_does_not_wait_for_extensions() -> None:
    class Stuck(Extension):
        def outgoing(self, message: Message, request: object) -> Any:
            return Deferred() if message["channel"] == "/a" else message

        def incoming(self, message: Message, request: object) -> Any:
            return Deferred() if message["channel"] == "/b" else message

    harness = Harness(extensions=[Stuck()])
    harness.connect()
    result = outcome(harness.client.publish("/a", 1))
    harness.transports[0].receiver.received([{"channel": "/b", "data": 1}])
    ended = outcome(harness.client.disconnect())
    harness.pass_time(10)
    assert ended == [None]
    assert len(result) == 1
    assert harness.clock.getDelayedCalls() == []


# Ack.


def acking(harness: Harness, batch: int | None) -> Any:
    def serve(request: Request) -> None:
        message = request.messages[0]
        if message["channel"] == "/meta/handshake":
            ack: Any = True if batch is None else {"enabled": True, "batch": batch}
            request.answer(harness.reply(message, ext={"ack": ack}))
        else:
            harness.reply_to_all(request)

    return serve


@pytest.mark.parametrize("batch", [None, 7])
def test_batches_are_acknowledged_by_the_next_connect(batch: int | None) -> None:
    ack = Ack()
    harness = Harness(extensions=[ack])
    harness.respond = acking(harness, batch)
    harness.connect()
    assert harness.sent("/meta/handshake")[0]["ext"] == {"ack": True}
    assert ack.enabled
    acks = [message["ext"]["ack"] for message in harness.sent("/meta/connect")]
    assert acks == [batch or 0] * 2
    held = harness.held_connect
    message = {"channel": "/a", "data": 1}
    harness.answer(held, message, ext={"ack": 12})
    harness.clock.advance(0)
    assert harness.held_connect.messages[0]["ext"]["ack"] == 12
    # A connect that failed is repeated with what was last seen.
    harness.held_connect.fail()
    harness.pass_time(1)
    assert {m["ext"]["ack"] for m in harness.sent("/meta/connect")[3:]} == {12}


def test_ack_is_disabled_if_the_server_does_not_support_it() -> None:
    ack = Ack()
    harness = Harness(extensions=[ack])
    harness.connect()
    assert not ack.enabled
    assert "ext" not in harness.held_connect.messages[0]


@pytest.mark.parametrize("wrong", ["7", 7.5, True, None, [7], {"batch": "x"}])
def test_malformed_acknowledgements_are_ignored(wrong: object) -> None:
    harness = Harness(extensions=[Ack()])
    harness.respond = acking(harness, 7)
    harness.connect()
    held = harness.held_connect
    harness.answer(held, {"channel": "/a", "data": 1}, ext={"ack": wrong})
    harness.clock.advance(0)
    assert harness.held_connect.messages[0]["ext"]["ack"] == 7


def test_a_new_session_resets_the_acknowledgement() -> None:
    harness = Harness(extensions=[Ack()])
    harness.respond = acking(harness, 7)
    harness.connect()
    held = harness.held_connect
    harness.answer(held, error="402::Unknown", ext={"ack": 9})
    harness.respond = acking(harness, 3)
    harness.pass_time(1)
    assert harness.held_connect.messages[0]["ext"]["ack"] == 3


# Replay.


def event(replay_id: object) -> dict[str, Any]:
    return {"event": {"replayId": replay_id}, "payload": {}}


def test_replay_stores_ids_and_requests_them() -> None:
    store: dict[str, int] = {"/b": 70}
    harness = Harness(extensions=[Replay(store)])
    for channel in ("/a", "/b"):
        harness.client.subscribe(channel, lambda m: None)
    harness.connect()
    assert harness.sent("/meta/handshake")[0]["ext"] == {"replay": True}
    requested = [
        message["ext"]["replay"] for message in harness.sent("/meta/subscribe")
    ]
    assert requested == [{"/a": NEW}, {"/b": 70}]
    for replay_id in (5, 6, "7", None, True):
        harness.deliver("/a", event(replay_id))
        harness.clock.advance(0)
    harness.deliver("/a", "no event")
    harness.clock.advance(1)
    assert store == {"/a": 6, "/b": 70}
    harness.requests.clear()
    [held] = [
        r for transport in harness.transports for r in transport.requests if r.open
    ]
    harness.answer(held, error="402::Unknown client")
    harness.pass_time(1)
    requested = [
        message["ext"]["replay"] for message in harness.sent("/meta/subscribe")
    ]
    assert requested == [{"/a": 6}, {"/b": 70}]


def refusing_replay(harness: Harness, error: str) -> Any:
    def serve(request: Request) -> None:
        message = request.messages[0]
        if message.get("ext", {}).get("replay") == {"/a": 70}:
            request.answer(harness.reply(message, error=error))
        else:
            harness.reply_to_all(request)

    return serve


def test_replay_falls_back_if_the_id_is_gone() -> None:
    store = {"/a": 70}
    harness = Harness(extensions=[Replay(store)], types=["long-polling"])
    harness.connect()
    harness.respond = refusing_replay(
        harness, "400::The replayId {70} you provided was invalid. Please provide ..."
    )
    ready = outcome(harness.client.subscribe("/a", print).ready)
    assert ready == []
    harness.pass_time(1)
    assert ready == [None]
    requested = [
        message["ext"]["replay"] for message in harness.sent("/meta/subscribe")
    ]
    assert requested == [{"/a": 70}, {"/a": ALL}]


def test_replay_passes_on_other_refusals() -> None:
    harness = Harness(extensions=[Replay({"/a": 70})])
    harness.connect()
    harness.respond = refusing_replay(harness, "403:/a:Subscription denied")
    [error] = outcome(harness.client.subscribe("/a", print).ready)
    assert error.code == 403


# Time synchronization.


def test_offset_and_lag_are_estimated() -> None:
    sync = TimeSync(lambda: harness.clock.seconds() + 1000)
    harness = Harness(extensions=[sync])

    def serve(request: Request) -> None:
        message = request.messages[0]
        sent = message["ext"]["timesync"]["tc"]
        # 200 ms each way; the server's clock is 5 s ahead; it takes 30 ms.
        times = {"tc": sent, "ts": sent + 200 + 5000, "p": 30, "a": 0}
        harness.clock.rightNow += 0.43
        reply = harness.reply(message, ext={"timesync": times})
        if harness.is_held(message):
            return
        request.answer(reply)

    harness.respond = serve
    harness.client.connect()
    harness.clock.advance(0)
    assert sync.lag == pytest.approx(0.2)
    assert sync.offset == pytest.approx(5.0)
    expected = harness.clock.seconds() + 1005
    assert sync.server_time() == pytest.approx(expected)
    last = harness.sent("/meta/connect")[-1]["ext"]["timesync"]
    assert (last["l"], last["o"]) == (200, 5000)


@pytest.mark.parametrize(
    "wrong",
    [7, [], {}, {"tc": "1", "ts": 2}, {"tc": 1, "ts": 10**30}, {"tc": True, "ts": 1}],
)
def test_malformed_times_are_ignored(wrong: object) -> None:
    sync = TimeSync(lambda: 0.0)
    message = {"channel": "/meta/connect", "ext": {"timesync": wrong}}
    assert sync.incoming(message, None) is message
    assert (sync.offset, sync.lag, sync.server_time()) == (0.0, 0.0, 0.0)


def test_all_shipped_extensions_work_together() -> None:
    harness = Harness(extensions=[Ack(), Replay(), TimeSync()], ext={"token": "x"})
    harness.connect()
    ext = harness.sent("/meta/handshake")[0]["ext"]
    assert ext.keys() == {"token", "ack", "replay", "timesync"}
    assert harness.client.state is State.CONNECTED
