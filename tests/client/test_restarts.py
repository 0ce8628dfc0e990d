"""Show how soon the client is back when its server restarts, again and again."""

from __future__ import annotations

import pytest

from txbayeux.client import Client, State
from txbayeux.testing import MemoryServer
from txbayeux.transport.base import NoReply

from .harness import Harness, Request

UNKNOWN = "402::Unknown client"


def restart(server: MemoryServer, away: float = 1.0) -> None:
    """Restart the server, which is away for so many seconds."""
    with server.unreachable():
        server.restart()
        server.advance(away)


def seconds_until_connected(server: MemoryServer, client: Client) -> float:
    start = server.clock.seconds()
    server.until(lambda: client.state is State.CONNECTED, timeout=100)
    return server.clock.seconds() - start


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("up", [0.1, 2.0, 20.0])
@pytest.mark.parametrize("away", [1.0, 4.0])
@pytest.mark.parametrize("connection_type", ["websocket", "long-polling"])
def test_the_client_is_back_at_once_after_each_restart(
    connection_type: str, away: float, up: float, jitter: float
) -> None:
    server = MemoryServer()
    client = server.new_client(transports=[connection_type], random=lambda: jitter)
    server.wait_for(client.connect())
    handshakes = 1
    for _ in range(10):
        server.advance(up)
        restart(server, away)
        assert seconds_until_connected(server, client) < 5
        handshakes += 1
        assert len(server.sent("/meta/handshake")) == handshakes


def test_a_lost_session_with_interval_0_costs_no_step() -> None:
    server = MemoryServer()
    client = server.new_client(transports=["long-polling"])
    server.wait_for(client.connect())
    server.advance(10)
    for _ in range(10):
        server.end_session(client)
        assert client.last_failure.reply["advice"]["interval"] == 0
        assert seconds_until_connected(server, client) <= 0.5
        server.advance(2)


def test_restarts_do_not_rule_a_transport_out() -> None:
    server = MemoryServer()
    client = server.new_client()
    server.wait_for(client.connect())
    for _ in range(6):
        server.advance(3)
        restart(server)
        seconds_until_connected(server, client)
        assert client.transport == "websocket"


def test_there_are_fewer_than_ten_handshakes_in_ten_seconds() -> None:
    # The session lasts just long enough each time for the delays to start over, and
    # then a handshake fails: without a limit that makes 17 in ten seconds.
    harness = Harness(random=lambda: 0.0)
    times: list[float] = []

    def serve(request: Request) -> None:
        if request.channels == ["/meta/handshake"]:
            times.append(harness.clock.seconds())
            if len(times) % 3:
                request.fail(NoReply("closed"))
                return
        harness.reply_to_all(request)
        if request.channels == ["/meta/connect"] and request.open:
            harness.clock.callLater(
                1.5, lambda: request.open and harness.answer(request, error=UNKNOWN)
            )

    harness.respond = serve
    harness.client.connect()
    harness.pass_time(60)
    most = max(sum(t <= other < t + 10 for other in times) for t in times)
    assert 5 < most < 10
