"""Advice is obeyed exactly, and believed with care."""

from __future__ import annotations

from typing import Any

import pytest

from txbayeux.client import State
from txbayeux.client.advice import Advice
from txbayeux.transport.base import NoReply, Unreachable

from .stage import Request, Stage, outcome


def connects(stage: Stage) -> int:
    return stage.count("/meta/connect")


@pytest.mark.parametrize("interval", [1, 250, 1000, 2000, 30_000])
def test_an_interval_is_kept_exactly_by_one_timer(interval: int) -> None:
    stage = Stage()
    stage.advice = {"interval": interval}
    stage.client.connect()
    stage.clock.advance(interval / 1000)
    for _ in range(3):
        stage.clock.advance(5)
        held = stage.held
        before = connects(stage)
        held.answer(stage.reply(held.messages[0]))
        assert len(stage.clock.getDelayedCalls()) == 1
        stage.clock.advance(interval / 1000 - 0.0001)
        assert connects(stage) == before
        stage.clock.advance(0.0002)
        assert connects(stage) == before + 1


def test_an_interval_that_comes_with_a_failure_is_kept_exactly() -> None:
    stage = Stage()
    stage.connect()
    held = stage.held
    advice = {"reconnect": "handshake", "interval": 7000}
    held.answer(stage.reply(held.messages[0], error="402::Unknown", advice=advice))
    stage.clock.advance(6.999)
    assert stage.count("/meta/handshake") == 1
    stage.clock.advance(0.002)
    assert stage.count("/meta/handshake") == 2


def test_an_interval_advised_before_is_the_least_that_a_failure_waits() -> None:
    stage = Stage()
    stage.advice = {"interval": 5000}
    stage.client.connect()
    stage.clock.advance(5)
    stage.held.fail()
    stage.clock.advance(4.99)
    assert stage.client.state is State.BROKEN
    stage.clock.advance(0.02)
    assert stage.client.state is State.CONNECTED


def test_interval_zero_with_failures_backs_off() -> None:
    stage = Stage()
    stage.advice = {"interval": 0, "reconnect": "retry"}
    stage.connect()
    stage.server = lambda request: request.answer(
        *[stage.reply(m, error="500::Broken") for m in request.messages]
    )
    stage.held.fail()
    stage.pass_time(10)
    assert connects(stage) < 10
    assert stage.count("/meta/handshake") == 1


def test_what_is_not_mentioned_stays() -> None:
    stage = Stage()
    stage.advice = {"interval": 2000, "timeout": 20_000}
    stage.client.connect()
    stage.clock.advance(2)
    stage.advice = {"timeout": 40_000}
    stage.clock.advance(5)
    stage.held.answer(stage.reply(stage.held.messages[0]))
    stage.clock.advance(1.999)
    before = connects(stage)
    stage.clock.advance(0.002)
    assert connects(stage) == before + 1
    assert stage.held.timeout == 50


@pytest.mark.parametrize(
    "advice", [{"reconnect": "none"}, {"interval": -1}, {"interval": -1.5}]
)
@pytest.mark.parametrize("step", ["handshake", "connect", "held", "failed"])
def test_none_is_final(advice: dict[str, Any], step: str) -> None:
    stage = Stage()

    def serve(request: Request) -> None:
        channel = request.channels[0]
        opening = not stage.is_held(request.messages[0])
        wanted = {"handshake": "/meta/handshake", "connect": "/meta/connect"}
        if wanted.get(step) == channel and opening:
            request.answer(stage.reply(request.messages[0], advice=advice))
        else:
            stage.serve(request)

    stage.server = serve
    result = outcome(stage.client.publish("/b", 1, attempts=1))
    stage.clock.advance(0)
    if step in {"held", "failed"}:
        fields = {"advice": advice} | ({"error": "500::No"} if step == "failed" else {})
        stage.held.answer(stage.reply(stage.held.messages[0], **fields))
    assert stage.client.state is State.REFUSED
    assert len(result) == 1
    before = len(stage.requests)
    stage.clock.advance(24 * 3600)
    assert len(stage.requests) == before
    assert stage.clock.getDelayedCalls() == []


def test_handshake_is_obeyed_also_when_the_connect_succeeded() -> None:
    stage = Stage()
    stage.connect()
    advice = {"reconnect": "handshake"}
    stage.held.answer(stage.reply(stage.held.messages[0], advice=advice))
    assert stage.client.state is State.WAITING
    stage.pass_time(1)
    assert stage.client.session_id == "session2"


def test_retry_keeps_the_session_although_the_connect_failed() -> None:
    stage = Stage()
    stage.connect()
    advice = {"reconnect": "retry"}
    stage.held.answer(
        stage.reply(stage.held.messages[0], error="500::Oops", advice=advice)
    )
    assert stage.client.state is State.BROKEN
    stage.pass_time(1)
    assert stage.client.session_id == "session1"


def test_advice_of_a_former_session_is_forgotten() -> None:
    stage = Stage()
    stage.connect()
    advice = {"reconnect": "handshake", "interval": 3000}
    stage.held.answer(
        stage.reply(stage.held.messages[0], error="402::Unknown", advice=advice)
    )
    stage.clock.advance(3)
    stage.clock.advance(0)
    assert stage.client.state is State.CONNECTED
    assert stage.held  # neither the handshake nor the interval is in force


def test_a_section_for_the_transport_goes_before_the_rest() -> None:
    stage = Stage()
    stage.advice = {
        "interval": 9000,
        "websocket": {"interval": 1000},
        "long-polling": {"interval": 2000},
    }
    stage.client.connect()
    stage.clock.advance(0.99)
    assert connects(stage) == 1
    stage.clock.advance(0.02)
    assert connects(stage) == 2


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
def test_what_is_no_advice_changes_nothing(advice: object) -> None:
    before = Advice(interval=2.0, timeout=30.0)
    after = before.updated(advice, "long-polling")
    assert (after.interval, after.timeout, after.reconnect) == (2.0, 30.0, "retry")
    assert after.hosts == ()
    assert not after.final


@pytest.mark.parametrize("interval", [10**12, 1e300, 10**400])
def test_absurd_times_are_bounded(interval: float) -> None:
    after = Advice().updated({"interval": interval}, "websocket")
    assert after.interval == (2**31 - 1) / 1000


def lose_session_with_hosts(stage: Stage, hosts: list[str]) -> None:
    held = stage.held
    advice = {"reconnect": "handshake", "hosts": hosts}
    held.answer(stage.reply(held.messages[0], error="402::Moved", advice=advice))


def urls(stage: Stage) -> list[str]:
    return [wire.context.endpoint.url for wire in stage.wires]


def test_hosts_are_tried_in_order_and_then_home_again() -> None:
    stage = Stage(types=["long-polling"])
    stage.connect()
    stage.server = lambda request: request.fail()
    lose_session_with_hosts(
        stage, ["b.example.com", "c.example.com:8080", "https://d.example.com/"]
    )
    stage.pass_time(5)
    assert urls(stage)[:4] == [
        "http://example.com/bayeux",
        "http://b.example.com/bayeux",
        "http://c.example.com:8080/bayeux",
        "http://example.com/bayeux",
    ]
    stage.server = stage.serve
    stage.pass_time(20)
    assert stage.client.state is State.CONNECTED
    assert stage.client.url == "http://example.com/bayeux"


def test_hosts_that_come_with_a_refused_handshake_are_tried() -> None:
    stage = Stage(types=["long-polling"])

    def serve(request: Request) -> None:
        if request.transport.context.endpoint.host == "c.example.com":
            stage.serve(request)
            return
        [message] = request.messages
        advice = {"hosts": ["b.example.com", "c.example.com"]}
        request.answer(stage.reply(message, error="503::OutboxFull", advice=advice))

    stage.server = serve
    connected = outcome(stage.client.connect())
    stage.pass_time(5)
    assert connected == [None]
    assert [url.split("/")[2] for url in urls(stage)] == [
        "example.com",
        "b.example.com",
        "c.example.com",
    ]


def test_a_host_that_answers_is_kept() -> None:
    stage = Stage(types=["long-polling"], url="https://example.com:8443/bayeux")
    stage.connect()
    lose_session_with_hosts(stage, ["b.example.com"])
    stage.pass_time(5)
    assert stage.client.state is State.CONNECTED
    assert urls(stage)[-1] == "https://b.example.com:8443/bayeux"
    lose_session_with_hosts(stage, ["c.example.com", "b.example.com"])
    stage.pass_time(5)
    assert urls(stage)[-1] == "https://b.example.com:8443/bayeux"


def test_the_user_s_credentials_stay_home() -> None:
    stage = Stage(
        types=["long-polling"],
        url="https://alice:secret@example.com/bayeux",
        headers={"X-Token": "t"},
    )
    stage.connect()
    [home] = stage.wires
    headers = home.context.headers_for(home.context.endpoint)
    assert headers == {"X-Token": "t", "Authorization": "Basic YWxpY2U6c2VjcmV0"}
    lose_session_with_hosts(stage, ["b.example.com"])
    stage.pass_time(5)
    away = stage.wires[-1].context
    assert away.endpoint.host == "b.example.com"
    assert away.headers_for(away.endpoint) == {}


def test_hosts_that_are_none_are_ignored() -> None:
    stage = Stage(types=["long-polling"])
    stage.connect()
    lose_session_with_hosts(stage, ["http://", "a b", "x:99999999", "ftp://x/"])
    stage.pass_time(5)
    assert set(urls(stage)) == {"http://example.com/bayeux"}
    assert stage.client.state is State.CONNECTED


def test_an_advised_host_that_goes_away_is_left_for_home() -> None:
    stage = Stage(types=["long-polling"])
    stage.connect()
    lose_session_with_hosts(stage, ["b.example.com"])
    stage.pass_time(5)
    assert urls(stage)[-1] == "http://b.example.com/bayeux"

    def serve(request: Request) -> None:
        if request.transport.context.endpoint.host == "b.example.com":
            request.fail(Unreachable("gone"))
        else:
            stage.serve(request)

    stage.server = serve
    stage.held.fail(NoReply("broken"))
    stage.pass_time(10)
    assert urls(stage)[-1] == "http://example.com/bayeux"
    assert stage.client.state is State.CONNECTED
