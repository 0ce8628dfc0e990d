"""Show which transport is used, and that changing it keeps the session."""

from __future__ import annotations

from typing import Any

import pytest

from txbayeux.client import Client, State
from txbayeux.client.transports import (
    FIRST_DEMOTION,
    LONGEST_DEMOTION,
    TransportRanking,
)
from txbayeux.testing import Fault
from txbayeux.transport.base import (
    NoReply,
    ReplyTimeout,
    TransportUnavailable,
    Unreachable,
)

from .harness import Harness, Request, outcome


def without_sockets(harness: Harness) -> Fault:
    """Refuse WebSockets, as a proxy does."""
    return harness.answer_with_status(403, connection_type="websocket", times=None)


def test_the_most_preferred_common_transport_is_used() -> None:
    harness = Harness()
    harness.offer = ["callback-polling", "long-polling"]
    harness.connect()
    assert harness.client.transport == "long-polling"
    [connect, *_] = harness.sent("/meta/connect")
    assert connect["connectionType"] == "long-polling"
    assert harness.transports[0].closed


def test_a_refused_websocket_is_demoted_and_retried_later() -> None:
    harness = Harness()
    proxy = without_sockets(harness)
    ready = outcome(harness.client.subscribe("/a", print).ready)
    harness.pass_time(1)
    assert ready == [None]
    assert harness.client.transport == "long-polling"
    assert harness.count("/meta/handshake") == 2
    proxy.cancel()
    harness.pass_time(FIRST_DEMOTION)
    held = harness.held_connect
    harness.answer(held)
    harness.pass_time(0.1)
    assert harness.client.transport == "websocket"
    assert harness.client.session_id == "session1"
    assert harness.count("/meta/subscribe") == 1
    assert harness.held_connect.messages[0]["connectionType"] == "websocket"
    assert harness.held_connect.transport.attached == ["session1"]


def test_a_silent_websocket_is_demoted() -> None:
    harness = Harness()
    harness.drop_requests()
    harness.client.connect()
    harness.pass_time(11)
    assert harness.client.state is State.CONNECTED
    assert harness.client.transport == "long-polling"


def test_a_failed_retry_of_a_demoted_transport_keeps_the_session() -> None:
    harness = Harness()
    without_sockets(harness)
    harness.client.connect()
    harness.pass_time(1)
    for _ in range(4):
        harness.pass_time(20)
        held = harness.held_connect
        harness.answer(held)
        harness.pass_time(1)
    assert harness.client.session_id == "session1"
    assert harness.client.state is State.CONNECTED
    assert harness.client.transport == "long-polling"
    tried = [r for r in harness.requests if r.transport.connection_type == "websocket"]
    assert len(tried) == 2


def test_a_batch_in_flight_completes_before_the_transport_changes() -> None:
    harness = Harness()
    proxy = without_sockets(harness)
    harness.client.connect()
    harness.pass_time(1)
    proxy.cancel()
    polling = harness.held_connect.transport
    harness.respond = lambda request: (
        None if "/a" in request.channels else harness.reply_to_all(request)
    )
    harness.clock.advance(FIRST_DEMOTION - 5)
    result = outcome(harness.client.publish("/a", 1))
    batch = harness.last("/a")
    harness.clock.advance(5)
    held = harness.held_connect
    harness.answer(held)
    harness.clock.advance(0)
    harness.clock.advance(0)
    assert harness.client.transport == "websocket"
    later = outcome(harness.client.publish("/a", 2))
    assert harness.last("/a") is batch  # the second must not overtake the first
    assert not polling.closed
    harness.respond = harness.reply_to_all
    harness.answer(batch)
    assert result[0]["successful"] is True
    assert polling.closed
    assert later[0]["successful"] is True
    assert harness.last("/a").transport.connection_type == "websocket"


def test_something_is_tried_although_all_transports_are_demoted() -> None:
    harness = Harness()
    harness.respond = lambda request: request.fail(TransportUnavailable("no"))
    harness.client.connect()
    harness.pass_time(30)
    kinds = {request.transport.connection_type for request in harness.requests}
    assert kinds == {"websocket", "long-polling"}
    assert harness.count("/meta/handshake") > 4


def demotion(ranking: TransportRanking, now: float) -> float:
    """Return for how many seconds websocket is demoted."""
    for seconds in range(0, int(LONGEST_DEMOTION) + 60, 60):
        if ranking.best(now + seconds) == "websocket":
            return seconds
    raise AssertionError("demoted for too long")


def test_demotions_get_longer_and_end_with_success() -> None:
    ranking = TransportRanking(("websocket", "long-polling"))
    now = 0.0
    lengths = []
    for _ in range(10):
        ranking.failed("websocket", TransportUnavailable("no"), now)
        lengths.append(demotion(ranking, now))
        now += lengths[-1]
        assert ranking.best(now - 0.1) == "long-polling"
    assert lengths[:4] == [60, 120, 240, 480]
    assert max(lengths) == LONGEST_DEMOTION
    ranking.worked("websocket")
    ranking.failed("websocket", TransportUnavailable("no"), now)
    assert demotion(ranking, now) == FIRST_DEMOTION


def test_an_unreachable_server_demotes_no_transport() -> None:
    ranking = TransportRanking(("websocket", "long-polling"))
    for _ in range(20):
        ranking.failed("websocket", Unreachable("refused"), 0.0)
    assert ranking.best(0.0) == "websocket"


@pytest.mark.parametrize("how", ["raises", "fails"])
def test_unexpected_errors_of_a_transport_are_recovered_from(how: str) -> None:
    def serve(request: Request) -> None:
        if how == "raises":
            raise ZeroDivisionError
        request.done.errback(ZeroDivisionError())

    harness = Harness()
    harness.respond = serve
    published = outcome(harness.client.publish("/a", 1))
    harness.pass_time(3)
    assert harness.count("/meta/handshake") > 1
    assert "ZeroDivisionError" in str(harness.client.last_failure)
    harness.respond = harness.reply_to_all
    harness.pass_time(10)
    assert published[0]["successful"] is True


@pytest.mark.parametrize("error", [NoReply("closed"), ReplyTimeout("silent")])
def test_failures_in_a_row_demote(error: NoReply) -> None:
    ranking = TransportRanking(("websocket", "long-polling"))
    for _ in range(2):
        ranking.failed("websocket", error, 0.0)
        assert ranking.best(0.0) == "websocket"
    ranking.failed("websocket", error, 0.0)
    assert ranking.best(0.0) == "long-polling"


@pytest.mark.parametrize("types", [[], "websocket", ["pigeon"], {}])
def test_invalid_transports_raise(types: Any) -> None:
    with pytest.raises(ValueError, match=r"connection type"):
        Client("http://localhost/", reactor=Harness().clock, transports=types)


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "ftp://x/", "http://", "http://x:99999/", "http://a b/", "//x/"],
)
def test_invalid_urls_raise(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Harness(url=url)


@pytest.mark.parametrize("option", ["network_delay", "ping_interval"])
def test_invalid_times_raise(option: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        Harness(**{option: 0})
