"""The examples run, and do what their first lines say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock, StringTransport

from examples import clock, nested, shared
from tests.test_service import HANDSHAKE, Running, post


def subscribed(running: Running, channel: str) -> str:
    (reply,) = running.post(HANDSHAKE)
    message = {"clientId": reply["clientId"], "subscription": channel}
    (answer,) = running.post({"channel": "/meta/subscribe", **message})
    assert answer["successful"], answer
    session_id: str = reply["clientId"]
    return session_id


def messages(running: Running, session_id: str) -> list[Any]:
    connect = {"clientId": session_id, "connectionType": "long-polling"}
    advice = {"advice": {"timeout": 0}}
    replies = running.post({"channel": "/meta/connect", **connect, **advice})
    return [reply["data"] for reply in replies if "data" in reply]


def test_nested_serves_a_page_and_bayeux() -> None:
    reactor = MemoryReactorClock()
    site = nested.site(reactor)
    for request, expected in [
        (b"GET / HTTP/1.0\r\n\r\n", b"<h1>My site</h1>"),
        (post({"channel": "/clock", "data": 1}), b'"successful":true'),
    ]:
        transport = StringTransport()
        protocol: Any = site.buildProtocol(None)
        transport.protocol = protocol  # type: ignore[attr-defined]
        protocol.makeConnection(transport)
        protocol.dataReceived(request)
        assert expected in transport.value()


def test_clock_ticks_for_those_who_listen() -> None:
    reactor = MemoryReactorClock()
    site = clock.site(reactor)

    def ask(message: Any) -> Any:
        transport = StringTransport()
        protocol: Any = site.buildProtocol(None)
        protocol.makeConnection(transport)
        protocol.dataReceived(post(message))
        return json.loads(transport.value().partition(b"\r\n\r\n")[2])

    (reply,) = ask(HANDSHAKE)
    mine = {"clientId": reply["clientId"]}
    ask({"channel": "/meta/subscribe", "subscription": "/clock", **mine})
    reactor.pump([1, 1])
    now = {"connectionType": "long-polling", "advice": {"timeout": 0}}
    replies = ask({"channel": "/meta/connect", **mine, **now})
    seconds = [reply["data"]["seconds"] for reply in replies if "data" in reply]
    assert seconds == [1, 2]


def test_shared_says_so_while_redis_is_away() -> None:
    reactor = MemoryReactorClock()
    transport = StringTransport()
    protocol: Any = shared.site(reactor).buildProtocol(None)
    protocol.makeConnection(transport)
    protocol.dataReceived(post({"channel": "/a", "data": 1}))
    reactor.advance(60)
    (reply,) = json.loads(transport.value().partition(b"\r\n\r\n")[2])
    assert reply["error"].startswith("503:")


def test_auth_lets_users_write_their_own_channels() -> None:
    running = Running("--port", "8000", "--extension", "examples.auth:Auth")
    session_id = subscribed(running, "/news")
    alice = {"channel": "/users/alice/status", "data": "hi", "ext": {"token": "s3cret"}}
    for message, allowed in [
        (alice, True),
        (alice | {"ext": {"token": "pa55"}}, False),
        (alice | {"ext": {"token": ["s3cret"]}}, False),
        (alice | {"ext": 5}, False),
    ]:
        (reply,) = running.post(message)
        assert reply["successful"] is allowed
    spying = {"clientId": session_id, "subscription": ["/news", "/users/**"]}
    (reply,) = running.post({"channel": "/meta/subscribe", **spying})
    assert reply["error"] == "403::Not yours"


def test_echo_answers_the_one_who_asked() -> None:
    running = Running("--port", "8000", "--extension", "examples.echo:Echo")
    alice, bob = (subscribed(running, "/service/echo") for _ in range(2))
    asked = {"channel": "/service/echo", "data": {"n": 1}, "clientId": alice}
    running.post(asked)
    assert messages(running, alice) == [{"n": 1}]
    assert messages(running, bob) == []
    (reply,) = running.post({**asked, "clientId": "gone"})
    assert reply["successful"]


DOCS = sorted((Path(__file__).parent.parent / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_what_the_documentation_shows_is_what_runs(page: Path) -> None:
    root = Path(__file__).parent.parent
    shown = re.findall(
        r"<!-- (examples/\S+) -->\n```python\n(.*?)```", page.read_text(), re.DOTALL
    )
    assert page.read_text().count("```python") == len(shown)
    for name, text in shown:
        assert text == (root / name).read_text(), name
