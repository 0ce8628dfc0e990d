"""Show that the client follows the advice of a server, and bounds absurd values."""

from __future__ import annotations

from typing import Any

import pytest

from txbayeux.client import State
from txbayeux.client.advice import Advice
from txbayeux.transport.base import NoReply, Unreachable

from .harness import Harness, Request, outcome


def connects(harness: Harness) -> int:
    return harness.count("/meta/connect")


@pytest.mark.parametrize("interval", [1, 250, 1000, 2000, 30_000])
def test_an_interval_is_kept_exactly_by_one_timer(interval: int) -> None:
    harness = Harness()
    harness.advice = {"interval": interval}
    harness.client.connect()
    harness.clock.advance(interval / 1000)
    for _ in range(3):
        harness.clock.advance(5)
        held = harness.held_connect
        before = connects(harness)
        harness.answer(held)
        assert len(harness.clock.getDelayedCalls()) == 1
        harness.clock.advance(interval / 1000 - 0.0001)
        assert connects(harness) == before
        harness.clock.advance(0.0002)
        assert connects(harness) == before + 1


def test_an_interval_that_comes_with_a_failure_is_kept_exactly() -> None:
    harness = Harness()
    harness.connect()
    held = harness.held_connect
    advice = {"reconnect": "handshake", "interval": 7000}
    harness.answer(held, error="402::Unknown", advice=advice)
    harness.clock.advance(6.999)
    assert harness.count("/meta/handshake") == 1
    harness.clock.advance(0.002)
    assert harness.count("/meta/handshake") == 2


def test_an_interval_advised_earlier_is_the_minimum_after_a_failure() -> None:
    harness = Harness()
    harness.advice = {"interval": 5000}
    harness.client.connect()
    harness.clock.advance(5)
    harness.held_connect.fail()
    harness.clock.advance(4.99)
    assert harness.client.state is State.BROKEN
    harness.clock.advance(0.02)
    assert harness.client.state is State.CONNECTED


def test_interval_zero_with_failures_backs_off() -> None:
    harness = Harness()
    harness.advice = {"interval": 0, "reconnect": "retry"}
    harness.connect()
    harness.respond = lambda request: request.answer(
        *[harness.reply(m, error="500::Broken") for m in request.messages]
    )
    harness.held_connect.fail()
    harness.pass_time(10)
    assert connects(harness) < 10
    assert harness.count("/meta/handshake") == 1


@pytest.mark.parametrize("connection_type", ["websocket", "long-polling"])
@pytest.mark.parametrize("advised", [None, 20_000, 3_600_000])
def test_the_server_is_asked_to_hold_no_longer_than_is_waited(
    advised: int | None, connection_type: str
) -> None:
    harness = Harness(types=[connection_type])
    harness.advice = {} if advised is None else {"timeout": advised}

    def serve(request: Request) -> None:  # holds for an hour unless asked
        advice = request.messages[0].get("advice", {})
        hold = advice.get("timeout", 3_600_000) / 1000
        if request.channels != ["/meta/connect"]:
            harness.reply_to_all(request)
        else:
            harness.clock.callLater(hold, lambda: harness.answer(request))

    harness.respond = serve
    harness.client.connect()
    harness.pass_time(3700)
    assert harness.failures == []
    assert harness.states[-1] is State.CONNECTED
    asked = {m["advice"]["timeout"] for m in harness.sent("/meta/connect")}
    assert asked == {0, min(advised or 60_000, 600_000)}
    [handshake] = harness.sent("/meta/handshake")
    assert handshake["advice"] == {"timeout": 60_000}


@pytest.mark.parametrize("connection_type", ["websocket", "long-polling"])
@pytest.mark.parametrize("advised", [None, 30_000])
def test_a_server_that_holds_the_first_connect_too_is_waited_for(
    advised: int | None, connection_type: str
) -> None:
    harness = Harness(types=[connection_type])
    harness.advice = {} if advised is None else {"timeout": advised}

    def serve(request: Request) -> None:  # whatever it is asked
        if request.channels != ["/meta/connect"]:
            harness.reply_to_all(request)
        else:
            harness.clock.callLater(
                30, lambda: request.open and harness.answer(request)
            )

    harness.respond = serve
    harness.client.connect()
    harness.pass_time(60)
    assert harness.states[-1] is State.CONNECTED
    assert len(harness.failures) == 1
    harness.held_connect.fail()
    harness.pass_time(60)
    assert harness.states[-1] is State.CONNECTED
    assert len(harness.failures) == 2


def test_missing_fields_keep_their_value() -> None:
    harness = Harness()
    harness.advice = {"interval": 2000, "timeout": 20_000}
    harness.client.connect()
    harness.clock.advance(2)
    harness.advice = {"timeout": 40_000}
    harness.clock.advance(5)
    harness.answer(harness.held_connect)
    harness.clock.advance(1.999)
    before = connects(harness)
    harness.clock.advance(0.002)
    assert connects(harness) == before + 1
    assert harness.held_connect.timeout == 50


@pytest.mark.parametrize(
    "advice", [{"reconnect": "none"}, {"interval": -1}, {"interval": -1.5}]
)
@pytest.mark.parametrize("step", ["handshake", "connect", "held", "failed"])
def test_advice_none_stops_the_client(advice: dict[str, Any], step: str) -> None:
    harness = Harness()

    def serve(request: Request) -> None:
        channel = request.channels[0]
        opening = not harness.is_held(request.messages[0])
        wanted = {"handshake": "/meta/handshake", "connect": "/meta/connect"}
        if wanted.get(step) == channel and opening:
            harness.answer(request, advice=advice)
        else:
            harness.reply_to_all(request)

    harness.respond = serve
    result = outcome(harness.client.publish("/b", 1, attempts=1))
    harness.clock.advance(0)
    if step in {"held", "failed"}:
        fields = {"advice": advice} | ({"error": "500::No"} if step == "failed" else {})
        harness.answer(harness.held_connect, **fields)
    assert harness.client.state is State.REFUSED
    assert len(result) == 1
    before = len(harness.requests)
    harness.clock.advance(24 * 3600)
    assert len(harness.requests) == before
    assert harness.clock.getDelayedCalls() == []


def test_advice_handshake_is_followed_after_a_successful_connect() -> None:
    harness = Harness()
    harness.connect()
    advice = {"reconnect": "handshake"}
    harness.answer(harness.held_connect, advice=advice)
    assert harness.client.state is State.WAITING
    harness.pass_time(1)
    assert harness.client.session_id == "session2"


def test_advice_retry_keeps_the_session_after_a_failed_connect() -> None:
    harness = Harness()
    harness.connect()
    advice = {"reconnect": "retry"}
    harness.answer(harness.held_connect, error="500::Oops", advice=advice)
    assert harness.client.state is State.BROKEN
    harness.pass_time(1)
    assert harness.client.session_id == "session1"


def test_a_new_session_starts_with_default_advice() -> None:
    harness = Harness()
    harness.connect()
    advice = {"reconnect": "handshake", "interval": 3000}
    harness.answer(harness.held_connect, error="402::Unknown", advice=advice)
    harness.clock.advance(3)
    harness.clock.advance(0)
    assert harness.client.state is State.CONNECTED
    assert harness.held_connect  # neither the handshake nor the interval is in force


def test_a_section_for_the_transport_overrides_the_other_fields() -> None:
    harness = Harness()
    harness.advice = {
        "interval": 9000,
        "websocket": {"interval": 1000},
        "long-polling": {"interval": 2000},
    }
    harness.client.connect()
    harness.clock.advance(0.99)
    assert connects(harness) == 1
    harness.clock.advance(0.02)
    assert connects(harness) == 2


@pytest.mark.parametrize(
    "advice",
    [
        None,
        7,
        "retry",
        [],
        {"reconnect": "now"},
        {"reconnect": None},
        {"interval": "0", "timeout": "60000"},
        {"interval": True, "timeout": False},
        {"interval": None},
        {"timeout": -1},
        {"hosts": "example.com"},
        {"hosts": [1, None, ""]},
        {"long-polling": 7},
    ],
)
def test_malformed_advice_changes_nothing(advice: object) -> None:
    before = Advice(interval=2.0, timeout=30.0)
    after = before.updated(advice, "long-polling")
    assert (after.interval, after.timeout, after.reconnect) == (2.0, 30.0, "retry")
    assert after.hosts == ()
    assert not after.final


@pytest.mark.parametrize("interval", [10**12, 1e300, 10**400])
def test_huge_intervals_are_bounded(interval: float) -> None:
    after = Advice().updated({"interval": interval}, "websocket")
    assert after.interval == (2**31 - 1) / 1000


def lose_session_with_hosts(harness: Harness, hosts: list[str]) -> None:
    held = harness.held_connect
    advice = {"reconnect": "handshake", "hosts": hosts}
    harness.answer(held, error="402::Moved", advice=advice)


def urls(harness: Harness) -> list[str]:
    return [transport.context.endpoint.url for transport in harness.transports]


def test_hosts_are_tried_in_order_and_then_the_original_server() -> None:
    harness = Harness(types=["long-polling"])
    harness.connect()
    harness.respond = lambda request: request.fail()
    lose_session_with_hosts(
        harness, ["b.example.com", "c.example.com:8080", "https://d.example.com/"]
    )
    harness.pass_time(5)
    assert urls(harness)[:4] == [
        "http://example.com/bayeux",
        "http://b.example.com/bayeux",
        "http://c.example.com:8080/bayeux",
        "http://example.com/bayeux",
    ]
    harness.respond = harness.reply_to_all
    harness.pass_time(20)
    assert harness.client.state is State.CONNECTED
    assert harness.client.url == "http://example.com/bayeux"


def test_hosts_that_come_with_a_refused_handshake_are_tried() -> None:
    harness = Harness(types=["long-polling"])

    def serve(request: Request) -> None:
        if request.transport.context.endpoint.host == "c.example.com":
            harness.reply_to_all(request)
            return
        [message] = request.messages
        advice = {"hosts": ["b.example.com", "c.example.com"]}
        request.answer(harness.reply(message, error="503::OutboxFull", advice=advice))

    harness.respond = serve
    connected = outcome(harness.client.connect())
    harness.pass_time(5)
    assert connected == [None]
    assert [url.split("/")[2] for url in urls(harness)] == [
        "example.com",
        "b.example.com",
        "c.example.com",
    ]


def test_a_host_that_answers_is_kept() -> None:
    harness = Harness(types=["long-polling"], url="https://example.com:8443/bayeux")
    harness.connect()
    lose_session_with_hosts(harness, ["b.example.com"])
    harness.pass_time(5)
    assert harness.client.state is State.CONNECTED
    assert urls(harness)[-1] == "https://b.example.com:8443/bayeux"
    lose_session_with_hosts(harness, ["c.example.com", "b.example.com"])
    harness.pass_time(5)
    assert urls(harness)[-1] == "https://b.example.com:8443/bayeux"


def test_credentials_are_not_sent_to_an_advised_host() -> None:
    harness = Harness(
        types=["long-polling"],
        url="https://alice:secret@example.com/bayeux",
        headers={"X-Token": "t"},
    )
    harness.connect()
    [home] = harness.transports
    headers = home.context.headers_for(home.context.endpoint)
    assert headers == {"X-Token": "t", "Authorization": "Basic YWxpY2U6c2VjcmV0"}
    lose_session_with_hosts(harness, ["b.example.com"])
    harness.pass_time(5)
    away = harness.transports[-1].context
    assert away.endpoint.host == "b.example.com"
    assert away.headers_for(away.endpoint) == {}


def test_malformed_hosts_are_ignored() -> None:
    harness = Harness(types=["long-polling"])
    harness.connect()
    lose_session_with_hosts(harness, ["http://", "a b", "x:99999999", "ftp://x/"])
    harness.pass_time(5)
    assert set(urls(harness)) == {"http://example.com/bayeux"}
    assert harness.client.state is State.CONNECTED


def test_an_advised_host_that_goes_away_is_left_for_the_original_server() -> None:
    harness = Harness(types=["long-polling"])
    harness.connect()
    lose_session_with_hosts(harness, ["b.example.com"])
    harness.pass_time(5)
    assert urls(harness)[-1] == "http://b.example.com/bayeux"

    def serve(request: Request) -> None:
        if request.transport.context.endpoint.host == "b.example.com":
            request.fail(Unreachable("gone"))
        else:
            harness.reply_to_all(request)

    harness.respond = serve
    harness.held_connect.fail(NoReply("broken"))
    harness.pass_time(10)
    assert urls(harness)[-1] == "http://example.com/bayeux"
    assert harness.client.state is State.CONNECTED
