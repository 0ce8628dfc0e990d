"""Extensions in general, and those that are shipped."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed

from txbayeux.client import State
from txbayeux.errors import BayeuxError
from txbayeux.extension import Extension
from txbayeux.extensions import ALL, NEW, Ack, Replay, TimeSync
from txbayeux.message import Message

from .stage import Request, Stage, outcome


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
    stage = Stage(extensions=[Changing(kind)])
    got: list[Message] = []
    stage.client.subscribe("/a", got.append)
    data = {"n": 1}
    [reply] = outcome(stage.client.publish("/a", data, ext={"mine": 1}))
    assert reply["came"] is True
    assert all(m["ext"]["seen"] for r in stage.requests for m in r.messages)
    assert stage.sent("/a")[0]["ext"] == {"mine": 1, "seen": True}
    stage.clock.advance(0)
    stage.deliver("/a", 2)
    assert got[0]["came"] is True


def test_what_an_extension_changes_is_the_message_s_own() -> None:
    class Adding(Extension):
        channels = ("/a",)

        def outgoing(self, message: Message, request: object) -> Message:
            message["data"]["n"] += 1
            return message

    stage = Stage(extensions=[Adding()], types=["long-polling"])
    stage.connect()
    stage.server = lambda request: request.fail()
    data = {"n": 1}
    stage.client.publish("/a", data)
    stage.server = stage.serve
    stage.pass_time(1)
    # Once for each attempt, not once more for each.
    assert [m["data"] for m in stage.sent("/a")] == [{"n": 2}, {"n": 2}]
    assert data == {"n": 1}


def test_extensions_may_come_later() -> None:
    stage = Stage()
    stage.connect()
    stage.client.add_extension(Changing("plain"))
    stage.client.publish("/a", 1)
    assert stage.sent("/a")[0]["ext"] == {"seen": True}


@pytest.mark.parametrize("how", ["drops", "refuses", "raises", "fails", "gives 7"])
def test_an_extension_keeps_a_publish_back(how: str) -> None:
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

    stage = Stage(extensions=[Keeping()])
    [error] = outcome(stage.client.publish("/a", 1))
    assert isinstance(error, BayeuxError)
    assert error.code == (403 if how == "refuses" else 500)
    assert outcome(stage.client.publish("/b", 1))[0]["successful"]
    assert stage.count("/a") == 0


def test_messages_keep_their_order_behind_a_slow_extension() -> None:
    waiting: list[Deferred[Message]] = []

    class Slow(Extension):
        channels = ("/a",)

        def incoming(self, message: Message, request: object) -> Deferred[Message]:
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: message)

    stage = Stage(extensions=[Slow()])
    got: list[Any] = []
    stage.client.subscribe("/**", lambda m: got.append(m["data"]))
    stage.connect()
    held = stage.held
    held.answer(
        {"channel": "/a", "data": 1},
        {"channel": "/b", "data": 2},
        {"channel": "/a", "data": 3},
        stage.reply(held.messages[0]),
    )
    assert got == []
    waiting[0].callback({})
    assert got == [1, 2]
    before = stage.count("/meta/connect")
    stage.pass_time(1)
    assert stage.count("/meta/connect") == before  # the reply waits its turn
    waiting[1].callback({})
    stage.pass_time(1)
    assert got == [1, 2, 3]
    assert stage.count("/meta/connect") == before + 1


@pytest.mark.parametrize("instead", [None, {}, {"channel": 7, "successful": "yes"}])
def test_a_reply_that_an_extension_keeps_is_as_good_as_lost(
    instead: Message | None,
) -> None:
    class Keeping(Extension):
        left = 2

        def incoming(self, message: Message, request: object) -> Message | None:
            if message["channel"] in {"/meta/handshake", "/a"} and self.left:
                self.left -= 1
                return instead
            return message

    stage = Stage(extensions=[Keeping()])
    result = outcome(stage.client.publish("/a", 1))
    stage.pass_time(5)
    assert result[0]["successful"] is True
    assert stage.count("/meta/handshake") == 3


def test_disconnecting_waits_for_no_extension() -> None:
    class Stuck(Extension):
        def outgoing(self, message: Message, request: object) -> Any:
            return Deferred() if message["channel"] == "/a" else message

        def incoming(self, message: Message, request: object) -> Any:
            return Deferred() if message["channel"] == "/b" else message

    stage = Stage(extensions=[Stuck()])
    stage.connect()
    result = outcome(stage.client.publish("/a", 1))
    stage.wires[0].receiver.received([{"channel": "/b", "data": 1}])
    ended = outcome(stage.client.disconnect())
    stage.pass_time(10)
    assert ended == [None]
    assert len(result) == 1
    assert stage.clock.getDelayedCalls() == []


# Ack.


def acking(stage: Stage, batch: int | None) -> Any:
    def serve(request: Request) -> None:
        message = request.messages[0]
        if message["channel"] == "/meta/handshake":
            ack: Any = True if batch is None else {"enabled": True, "batch": batch}
            request.answer(stage.reply(message, ext={"ack": ack}))
        else:
            stage.serve(request)

    return serve


@pytest.mark.parametrize("batch", [None, 7])
def test_batches_are_acknowledged_by_the_next_connect(batch: int | None) -> None:
    ack = Ack()
    stage = Stage(extensions=[ack])
    stage.server = acking(stage, batch)
    stage.connect()
    assert stage.sent("/meta/handshake")[0]["ext"] == {"ack": True}
    assert ack.enabled
    acks = [message["ext"]["ack"] for message in stage.sent("/meta/connect")]
    assert acks == [batch or 0] * 2
    held = stage.held
    message = {"channel": "/a", "data": 1}
    held.answer(stage.reply(held.messages[0], ext={"ack": 12}), message)
    stage.clock.advance(0)
    assert stage.held.messages[0]["ext"]["ack"] == 12
    # A connect that failed is repeated with what was last seen.
    stage.held.fail()
    stage.pass_time(1)
    assert {m["ext"]["ack"] for m in stage.sent("/meta/connect")[3:]} == {12}


def test_a_server_that_does_not_acknowledge() -> None:
    ack = Ack()
    stage = Stage(extensions=[ack])
    stage.connect()
    assert not ack.enabled
    assert "ext" not in stage.held.messages[0]


@pytest.mark.parametrize("wrong", ["7", 7.5, True, None, [7], {"batch": "x"}])
def test_an_acknowledgement_of_wrong_shape(wrong: object) -> None:
    stage = Stage(extensions=[Ack()])
    stage.server = acking(stage, 7)
    stage.connect()
    held = stage.held
    held.answer(
        stage.reply(held.messages[0], ext={"ack": wrong}), {"channel": "/a", "data": 1}
    )
    stage.clock.advance(0)
    assert stage.held.messages[0]["ext"]["ack"] == 7


def test_a_new_session_begins_anew() -> None:
    stage = Stage(extensions=[Ack()])
    stage.server = acking(stage, 7)
    stage.connect()
    held = stage.held
    held.answer(stage.reply(held.messages[0], error="402::Unknown", ext={"ack": 9}))
    stage.server = acking(stage, 3)
    stage.pass_time(1)
    assert stage.held.messages[0]["ext"]["ack"] == 3


# Replay.


def event(replay_id: object) -> dict[str, Any]:
    return {"event": {"replayId": replay_id}, "payload": {}}


def test_the_last_id_is_kept_and_asked_for() -> None:
    store: dict[str, int] = {"/b": 70}
    stage = Stage(extensions=[Replay(store)])
    for channel in ("/a", "/b"):
        stage.client.subscribe(channel, lambda m: None)
    stage.connect()
    assert stage.sent("/meta/handshake")[0]["ext"] == {"replay": True}
    asked = [message["ext"]["replay"] for message in stage.sent("/meta/subscribe")]
    assert asked == [{"/a": NEW}, {"/b": 70}]
    for replay_id in (5, 6, "7", None, True):
        stage.deliver("/a", event(replay_id))
        stage.clock.advance(0)
    stage.deliver("/a", "no event")
    stage.clock.advance(1)
    assert store == {"/a": 6, "/b": 70}
    stage.requests.clear()
    [held] = [r for wire in stage.wires for r in wire.requests if r.open]
    held.answer(stage.reply(held.messages[0], error="402::Unknown client"))
    stage.pass_time(1)
    asked = [message["ext"]["replay"] for message in stage.sent("/meta/subscribe")]
    assert asked == [{"/a": 6}, {"/b": 70}]


def refusing_replay(stage: Stage, error: str) -> Any:
    def serve(request: Request) -> None:
        message = request.messages[0]
        if message.get("ext", {}).get("replay") == {"/a": 70}:
            request.answer(stage.reply(message, error=error))
        else:
            stage.serve(request)

    return serve


def test_an_id_that_is_gone_falls_back() -> None:
    store = {"/a": 70}
    stage = Stage(extensions=[Replay(store)], types=["long-polling"])
    stage.connect()
    stage.server = refusing_replay(
        stage, "400::The replayId {70} you provided was invalid. Please provide ..."
    )
    ready = outcome(stage.client.subscribe("/a", print).ready)
    assert ready == []
    stage.pass_time(1)
    assert ready == [None]
    asked = [message["ext"]["replay"] for message in stage.sent("/meta/subscribe")]
    assert asked == [{"/a": 70}, {"/a": ALL}]


def test_other_refusals_are_refusals() -> None:
    stage = Stage(extensions=[Replay({"/a": 70})])
    stage.connect()
    stage.server = refusing_replay(stage, "403:/a:Subscription denied")
    [error] = outcome(stage.client.subscribe("/a", print).ready)
    assert error.code == 403


# Time synchronization.


def test_offset_and_lag_are_estimated() -> None:
    sync = TimeSync(lambda: stage.clock.seconds() + 1000)
    stage = Stage(extensions=[sync])

    def serve(request: Request) -> None:
        message = request.messages[0]
        sent = message["ext"]["timesync"]["tc"]
        # 200 ms each way; the server's clock is 5 s ahead; it takes 30 ms.
        times = {"tc": sent, "ts": sent + 200 + 5000, "p": 30, "a": 0}
        stage.clock.rightNow += 0.43
        reply = stage.reply(message, ext={"timesync": times})
        if stage.is_held(message):
            return
        request.answer(reply)

    stage.server = serve
    stage.client.connect()
    stage.clock.advance(0)
    assert sync.lag == pytest.approx(0.2)
    assert sync.offset == pytest.approx(5.0)
    expected = stage.clock.seconds() + 1005
    assert sync.server_time() == pytest.approx(expected)
    last = stage.sent("/meta/connect")[-1]["ext"]["timesync"]
    assert (last["l"], last["o"]) == (200, 5000)


@pytest.mark.parametrize(
    "wrong",
    [7, [], {}, {"tc": "1", "ts": 2}, {"tc": 1, "ts": 10**30}, {"tc": True, "ts": 1}],
)
def test_times_of_wrong_shape_are_no_samples(wrong: object) -> None:
    sync = TimeSync(lambda: 0.0)
    message = {"channel": "/meta/connect", "ext": {"timesync": wrong}}
    assert sync.incoming(message, None) is message
    assert (sync.offset, sync.lag, sync.server_time()) == (0.0, 0.0, 0.0)


def test_all_of_them_together() -> None:
    stage = Stage(extensions=[Ack(), Replay(), TimeSync()], ext={"token": "x"})
    stage.connect()
    ext = stage.sent("/meta/handshake")[0]["ext"]
    assert ext.keys() == {"token", "ack", "replay", "timesync"}
    assert stage.client.state is State.CONNECTED
