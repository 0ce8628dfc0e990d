"""Show how soon the client is back when its server restarts, again and again."""

from __future__ import annotations

import pytest

from txbayeux.client import State
from txbayeux.transport.base import NoReply, Unreachable

from .harness import Harness, Request

UNKNOWN = "402::Unknown client"


class RestartingServer:
    """Knows the sessions since its last start, and none of those before."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.sessions: set[str] = set()
        self.running = True
        harness.respond = self.respond

    def respond(self, request: Request) -> None:
        if not self.running:
            request.fail(Unreachable("refused"))
            return
        for message in request.messages:
            if message["channel"] == "/meta/handshake":
                reply = self.harness.reply(message)
                self.sessions.add(reply["clientId"])
                request.answer(reply)
                return
        if not all(m["clientId"] in self.sessions for m in request.messages):
            advice = {"reconnect": "handshake", "interval": 0}
            request.answer(
                *[
                    self.harness.reply(m, error=UNKNOWN, advice=advice)
                    for m in request.messages
                ]
            )
        else:
            self.harness.reply_to_all(request)

    def stop(self) -> None:
        self.running = False
        self.sessions.clear()
        for request in self.harness.requests:
            request.fail(NoReply("closed"))


def seconds_until_connected(harness: Harness) -> float:
    start = harness.clock.seconds()
    while harness.client.state is not State.CONNECTED:
        harness.clock.advance(0.05)
        assert harness.clock.seconds() < start + 100
    return harness.clock.seconds() - start


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("up", [0.1, 2.0, 20.0])
@pytest.mark.parametrize("connection_type", ["websocket", "long-polling"])
def test_row_4b_the_client_is_back_at_once_after_each_restart(
    connection_type: str, up: float, jitter: float
) -> None:
    harness = Harness(types=[connection_type], random=lambda: jitter)
    server = RestartingServer(harness)
    harness.connect()
    handshakes = 1
    for _ in range(4):
        harness.pass_time(up)
        server.stop()
        if connection_type == "websocket":
            harness.transports[-1].drop()
        harness.pass_time(1)
        server.running = True
        assert seconds_until_connected(harness) < 5
        handshakes += 1
        assert harness.count("/meta/handshake") == handshakes


def test_row_4b_a_lost_session_with_interval_0_costs_no_step() -> None:
    harness = Harness()
    server = RestartingServer(harness)
    harness.connect()
    harness.pass_time(10)
    for _ in range(10):
        server.sessions.clear()
        harness.answer(
            harness.held_connect,
            error=UNKNOWN,
            advice={"reconnect": "handshake", "interval": 0},
        )
        assert seconds_until_connected(harness) <= 0.5
        harness.pass_time(2)


def test_row_4b_restarts_do_not_rule_a_transport_out() -> None:
    harness = Harness()
    server = RestartingServer(harness)
    harness.connect()
    for _ in range(6):
        harness.pass_time(3)
        server.stop()
        harness.transports[-1].drop()
        harness.pass_time(1)
        server.running = True
        seconds_until_connected(harness)
        assert harness.client.transport == "websocket"


def test_row_4b_there_are_fewer_than_ten_handshakes_in_ten_seconds() -> None:
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
