"""The way up, and the way down."""

from __future__ import annotations

import pytest

from txbayeux.client import Closed, State
from txbayeux.errors import BayeuxError
from txbayeux.transport.base import NoReply

from .stage import Stage, outcome


def test_nothing_happens_before_something_is_asked() -> None:
    stage = Stage()
    stage.clock.advance(3600)
    assert stage.requests == []
    assert stage.client.state is State.IDLE


def test_handshake_then_connect_at_once_then_a_held_connect() -> None:
    stage = Stage()
    connected = outcome(stage.client.connect())
    assert connected == [None]
    stage.clock.advance(0)
    [handshake] = stage.sent("/meta/handshake")
    assert handshake["version"] == "1.0"
    assert handshake["supportedConnectionTypes"] == ["websocket", "long-polling"]
    assert "clientId" not in handshake
    opening, held = stage.sent("/meta/connect")
    assert opening["advice"] == {"timeout": 0}
    assert "advice" not in held
    assert held["clientId"] == stage.client.session_id == "session1"
    assert held["connectionType"] == "websocket"
    assert stage.states == [State.HANDSHAKING, State.CONNECTING, State.CONNECTED]


def test_one_connect_is_in_flight_and_its_reply_brings_the_next() -> None:
    stage = Stage()
    stage.connect()
    for expected in range(3, 10):
        stage.clock.advance(30)
        stage.held.answer(stage.reply(stage.held.messages[0]))
        stage.clock.advance(0)
        assert stage.count("/meta/connect") == expected
        assert stage.held


def test_ids_are_unique() -> None:
    stage = Stage()
    stage.connect()
    for number in range(20):
        stage.client.publish("/a", number)
    identities = [m["id"] for r in stage.requests for m in r.messages]
    assert len(set(identities)) == len(identities)


def test_a_change_of_state_is_seen_by_all_also_if_one_raises() -> None:
    stage = Stage()
    seen: list[str] = []

    def broken(new: State, old: State) -> None:
        raise RuntimeError("listener")

    stop_broken = stage.client.on_state(broken)
    stage.client.on_up(lambda: seen.append("up"))
    stop = stage.client.on_down(lambda: seen.append("down"))
    stage.connect()
    stage.held.fail()
    stage.clock.advance(1)
    assert seen == ["up", "down", "up"]
    stop.cancel()
    stop_broken.cancel()
    stage.held.fail()
    assert seen == ["up", "down", "up"]


def test_disconnect_says_goodbye_and_leaves_nothing() -> None:
    stage = Stage()
    stage.connect()
    held = stage.held
    ended = outcome(stage.client.disconnect())
    assert ended == [None]
    [goodbye] = stage.sent("/meta/disconnect")
    assert goodbye["clientId"] == "session1"
    assert stage.states[-2:] == [State.DISCONNECTING, State.DISCONNECTED]
    assert not held.open
    assert all(wire.closed for wire in stage.wires)
    assert stage.clock.getDelayedCalls() == []
    assert outcome(stage.client.disconnect()) == [None]
    assert stage.count("/meta/disconnect") == 1


def test_disconnect_is_bounded_when_nobody_answers() -> None:
    stage = Stage()
    stage.connect()
    stage.server = lambda request: None
    ended = outcome(stage.client.disconnect())
    stage.clock.advance(4.9)
    assert ended == []
    stage.clock.advance(0.2)
    assert ended == [None]
    assert stage.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    "reached",
    [
        State.IDLE,
        State.HANDSHAKING,
        State.WAITING,
        State.CONNECTING,
        State.CONNECTED,
        State.BROKEN,
        State.REFUSED,
        State.DISCONNECTING,
    ],
)
def test_disconnect_in_every_state(reached: State) -> None:
    stage = Stage()
    if reached is State.HANDSHAKING:
        stage.server = lambda request: None
    elif reached is State.WAITING:
        stage.server = lambda request: request.fail()
    elif reached is State.CONNECTING:
        stage.server = lambda request: (
            stage.serve(request) if "/meta/handshake" in request.channels else None
        )
    elif reached is State.REFUSED:
        stage.server = lambda request: request.answer(
            stage.reply(request.messages[0], error="403::No", clientId=None)
        )
    publications = []
    if reached is not State.IDLE:
        publications.append(outcome(stage.client.publish("/a", 1)))
    stage.clock.advance(0)
    if reached is State.BROKEN:
        stage.held.fail()
    if reached is State.DISCONNECTING:
        stage.server = lambda request: None
        stage.client.disconnect()
    assert stage.client.state is reached
    ended = outcome(stage.client.disconnect())
    stage.pass_time(10)
    assert ended == [None]
    assert stage.client.state is State.DISCONNECTED
    assert stage.clock.getDelayedCalls() == []
    assert all(not request.open for request in stage.requests)
    assert all(wire.closed for wire in stage.wires)
    assert all(len(publication) == 1 for publication in publications)


def test_whoever_hears_of_the_client_may_be_a_coroutine_function() -> None:
    stage = Stage()
    heard: list[str] = []

    async def down() -> None:
        heard.append("down")
        raise RuntimeError("logged")

    async def failed(error: Exception) -> None:
        heard.append(str(error))

    stage.client.on_down(down)
    stage.client.on_failure(failed)
    stage.connect()
    stage.held.fail(NoReply("gone"))
    stage.pass_time(5)
    assert heard == ["down", "gone"]
    assert stage.client.state is State.CONNECTED


def test_a_disconnected_client_stays_so() -> None:
    stage = Stage()
    stage.connect()
    stage.client.disconnect()
    before = len(stage.requests)
    subscription = stage.client.subscribe("/a", print)
    for asked in (
        stage.client.publish("/a", 1),
        stage.client.connect(),
        subscription.ready,
    ):
        [error] = outcome(asked)
        assert isinstance(error, Closed)
    stage.clock.advance(3600)
    assert len(stage.requests) == before


@pytest.mark.parametrize("channel", ["/meta/handshake", "/meta/connect"])
def test_disconnecting_on_hearing_of_a_change(channel: str) -> None:
    stage = Stage()
    wanted = State.CONNECTING if channel == "/meta/handshake" else State.CONNECTED
    ended: list[object] = []

    def changed(new: State, old: State) -> None:
        if new is wanted:
            stage.client.disconnect().addCallback(ended.append)

    stage.client.on_state(changed)
    stage.client.subscribe("/a", print)
    stage.clock.advance(60)
    assert ended == [None]
    assert stage.clock.getDelayedCalls() == []
    assert stage.client.state is State.DISCONNECTED


def test_connect_fails_when_refused_and_may_be_tried_again() -> None:
    stage = Stage()
    stage.server = lambda request: request.answer(
        stage.reply(
            request.messages[0],
            error="403:/meta/handshake:Go away",
            advice={"reconnect": "none"},
        )
    )
    [error] = outcome(stage.client.connect())
    assert isinstance(error, BayeuxError)
    assert error.code == 403
    assert stage.client.state is State.REFUSED
    stage.clock.advance(3600)
    assert stage.count("/meta/handshake") == 1
    [error] = outcome(stage.client.publish("/a", 1))
    assert error.code == 403
    stage.server = stage.serve
    assert outcome(stage.client.connect()) == [None]
    assert outcome(stage.client.publish("/a", 1))[0]["successful"] is True


def test_a_cancelled_connect_is_forgotten() -> None:
    stage = Stage()
    stage.server = lambda request: None
    connecting = stage.client.connect()
    ended = outcome(connecting)
    connecting.cancel()
    assert len(ended) == 1
    stage.requests[0].answer(stage.reply(stage.requests[0].messages[0]))
    assert stage.client.state is State.CONNECTING
