"""Which transport carries the session, and that changing it keeps the session."""

from __future__ import annotations

from typing import Any

import pytest

from txbayeux.client import Client, State
from txbayeux.client.transports import (
    FIRST_DEMOTION,
    LONGEST_DEMOTION,
    TransportRanking,
)
from txbayeux.transport.base import (
    NoReply,
    ReplyTimeout,
    TransportUnavailable,
    Unreachable,
)

from .stage import Request, Stage, outcome


def without_sockets(stage: Stage) -> Any:
    def serve(request: Request) -> None:
        if request.transport.connection_type == "websocket":
            request.fail(TransportUnavailable("refused by a proxy", 403))
        else:
            stage.serve(request)

    return serve


def test_the_best_that_the_server_offers_is_used() -> None:
    stage = Stage()
    stage.offer = ["callback-polling", "long-polling"]
    stage.connect()
    assert stage.client.transport == "long-polling"
    [connect, *_] = stage.sent("/meta/connect")
    assert connect["connectionType"] == "long-polling"
    assert stage.wires[0].closed


def test_a_socket_that_is_refused_is_demoted_and_tried_again_later() -> None:
    stage = Stage()
    stage.server = without_sockets(stage)
    ready = outcome(stage.client.subscribe("/a", print).ready)
    stage.pass_time(1)
    assert ready == [None]
    assert stage.client.transport == "long-polling"
    assert stage.count("/meta/handshake") == 2
    stage.server = stage.serve
    stage.pass_time(FIRST_DEMOTION, step=1)
    held = stage.held
    held.answer(stage.reply(held.messages[0]))
    stage.pass_time(0.1)
    assert stage.client.transport == "websocket"
    assert stage.client.session_id == "session1"
    assert stage.count("/meta/subscribe") == 1
    assert stage.held.messages[0]["connectionType"] == "websocket"
    assert stage.held.transport.attached == ["session1"]


def test_a_socket_that_opens_and_stays_silent_is_demoted_after_a_bounded_time() -> None:
    stage = Stage()

    def serve(request: Request) -> None:
        if request.transport.connection_type != "websocket":
            stage.serve(request)

    stage.server = serve
    stage.client.connect()
    # What the socket's own transport makes of silence on a new one.
    stage.requests[0].fail(
        TransportUnavailable("no reply within 10 s, over a new socket")
    )
    stage.pass_time(1)
    assert stage.client.state is State.CONNECTED
    assert stage.client.transport == "long-polling"


def test_a_promotion_that_fails_keeps_the_session_too() -> None:
    stage = Stage()
    stage.server = without_sockets(stage)
    stage.client.connect()
    stage.pass_time(1)
    for _ in range(4):
        stage.pass_time(20, step=1)
        held = stage.held
        held.answer(stage.reply(held.messages[0]))
        stage.pass_time(1)
    assert stage.client.session_id == "session1"
    assert stage.client.state is State.CONNECTED
    assert stage.client.transport == "long-polling"
    tried = [r for r in stage.requests if r.transport.connection_type == "websocket"]
    assert len(tried) == 2


def test_what_is_in_flight_when_the_transport_changes_ends_there_first() -> None:
    stage = Stage()
    stage.server = without_sockets(stage)
    stage.client.connect()
    stage.pass_time(1)
    polling = stage.held.transport
    stage.server = lambda request: (
        None if "/a" in request.channels else stage.serve(request)
    )
    stage.clock.advance(FIRST_DEMOTION - 5)
    result = outcome(stage.client.publish("/a", 1))
    batch = stage.last("/a")
    stage.clock.advance(5)
    held = stage.held
    held.answer(stage.reply(held.messages[0]))
    stage.clock.advance(0)
    stage.clock.advance(0)
    assert stage.client.transport == "websocket"
    later = outcome(stage.client.publish("/a", 2))
    assert stage.last("/a") is batch  # the second must not overtake the first
    assert not polling.closed
    stage.server = stage.serve
    batch.answer(stage.reply(batch.messages[0]))
    assert result[0]["successful"] is True
    assert polling.closed
    assert later[0]["successful"] is True
    assert stage.last("/a").transport.connection_type == "websocket"


def test_where_all_are_demoted_something_is_still_tried() -> None:
    stage = Stage()
    stage.server = lambda request: request.fail(TransportUnavailable("no"))
    stage.client.connect()
    stage.pass_time(30)
    kinds = {request.transport.connection_type for request in stage.requests}
    assert kinds == {"websocket", "long-polling"}
    assert stage.count("/meta/handshake") > 4


def test_demotions_get_longer_and_end_with_success() -> None:
    selection = TransportRanking(("websocket", "long-polling"))
    now = 0.0
    lengths = []
    for _ in range(10):
        selection.failed("websocket", TransportUnavailable("no"), now)
        assert selection.best(now) == "long-polling"
        until = selection._demoted["websocket"][0]
        lengths.append(until - now)
        now = until
        assert selection.best(now) == "websocket"
    assert lengths[:4] == [60, 120, 240, 480]
    assert max(lengths) == LONGEST_DEMOTION
    selection.worked("websocket")
    selection.failed("websocket", TransportUnavailable("no"), now)
    assert selection._demoted["websocket"][0] == now + FIRST_DEMOTION


def test_what_holds_for_all_transports_demotes_none() -> None:
    selection = TransportRanking(("websocket", "long-polling"))
    for _ in range(20):
        selection.failed("websocket", Unreachable("refused"), 0.0)
    assert selection.best(0.0) == "websocket"


@pytest.mark.parametrize("how", ["raises", "fails"])
def test_a_transport_that_breaks_its_promise_is_recovered_from(how: str) -> None:
    def serve(request: Request) -> None:
        if how == "raises":
            raise ZeroDivisionError
        request.done.errback(ZeroDivisionError())

    stage = Stage()
    stage.server = serve
    published = outcome(stage.client.publish("/a", 1))
    stage.pass_time(3)
    assert stage.count("/meta/handshake") > 1
    assert "ZeroDivisionError" in str(stage.client.last_failure)
    stage.server = stage.serve
    stage.pass_time(10)
    assert published[0]["successful"] is True


@pytest.mark.parametrize("error", [NoReply("closed"), ReplyTimeout("silent")])
def test_failures_in_a_row_demote(error: NoReply) -> None:
    selection = TransportRanking(("websocket", "long-polling"))
    for _ in range(2):
        selection.failed("websocket", error, 0.0)
        assert selection.best(0.0) == "websocket"
    selection.failed("websocket", error, 0.0)
    assert selection.best(0.0) == "long-polling"


@pytest.mark.parametrize("types", [[], "websocket", ["pigeon"], {}])
def test_transports_that_are_none_are_refused(types: Any) -> None:
    with pytest.raises(ValueError, match=r"connection type"):
        Client("http://localhost/", reactor=Stage().clock, transports=types)


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "ftp://x/", "http://", "http://x:99999/", "http://a b/", "//x/"],
)
def test_urls_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Stage(url=url)


@pytest.mark.parametrize("option", ["network_delay", "ping_interval"])
def test_times_that_are_none_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match="positive"):
        Stage(**{option: 0})
