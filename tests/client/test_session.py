"""Show how a session begins and ends."""

from __future__ import annotations

from typing import Any

import pytest

from txbayeux.client import Closed, State
from txbayeux.errors import BayeuxError
from txbayeux.transport.base import NoReply

from .harness import Harness, outcome


def test_nothing_happens_before_the_first_call() -> None:
    harness = Harness()
    harness.clock.advance(3600)
    assert harness.requests == []
    assert harness.client.state is State.IDLE


def test_handshake_then_connect_at_once_then_a_held_connect() -> None:
    harness = Harness()
    connected = outcome(harness.client.connect())
    assert connected == [None]
    harness.clock.advance(0)
    [handshake] = harness.sent("/meta/handshake")
    assert handshake["version"] == "1.0"
    assert handshake["supportedConnectionTypes"] == ["websocket", "long-polling"]
    assert "clientId" not in handshake
    opening, held = harness.sent("/meta/connect")
    assert opening["advice"] == {"timeout": 0}
    assert held["advice"] == {"timeout": 60_000}
    assert held["clientId"] == harness.client.session_id == "session1"
    assert held["connectionType"] == "websocket"
    assert harness.states == [State.HANDSHAKING, State.CONNECTING, State.CONNECTED]


def test_one_connect_is_in_flight_and_its_reply_brings_the_next() -> None:
    harness = Harness()
    harness.connect()
    for expected in range(3, 10):
        harness.clock.advance(30)
        harness.answer(harness.held_connect)
        harness.clock.advance(0)
        assert harness.count("/meta/connect") == expected
        assert harness.held_connect


def test_ids_are_unique() -> None:
    harness = Harness()
    harness.connect()
    for number in range(20):
        harness.client.publish("/a", number)
    identities = [m["id"] for r in harness.requests for m in r.messages]
    assert len(set(identities)) == len(identities)


def test_a_state_listener_that_raises_does_not_affect_the_others() -> None:
    harness = Harness()
    seen: list[str] = []

    def broken(new: State, old: State) -> None:
        raise RuntimeError("listener")

    stop_broken = harness.client.on_state(broken)
    harness.client.on_up(lambda: seen.append("up"))
    stop = harness.client.on_down(lambda: seen.append("down"))
    harness.connect()
    harness.held_connect.fail()
    harness.clock.advance(1)
    assert seen == ["up", "down", "up"]
    stop.cancel()
    stop_broken.cancel()
    harness.held_connect.fail()
    assert seen == ["up", "down", "up"]


@pytest.mark.parametrize("name", ["on_state", "on_up", "on_down", "on_failure"])
def test_a_listener_is_removed_by_cancelling_its_registration(name: str) -> None:
    harness = Harness()
    calls: list[object] = []
    add = getattr(harness.client, name)
    kept, removed = (
        add(lambda *_: calls.append("kept")),
        add(lambda *_: calls.append(0)),
    )
    removed.cancel()
    removed.cancel()
    assert kept.active
    assert not removed.active
    harness.connect()
    harness.held_connect.fail()
    harness.pass_time(1)
    assert set(calls) == {"kept"}


def test_disconnect_sends_a_disconnect_and_leaves_nothing() -> None:
    harness = Harness()
    harness.connect()
    held = harness.held_connect
    ended = outcome(harness.client.disconnect())
    assert ended == [None]
    [goodbye] = harness.sent("/meta/disconnect")
    assert goodbye["clientId"] == "session1"
    assert harness.states[-2:] == [State.DISCONNECTING, State.DISCONNECTED]
    assert not held.open
    assert all(transport.closed for transport in harness.transports)
    assert harness.clock.getDelayedCalls() == []
    assert outcome(harness.client.disconnect()) == [None]
    assert harness.count("/meta/disconnect") == 1


def test_disconnect_is_bounded_when_nobody_answers() -> None:
    harness = Harness()
    harness.connect()
    harness.respond = lambda request: None
    ended = outcome(harness.client.disconnect())
    harness.clock.advance(4.9)
    assert ended == []
    harness.clock.advance(0.2)
    assert ended == [None]
    assert harness.clock.getDelayedCalls() == []


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
    harness = Harness()
    if reached is State.HANDSHAKING:
        harness.respond = lambda request: None
    elif reached is State.WAITING:
        harness.respond = lambda request: request.fail()
    elif reached is State.CONNECTING:
        harness.respond = lambda request: (
            harness.reply_to_all(request)
            if "/meta/handshake" in request.channels
            else None
        )
    elif reached is State.REFUSED:
        harness.respond = lambda request: harness.answer(
            request, error="403::No", clientId=None
        )
    publications = []
    if reached is not State.IDLE:
        publications.append(outcome(harness.client.publish("/a", 1)))
    harness.clock.advance(0)
    if reached is State.BROKEN:
        harness.held_connect.fail()
    if reached is State.DISCONNECTING:
        harness.respond = lambda request: None
        harness.client.disconnect()
    assert harness.client.state is reached
    ended = outcome(harness.client.disconnect())
    harness.pass_time(10)
    assert ended == [None]
    assert harness.client.state is State.DISCONNECTED
    assert harness.clock.getDelayedCalls() == []
    assert all(not request.open for request in harness.requests)
    assert all(transport.closed for transport in harness.transports)
    assert all(len(publication) == 1 for publication in publications)


def test_listeners_may_be_coroutine_functions() -> None:
    harness = Harness()
    calls: list[str] = []

    async def down() -> None:
        calls.append("down")
        raise RuntimeError("logged")

    async def failed(error: Exception) -> None:
        calls.append(str(error))

    harness.client.on_down(down)
    harness.client.on_failure(failed)
    harness.connect()
    harness.held_connect.fail(NoReply("gone"))
    harness.pass_time(5)
    assert calls == ["down", "gone"]
    assert harness.client.state is State.CONNECTED


def test_a_disconnected_client_cannot_be_used_again() -> None:
    harness = Harness()
    harness.connect()
    harness.client.disconnect()
    before = len(harness.requests)
    subscription = harness.client.subscribe("/a", print)
    for deferred in (
        harness.client.publish("/a", 1),
        harness.client.connect(),
        subscription.ready,
    ):
        [error] = outcome(deferred)
        assert isinstance(error, Closed)
    harness.clock.advance(3600)
    assert len(harness.requests) == before


@pytest.mark.parametrize("channel", ["/meta/handshake", "/meta/connect"])
def test_a_state_listener_may_disconnect(channel: str) -> None:
    harness = Harness()
    wanted = State.CONNECTING if channel == "/meta/handshake" else State.CONNECTED
    ended: list[object] = []

    def changed(new: State, old: State) -> None:
        if new is wanted:
            harness.client.disconnect().addCallback(ended.append)

    harness.client.on_state(changed)
    harness.client.subscribe("/a", print)
    harness.clock.advance(60)
    assert ended == [None]
    assert harness.clock.getDelayedCalls() == []
    assert harness.client.state is State.DISCONNECTED


def test_connect_fails_when_refused_and_may_be_tried_again() -> None:
    harness = Harness()
    harness.respond = lambda request: harness.answer(
        request, error="403:/meta/handshake:Go away", advice={"reconnect": "none"}
    )
    [error] = outcome(harness.client.connect())
    assert isinstance(error, BayeuxError)
    assert error.code == 403
    assert harness.client.state is State.REFUSED
    harness.clock.advance(3600)
    assert harness.count("/meta/handshake") == 1
    [error] = outcome(harness.client.publish("/a", 1))
    assert error.code == 403
    harness.respond = harness.reply_to_all
    assert outcome(harness.client.connect()) == [None]
    assert outcome(harness.client.publish("/a", 1))[0]["successful"] is True


def test_a_cancelled_connect_is_forgotten() -> None:
    harness = Harness()
    harness.respond = lambda request: None
    connecting = harness.client.connect()
    ended = outcome(connecting)
    connecting.cancel()
    assert len(ended) == 1
    harness.answer(harness.requests[0])
    assert harness.client.state is State.CONNECTING


@pytest.mark.parametrize("offer", [["unknown-type"], []])
def test_no_connection_type_in_common_is_final(offer: list[str]) -> None:
    harness = Harness()
    harness.offer = offer
    harness.respond = lambda request: None
    published = outcome(harness.client.publish("/a", 1))
    ready = outcome(harness.client.subscribe("/a", print).ready)
    connected = outcome(harness.client.connect())
    harness.reply_to_all(harness.last("/meta/handshake"))
    harness.pass_time(600)
    assert harness.client.state is State.REFUSED
    assert harness.count("/meta/handshake") == 1
    [error] = published
    assert error.code == 301
    assert error.reply["supportedConnectionTypes"] == offer
    assert published == ready == connected
    assert harness.failures == [error]
    assert harness.clock.getDelayedCalls() == []


@pytest.mark.parametrize("error", ["300:1.0:Version mismatch", "301::No such types"])
def test_a_handshake_that_cannot_be_agreed_on_is_final(error: str) -> None:
    harness = Harness()
    harness.respond = lambda request: harness.answer(request, error=error)
    [refusal] = outcome(harness.client.publish("/a", 1))
    assert str(refusal) == error
    assert harness.client.state is State.REFUSED


def test_advice_after_such_a_refusal_is_followed() -> None:
    harness = Harness()
    advice = {"reconnect": "handshake"}
    error = "301::No such types"
    harness.respond = lambda request: harness.answer(
        request, error=error, advice=advice
    )
    harness.client.connect()
    harness.pass_time(5)
    harness.respond = harness.reply_to_all
    harness.pass_time(5)
    assert harness.client.state is State.CONNECTED


@pytest.mark.parametrize(
    "step", ["/meta/handshake", "/meta/connect", "/meta/subscribe", "/a"]
)
def test_an_error_has_the_whole_reply(step: str) -> None:
    # As Salesforce says why it refuses a handshake.
    ext = {"sfdc": {"failureReason": "401::Request requires authentication"}}
    fields: dict[str, Any] = {
        "error": "403::Handshake denied",
        "advice": {"reconnect": "none"},
        "ext": ext,
    }
    harness = Harness()
    harness.respond = lambda request: (
        harness.answer(request, **fields)
        if step in request.channels
        else harness.reply_to_all(request)
    )
    ready = outcome(harness.client.subscribe("/a", print).ready)
    published = outcome(harness.client.publish("/a", 1))
    harness.pass_time(1)
    asked = ready if step == "/meta/subscribe" else published
    error = harness.client.last_failure if step == "/meta/connect" else asked[0]
    assert isinstance(error, BayeuxError)
    assert error.reply is not None
    assert error.reply["ext"] == ext
    assert error.reply["advice"] == {"reconnect": "none"}
    assert error.reply["channel"] == step


def test_errors_without_a_reply_have_none() -> None:
    harness = Harness()
    [error] = outcome(harness.client.publish("no slash", 1))
    assert error.reply is None
