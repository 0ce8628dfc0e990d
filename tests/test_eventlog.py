"""``--verbose`` logs what sessions do, without their whole ids and messages."""

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from txbayeux.engine.memory import MemoryEngine
from txbayeux.server import Server, ServerOptions
from txbayeux.service.eventlog import log_events
from txbayeux.testing import FakeRequest

HANDSHAKE = {
    "channel": "/meta/handshake",
    "version": "1.0",
    "supportedConnectionTypes": ["long-polling"],
}


def test_sessions_and_channels_are_logged_without_whole_ids() -> None:
    server = Server(MemoryEngine(Clock()))
    server.start()
    log_events(server.events)

    def send(message: Any, **source: Any) -> Any:
        replies: list[Any] = []
        answer = server.process([message], FakeRequest(**source))
        answer.addCallback(lambda response: replies.extend(response.items))
        return replies[0]

    with capturedLogs() as log:
        session = send(HANDSHAKE, transport="websocket", peer="192.0.2.1")["clientId"]
        mine = {"clientId": session}
        send({"channel": "/meta/subscribe", "subscription": ["/a", "/b/*"], **mine})
        send({"channel": "/a", "data": "secret", **mine})
        send({"channel": "/a", "data": "secret"})
        send({"channel": "/meta/unsubscribe", "subscription": "/a", **mine})
        send(
            {
                "channel": "/meta/connect",
                "connectionType": "long-polling",
                "advice": {"timeout": 0},
                **mine,
            }
        )
        send({"channel": "/meta/disconnect", **mine})
        send(HANDSHAKE, transport="long-polling", peer="")
    lines = [formatEvent(event) for event in log]
    name = session[:8]
    assert lines[:-1] == [
        f"{name} handshake from 192.0.2.1 over websocket",
        f"{name} subscribe /a",
        f"{name} subscribe /b/*",
        f"{name} publish /a",
        "- publish /a",
        f"{name} unsubscribe /a",
        f"{name} connect",
        f"{name} unsubscribe /b/*",
        f"{name} disconnect: client",
    ]
    assert lines[-1].endswith(" handshake from a Unix socket over long-polling")


def test_braces_in_a_channel_are_no_field_of_the_log() -> None:
    options = ServerOptions(channel_names="cometd")
    server = Server(MemoryEngine(Clock()), options=options)
    server.start()
    log_events(server.events)
    with capturedLogs() as log:
        server.process([{"channel": "/{session} {0}", "data": 1}], FakeRequest())
    assert [formatEvent(event) for event in log] == ["- publish /{session} {0}"]
