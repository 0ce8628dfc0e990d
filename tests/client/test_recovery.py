"""Show how the client recovers from failures, and how it backs off."""

from __future__ import annotations

import itertools

import pytest

from txbayeux.client import RetriesExhausted, Retry, State
from txbayeux.transport.base import NoReply, ReplyTimeout, TransportError, Unreachable

from .harness import Harness, Request, outcome

UNKNOWN = "402:session1:Unknown client"


def test_a_server_that_never_holds_connects_is_polled_with_backoff() -> None:
    harness = Harness()
    harness.respond = lambda request: request.answer(
        *[harness.reply(message) for message in request.messages]
    )
    harness.client.connect()
    harness.pass_time(10)
    assert harness.count("/meta/connect") < 10
    assert harness.count("/meta/handshake") == 1
    before = harness.count("/meta/connect")
    harness.pass_time(100)
    assert 20 <= harness.count("/meta/connect") - before <= 40


def test_connects_that_bring_messages_are_repeated_at_once() -> None:
    harness = Harness()
    harness.connect()
    for number in range(50):
        harness.deliver("/a", number)
        harness.clock.advance(0)
    assert harness.count("/meta/connect") == 52


def test_waits_double_up_to_the_maximum() -> None:
    harness = Harness(retry=Retry(initial=1, maximum=8), random=lambda: 0.999999)
    times: list[float] = []

    def serve(request: Request) -> None:
        times.append(harness.clock.seconds())
        request.fail(Unreachable("refused"))

    harness.respond = serve
    harness.client.connect()
    harness.pass_time(60)
    waits = [b - a for a, b in itertools.pairwise(times)]
    assert waits[:5] == pytest.approx([1, 2, 4, 8, 8], abs=0.06)


@pytest.mark.parametrize("step", ["handshake", "connect", "unreachable"])
def test_the_number_of_attempts_can_be_limited(step: str) -> None:
    harness = Harness(retry=Retry(attempts=3))
    tried: list[Request] = []

    def serve(request: Request) -> None:
        if step == "unreachable":
            tried.append(request)
            request.fail(Unreachable("refused"))
        elif f"/meta/{step}" in request.channels:
            tried.append(request)
            harness.answer(request, error="403:a,b:No", advice={"reconnect": "retry"})
        else:
            harness.reply_to_all(request)

    harness.respond = serve
    published = outcome(harness.client.publish("/a", 1))
    ready = outcome(harness.client.subscribe("/a", print).ready)
    for attempts in (3, 6):
        connected = outcome(harness.client.connect())
        harness.pass_time(60)
        assert harness.client.state is State.REFUSED
        assert len(tried) == attempts
        [error] = connected
        assert isinstance(error, RetriesExhausted)
        assert error.code == (503 if step == "unreachable" else 403)
        assert str(error.__cause__) in ("refused", "403:a,b:No")
        assert harness.clock.getDelayedCalls() == []
    if step != "connect":  # between handshake and connect both are answered
        assert isinstance(published[0], RetriesExhausted)
        assert published == ready


def test_attempts_are_counted_anew_after_a_stable_session() -> None:
    harness = Harness(retry=Retry(attempts=3))
    harness.connect()
    for _ in range(5):
        with harness.unreachable():
            harness.pass_time(1)  # one more attempt
        harness.pass_time(30)
        assert harness.client.state is State.CONNECTED
    assert harness.count("/meta/handshake") == 1


@pytest.mark.parametrize("attempts", [0, -1])
def test_at_least_one_attempt_is_made(attempts: int) -> None:
    with pytest.raises(ValueError, match="attempt"):
        Retry(attempts=attempts)


@pytest.mark.parametrize("how", ["reply", "status"])
@pytest.mark.parametrize("held", [False, True])
def test_connects_that_are_refused_lead_to_a_handshake(how: str, held: bool) -> None:
    harness = Harness(types=["long-polling"])
    refused: list[str] = []

    def serve(request: Request) -> None:
        [message] = request.messages
        is_bad = message.get("clientId") in ("session1", "session2")
        if not is_bad or message["channel"] != "/meta/connect":
            harness.reply_to_all(request)
            return
        refused.append(message["clientId"])
        if how == "status":
            request.fail(NoReply("HTTP status 404", 404))
        else:
            harness.answer(request, error="403::Forbidden")

    if held:
        harness.connect()
    harness.respond = serve
    if held:
        serve(harness.held_connect)
    else:
        harness.client.connect()
    harness.pass_time(60)
    assert refused == ["session1"] * 3 + ["session2"] * 3
    assert harness.client.session_id == "session3"
    assert harness.client.state is State.CONNECTED


def test_advice_to_connect_again_is_followed() -> None:
    harness = Harness()
    harness.connect()
    held = harness.held_connect
    advice = {"reconnect": "retry"}
    harness.respond = lambda request: harness.answer(
        request, error="403::Later", advice=advice
    )
    harness.respond(held)
    harness.pass_time(300)
    assert harness.count("/meta/connect") > 10
    assert harness.count("/meta/handshake") == 1


def test_connects_that_fail_otherwise_keep_the_session() -> None:
    harness = Harness()
    harness.connect()
    harness.respond = lambda request: request.fail(NoReply("closed"))
    harness.held_connect.fail()
    harness.pass_time(300)
    harness.respond = harness.reply_to_all
    harness.pass_time(30)
    assert harness.client.session_id == "session1"


def test_backoff_is_reset_after_a_stable_session() -> None:
    harness = Harness()
    for _ in range(8):
        harness.respond = harness.reply_to_all
        harness.client.connect()
        harness.pass_time(20)
        assert harness.client.state is State.CONNECTED
        lost = harness.held_connect
        harness.answer(lost, error=UNKNOWN)
        before = harness.count("/meta/handshake")
        harness.pass_time(0.5)
        assert harness.count("/meta/handshake") == before + 1


def test_a_failed_connect_keeps_the_session() -> None:
    harness = Harness()
    harness.connect()
    harness.held_connect.fail()
    assert harness.client.state is State.BROKEN
    harness.pass_time(1)
    assert harness.client.state is State.CONNECTED
    assert harness.count("/meta/handshake") == 1
    assert {m["clientId"] for m in harness.sent("/meta/connect")} == {"session1"}
    # The first one after a failure is to be answered at once.
    assert harness.sent("/meta/connect")[2]["advice"] == {"timeout": 0}


def test_a_held_connect_that_a_gateway_refuses_is_repeated_once() -> None:
    # A balancer alternates between two servers, one of which has stopped.
    harness = Harness(types=["long-polling"])
    harness.connect()
    turns = itertools.count()

    def serve(request: Request) -> None:
        if next(turns) % 2:
            request.fail(NoReply("HTTP status 503", 503))
        else:
            harness.reply_to_all(request)

    harness.respond = serve
    for number in range(10):
        harness.deliver("/a", number)
        harness.pass_time(1)
        assert harness.held_connect
    assert harness.states.count(State.CONNECTED) == 1
    assert {str(error) for error in harness.failures} == {"HTTP status 503"}


def test_a_gateway_that_refuses_two_connects_is_a_failure() -> None:
    harness = Harness(types=["long-polling"])
    harness.connect()
    held = harness.held_connect
    harness.respond = lambda request: request.fail(NoReply("HTTP status 503", 503))
    held.fail(NoReply("HTTP status 503", 503))
    assert harness.client.state is State.CONNECTED
    harness.pass_time(0.5)
    assert harness.client.state is State.BROKEN
    harness.pass_time(10)
    assert harness.count("/meta/connect") < 10
    harness.respond = harness.reply_to_all
    harness.pass_time(10)
    assert harness.client.state is State.CONNECTED


def test_a_broken_websocket_is_noticed_between_connects() -> None:
    harness = Harness()
    harness.advice = {"interval": 60_000}
    harness.client.connect()
    harness.clock.advance(0)
    assert harness.client.state is State.CONNECTED
    harness.transports[0].drop()
    assert harness.client.state is State.BROKEN
    harness.pass_time(59.9)
    assert harness.client.state is State.BROKEN  # the interval holds
    harness.pass_time(0.2)
    assert harness.client.state is State.CONNECTED


def test_a_broken_websocket_is_one_failure() -> None:
    harness = Harness()
    harness.connect()
    harness.transports[0].drop()
    assert harness.client.state is State.BROKEN
    assert len(harness.failures) == 1


def test_a_transport_that_breaks_after_it_was_left_is_ignored() -> None:
    harness = Harness()
    harness.connect()
    [socket] = harness.transports
    for _ in range(3):
        harness.held_connect.fail()
        harness.pass_time(3)
    assert harness.client.transport == "long-polling"
    before = list(harness.states)
    socket.receiver.broken(NoReply("late"))
    assert harness.states == before


@pytest.mark.parametrize("error", [NoReply("x"), ReplyTimeout("x"), Unreachable("x")])
def test_every_failure_of_a_handshake_is_recovered_from(error: TransportError) -> None:
    harness = Harness()
    harness.respond = lambda request: request.fail(error)
    harness.client.connect()
    assert harness.client.state is State.WAITING
    assert harness.failures == [error]
    assert harness.client.last_failure is error
    harness.respond = harness.reply_to_all
    harness.pass_time(1)
    assert harness.client.state is State.CONNECTED


def test_each_request_has_a_timeout() -> None:
    harness = Harness(types=["long-polling"])
    harness.respond = lambda request: None
    harness.client.connect()
    [handshake] = harness.requests
    assert handshake.timeout == 10
    harness.pass_time(10.1)
    assert not handshake.open
    harness.respond = harness.reply_to_all
    harness.advice = {"timeout": 30_000}
    harness.pass_time(1)
    assert harness.client.state is State.CONNECTED
    assert harness.held_connect.timeout == 40
    harness.pass_time(40.1)
    assert harness.states[-3:] == [State.BROKEN, State.CONNECTING, State.CONNECTED]


def test_a_huge_advised_timeout_is_bounded() -> None:
    harness = Harness()
    harness.advice = {"timeout": 10**400}
    harness.connect()
    assert harness.held_connect.timeout == 610


def test_there_is_never_more_than_one_handshake_in_flight() -> None:
    harness = Harness()
    harness.respond = lambda request: None
    for number in range(5):
        harness.client.connect()
        harness.client.publish("/a", number)
        harness.client.subscribe(f"/b/{number}", print)
        harness.pass_time(1)
    assert [request.channels for request in harness.requests] == [["/meta/handshake"]]


def test_several_402_replies_count_as_one_lost_session() -> None:
    harness = Harness()
    harness.connect()
    harness.respond = lambda request: None
    harness.client.publish("/a", 1)
    harness.client.publish("/a", 2)
    connect, *publishes = [request for request in harness.requests if request.open]
    for request in (*publishes, connect):
        request.answer(*[harness.reply(m, error=UNKNOWN) for m in request.messages])
    assert harness.states.count(State.WAITING) == 1
    harness.respond = harness.reply_to_all
    harness.pass_time(1)
    assert harness.count("/meta/handshake") == 2
    assert harness.client.pending == 0


def test_late_and_duplicate_replies_change_nothing() -> None:
    harness = Harness()
    harness.connect()
    first = harness.held_connect
    harness.clock.advance(30)
    reply = harness.reply(first.messages[0])
    first.answer(reply)
    harness.clock.advance(0)
    states = list(harness.states)
    lost = {**reply, "successful": False, "error": UNKNOWN}
    for again in (reply, lost, {**reply, "advice": {"reconnect": "none"}}):
        first.transport.receiver.received([again])
    assert harness.states == states
    assert harness.count("/meta/handshake") == 1
    assert harness.held_connect


def test_a_reply_of_a_former_session_does_not_end_the_new_one() -> None:
    harness = Harness(types=["long-polling"])
    harness.connect()
    harness.respond = lambda request: None
    published = outcome(harness.client.publish("/a", 1))
    old = harness.last("/a")
    harness.respond = harness.reply_to_all
    held = harness.held_connect
    harness.answer(held, error=UNKNOWN)
    harness.pass_time(1)
    assert harness.client.session_id == "session2"
    harness.answer(old, error=UNKNOWN)
    harness.pass_time(1)
    assert harness.client.session_id == "session2"
    assert published[0]["successful"] is True


@pytest.mark.parametrize("jump", [3600.0, 30 * 86400.0])
def test_a_clock_that_jumps_ahead_fires_each_timer_once(jump: float) -> None:
    harness = Harness()
    harness.connect()
    before = len(harness.requests)
    harness.clock.advance(jump)
    harness.clock.advance(0)
    assert len(harness.requests) - before <= 2
    harness.pass_time(5)
    assert harness.client.state is State.CONNECTED
    assert harness.count("/meta/handshake") == 1


def test_a_clock_that_jumps_back_causes_no_loop() -> None:
    harness = Harness()
    harness.connect()
    harness.clock.rightNow -= 1000
    harness.held_connect.fail()
    harness.pass_time(2)
    assert harness.client.state is State.CONNECTED


def test_a_server_may_end_the_session() -> None:
    harness = Harness()
    harness.connect()
    kicked = {"channel": "/meta/disconnect", "clientId": "session1", "successful": True}
    harness.transports[0].receiver.received([{**kicked, "clientId": "another"}])
    assert harness.client.state is State.CONNECTED
    harness.transports[0].receiver.received([kicked])
    assert harness.client.state is State.WAITING
    harness.pass_time(1)
    assert harness.client.session_id == "session2"
    advice = {"reconnect": "none"}
    harness.transports[0].receiver.received(
        [{**kicked, "clientId": "session2", "advice": advice}]
    )
    assert harness.client.state is State.REFUSED


def test_a_server_that_restarts_between_two_connects_gets_the_subscriptions_first() -> (
    None
):
    harness = Harness(types=["long-polling"])
    harness.client.subscribe("/a", print)
    harness.pass_time(1)
    harness.answer(harness.held_connect)  # it stops
    outage = harness.unreachable()
    published = outcome(harness.client.publish("/a", 1))
    assert harness.client.state is State.BROKEN
    restarted = len(harness.requests)

    def serve(request: Request) -> None:  # as servers do, publishes of any session
        known = {m.get("clientId") for m in request.messages} <= {"session2", None}
        if known or request.channels == ["/a"]:
            harness.reply_to_all(request)
        else:
            harness.answer(request, error="402::Unknown")

    outage.cancel()
    harness.respond = serve
    harness.pass_time(5)
    assert published[0]["successful"] is True
    sent = [name for r in harness.requests[restarted:] for name in r.channels]
    assert sent.index("/meta/subscribe") < sent.index("/a")
