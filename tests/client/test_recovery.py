"""What goes wrong, and that it is neither hammered at nor given up on."""

from __future__ import annotations

import itertools

import pytest

from txbayeux.client import Retry, State
from txbayeux.transport.base import NoReply, ReplyTimeout, TransportError, Unreachable

from .stage import Request, Stage, outcome

UNKNOWN = "402:session1:Unknown client"


def test_a_server_that_never_holds_a_connect_is_asked_ever_more_slowly() -> None:
    stage = Stage()
    stage.server = lambda request: request.answer(
        *[stage.reply(message) for message in request.messages]
    )
    stage.client.connect()
    stage.pass_time(10)
    assert stage.count("/meta/connect") < 10
    assert stage.count("/meta/handshake") == 1
    before = stage.count("/meta/connect")
    stage.pass_time(100)
    assert 20 <= stage.count("/meta/connect") - before <= 40


def test_a_busy_channel_is_asked_at_once() -> None:
    stage = Stage()
    stage.connect()
    for number in range(50):
        stage.deliver("/a", number)
        stage.clock.advance(0)
    assert stage.count("/meta/connect") == 52


def test_waits_double_up_to_the_maximum() -> None:
    stage = Stage(retry=Retry(initial=1, maximum=8), random=lambda: 0.999999)
    times: list[float] = []

    def serve(request: Request) -> None:
        times.append(stage.clock.seconds())
        request.fail(Unreachable("refused"))

    stage.server = serve
    stage.client.connect()
    stage.pass_time(60)
    waits = [b - a for a, b in itertools.pairwise(times)]
    assert waits[:5] == pytest.approx([1, 2, 4, 8, 8], abs=0.06)


def test_a_session_that_lasted_is_sought_again_soon() -> None:
    stage = Stage()
    for _ in range(8):
        stage.server = stage.serve
        stage.client.connect()
        stage.pass_time(20)
        assert stage.client.state is State.CONNECTED
        lost = stage.held
        lost.answer(stage.reply(lost.messages[0], error=UNKNOWN))
        before = stage.count("/meta/handshake")
        stage.pass_time(0.5)
        assert stage.count("/meta/handshake") == before + 1


def test_a_failed_connect_keeps_the_session() -> None:
    stage = Stage()
    stage.connect()
    stage.held.fail()
    assert stage.client.state is State.BROKEN
    stage.pass_time(1)
    assert stage.client.state is State.CONNECTED
    assert stage.count("/meta/handshake") == 1
    assert {m["clientId"] for m in stage.sent("/meta/connect")} == {"session1"}
    # The first one after a failure is to be answered at once.
    assert stage.sent("/meta/connect")[2]["advice"] == {"timeout": 0}


def test_a_broken_socket_is_seen_between_connects() -> None:
    stage = Stage()
    stage.advice = {"interval": 60_000}
    stage.client.connect()
    stage.clock.advance(0)
    assert stage.client.state is State.CONNECTED
    stage.wires[0].drop()
    assert stage.client.state is State.BROKEN
    stage.pass_time(59.9)
    assert stage.client.state is State.BROKEN  # the interval holds
    stage.pass_time(0.2)
    assert stage.client.state is State.CONNECTED


def test_a_broken_socket_ends_the_connect_that_it_carried_once() -> None:
    stage = Stage()
    stage.connect()
    stage.wires[0].drop()
    assert stage.client.state is State.BROKEN
    assert len(stage.failures) == 1


def test_a_transport_that_breaks_after_it_was_left_does_no_harm() -> None:
    stage = Stage()
    stage.connect()
    [socket] = stage.wires
    for _ in range(3):
        stage.held.fail()
        stage.pass_time(3)
    assert stage.client.transport == "long-polling"
    before = list(stage.states)
    socket.receiver.broken(NoReply("late"))
    assert stage.states == before


@pytest.mark.parametrize("error", [NoReply("x"), ReplyTimeout("x"), Unreachable("x")])
def test_every_failure_of_a_handshake_is_recovered_from(error: TransportError) -> None:
    stage = Stage()
    stage.server = lambda request: request.fail(error)
    stage.client.connect()
    assert stage.client.state is State.WAITING
    assert stage.failures == [error]
    assert stage.client.last_failure is error
    stage.server = stage.serve
    stage.pass_time(1)
    assert stage.client.state is State.CONNECTED


def test_silence_is_bounded_for_each_step() -> None:
    stage = Stage(types=["long-polling"])
    stage.server = lambda request: None
    stage.client.connect()
    [handshake] = stage.requests
    assert handshake.timeout == 10
    stage.pass_time(10.1)
    assert not handshake.open
    stage.server = stage.serve
    stage.advice = {"timeout": 30_000}
    stage.pass_time(1)
    assert stage.client.state is State.CONNECTED
    assert stage.held.timeout == 40
    stage.pass_time(40.1)
    assert stage.states[-3:] == [State.BROKEN, State.CONNECTING, State.CONNECTED]


def test_an_absurd_timeout_is_not_believed() -> None:
    stage = Stage()
    stage.advice = {"timeout": 10**400}
    stage.connect()
    assert stage.held.timeout == 610


def test_one_handshake_is_in_flight_whatever_is_asked() -> None:
    stage = Stage()
    stage.server = lambda request: None
    for number in range(5):
        stage.client.connect()
        stage.client.publish("/a", number)
        stage.client.subscribe(f"/b/{number}", print)
        stage.pass_time(1)
    assert [request.channels for request in stage.requests] == [["/meta/handshake"]]


def test_several_replies_that_the_session_is_unknown_are_one_loss() -> None:
    stage = Stage()
    stage.connect()
    stage.server = lambda request: None
    stage.client.publish("/a", 1)
    stage.client.publish("/a", 2)
    connect, *publishes = [request for request in stage.requests if request.open]
    for request in (*publishes, connect):
        request.answer(*[stage.reply(m, error=UNKNOWN) for m in request.messages])
    assert stage.states.count(State.WAITING) == 1
    stage.server = stage.serve
    stage.pass_time(1)
    assert stage.count("/meta/handshake") == 2
    assert stage.client.pending == 0


def test_late_and_double_replies_change_nothing() -> None:
    stage = Stage()
    stage.connect()
    first = stage.held
    stage.clock.advance(30)
    reply = stage.reply(first.messages[0])
    first.answer(reply)
    stage.clock.advance(0)
    states = list(stage.states)
    lost = {**reply, "successful": False, "error": UNKNOWN}
    for again in (reply, lost, {**reply, "advice": {"reconnect": "none"}}):
        first.transport.receiver.received([again])
    assert stage.states == states
    assert stage.count("/meta/handshake") == 1
    assert stage.held


def test_a_reply_of_a_former_session_does_not_end_the_new_one() -> None:
    stage = Stage(types=["long-polling"])
    stage.connect()
    stage.server = lambda request: None
    published = outcome(stage.client.publish("/a", 1))
    old = stage.last("/a")
    stage.server = stage.serve
    held = stage.held
    held.answer(stage.reply(held.messages[0], error=UNKNOWN))
    stage.pass_time(1)
    assert stage.client.session_id == "session2"
    old.answer(stage.reply(old.messages[0], error=UNKNOWN))
    stage.pass_time(1)
    assert stage.client.session_id == "session2"
    assert published[0]["successful"] is True


@pytest.mark.parametrize("jump", [3600.0, 30 * 86400.0])
def test_a_clock_that_jumps_ahead_fires_each_timer_once(jump: float) -> None:
    stage = Stage()
    stage.connect()
    before = len(stage.requests)
    stage.clock.advance(jump)
    stage.clock.advance(0)
    assert len(stage.requests) - before <= 2
    stage.pass_time(5)
    assert stage.client.state is State.CONNECTED
    assert stage.count("/meta/handshake") == 1


def test_a_clock_that_jumps_back_ends_in_no_loop() -> None:
    stage = Stage()
    stage.connect()
    stage.clock.rightNow -= 1000
    stage.held.fail()
    stage.pass_time(2)
    assert stage.client.state is State.CONNECTED


def test_a_server_that_ends_the_session_by_itself() -> None:
    stage = Stage()
    stage.connect()
    kicked = {"channel": "/meta/disconnect", "clientId": "session1", "successful": True}
    stage.wires[0].receiver.received([{**kicked, "clientId": "another"}])
    assert stage.client.state is State.CONNECTED
    stage.wires[0].receiver.received([kicked])
    assert stage.client.state is State.WAITING
    stage.pass_time(1)
    assert stage.client.session_id == "session2"
    advice = {"reconnect": "none"}
    stage.wires[0].receiver.received(
        [{**kicked, "clientId": "session2", "advice": advice}]
    )
    assert stage.client.state is State.REFUSED


def test_a_server_that_restarts_between_two_connects_gets_the_subscriptions_first() -> (
    None
):
    stage = Stage(types=["long-polling"])
    stage.client.subscribe("/a", print)
    stage.pass_time(1)
    stage.held.answer(stage.reply(stage.held.messages[0]))  # it stops
    stage.server = lambda request: request.fail(Unreachable("refused"))
    published = outcome(stage.client.publish("/a", 1))
    assert stage.client.state is State.BROKEN
    restarted = len(stage.requests)

    def serve(request: Request) -> None:  # as servers do, publishes of any session
        known = {m.get("clientId") for m in request.messages} <= {"session2", None}
        if known or request.channels == ["/a"]:
            stage.serve(request)
        else:
            request.answer(stage.reply(request.messages[0], error="402::Unknown"))

    stage.server = serve
    stage.pass_time(5)
    assert published[0]["successful"] is True
    sent = [name for r in stage.requests[restarted:] for name in r.channels]
    assert sent.index("/meta/subscribe") < sent.index("/a")
