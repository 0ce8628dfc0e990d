"""Limits of one address and one session: at them served, above them error 429."""

from typing import Any

import pytest

from txbayeux.limits import Limits
from txbayeux.message import Message
from txbayeux.peer_limits import PeerLimits
from txbayeux.rates import Rate
from txbayeux.testing import FakeRequest

from .harness import SESSION_TIMEOUT, Client, Harness

HANDSHAKE = {
    "channel": "/meta/handshake",
    "version": "1.0",
    "supportedConnectionTypes": ["long-polling"],
}
OTHER = FakeRequest(peer="192.0.2.2")


def limited(limits: Limits | None = None, **peers: Any) -> Harness:
    return Harness(limits=limits, peers=PeerLimits(**peers))


def refusals(server: Harness) -> dict[str, int]:
    """Return how often each limit has refused something, if it has."""
    return {
        name.removeprefix("limited_").removesuffix("_total"): count
        for name, count in server.server.statistics().items()
        if name.startswith("limited_") and count
    }


def handshake(server: Harness, request: FakeRequest | None = None) -> Message:
    (reply,) = server.send(HANDSHAKE, request=request)
    return reply


def test_handshakes_above_the_rate_are_refused_until_later() -> None:
    server = limited(handshakes=Rate(0.5, 3))
    assert all(handshake(server)["successful"] for _ in range(3))
    refused = handshake(server)
    assert refused["error"] == "429::Too many handshakes"
    assert refused["advice"] == {"reconnect": "handshake", "interval": 5000}
    assert "clientId" not in refused
    assert handshake(server, OTHER)["successful"]
    server.advance(2)
    assert handshake(server)["successful"]
    assert not handshake(server)["successful"]
    assert refusals(server) == {"handshakes": 2}


def test_invalid_handshakes_take_no_session() -> None:
    server = limited(handshakes=Rate(0.5, 3), sessions=1)
    for _ in range(5):
        (reply,) = server.send(HANDSHAKE | {"version": "9"})
        assert reply["error"].startswith("300:")
    assert handshake(server)["successful"]


def test_sessions_of_an_address_above_the_limit_are_refused() -> None:
    server = limited(sessions=3)
    clients = [server.client() for _ in range(3)]
    refused = handshake(server)
    assert refused["error"] == "429::Too many sessions"
    assert refused["advice"] == {"reconnect": "handshake", "interval": 5000}
    assert handshake(server, OTHER)["successful"]
    assert clients[0].send("/meta/disconnect")["successful"]
    assert handshake(server)["successful"]
    assert not handshake(server)["successful"]
    server.advance(SESSION_TIMEOUT + 1)
    assert all(handshake(server)["successful"] for _ in range(3))
    assert refusals(server) == {"sessions": 2}


def test_a_handshake_that_fails_for_another_reason_is_no_session() -> None:
    server = limited(Limits(sessions=1), sessions=2)
    server.client()
    for _ in range(5):
        assert handshake(server)["error"] == "503::Too many sessions"


def test_publishes_of_an_address_above_the_rate_are_refused() -> None:
    server = limited(publishes=Rate(0.5, 4))
    reader = server.client("/a")
    messages = [{"channel": "/a", "data": n, "id": str(n)} for n in range(6)]
    replies = server.send(*messages)
    assert [reply["successful"] for reply in replies] == [True] * 4 + [False] * 2
    assert replies[4]["error"] == "429::Too many publishes"
    assert replies[4]["id"] == "4"
    assert reader.poll() == [0, 1, 2, 3]
    (other,) = server.send({"channel": "/a", "data": 6}, request=OTHER)
    assert other["successful"]
    server.advance(2)
    assert server.send({"channel": "/a", "data": 7})[0]["successful"]
    assert refusals(server) == {"publishes": 2}


def test_deliveries_of_an_address_above_the_rate_are_refused() -> None:
    server = limited(deliveries=Rate(5, 30))
    readers = [server.client("/a") for _ in range(10)]
    replies = server.send(*[{"channel": "/a", "data": n} for n in range(4)])
    assert [reply["successful"] for reply in replies] == [True, True, True, False]
    assert replies[3]["error"] == "429::Too many deliveries"
    assert replies[3]["advice"] == {"reconnect": "retry", "interval": 5000}
    assert server.send({"channel": "/nobody", "data": 4})[0]["successful"]
    assert server.send({"channel": "/a", "data": 5}, request=OTHER)[0]["successful"]
    assert not server.send({"channel": "/a", "data": 6})[0]["successful"]
    server.advance(2)
    assert server.send({"channel": "/a", "data": 7})[0]["successful"]
    assert not server.send({"channel": "/a", "data": 8})[0]["successful"]
    assert readers[0].poll() == [0, 1, 2, 5, 7]
    assert refusals(server) == {"deliveries": 3}


def test_a_message_to_more_than_the_burst_is_served_after_none() -> None:
    server = limited(deliveries=Rate(5, 9))
    for _ in range(10):
        server.client("/a")
    assert server.send({"channel": "/a", "data": 0})[0]["successful"]
    assert not server.send({"channel": "/a", "data": 1})[0]["successful"]


def test_deliveries_are_counted_for_limited_addresses_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = limited(deliveries=Rate(1, 1))
    server.client("/a")
    counted: list[str] = []
    fan_out = server.engine.hub.fan_out

    def count(channel: str) -> int:
        counted.append(channel)
        return fan_out(channel)

    monkeypatch.setattr(server.engine.hub, "fan_out", count)
    local = FakeRequest(peer="127.0.0.1")
    for n in range(3):
        assert server.send({"channel": "/a", "data": n}, request=local)[0]["successful"]
    assert counted == []
    assert server.send({"channel": "/a", "data": 3})[0]["successful"]
    assert counted == ["/a"]


def test_messages_for_the_service_are_publishes_too() -> None:
    server = limited(publishes=Rate(0.5, 2))
    replies = server.send(*[{"channel": "/service/a", "data": 1}] * 3)
    assert [reply["successful"] for reply in replies] == [True, True, False]


@pytest.fixture
def server() -> Harness:
    """Return one where a session may publish three messages, of 100 bytes in all."""
    return limited(session_publishes=Rate(0.5, 3), session_published=Rate(10, 100))


def published(client: Client, data: object) -> bool:
    return bool(client.publish("/a", data)["successful"])


def test_publishes_of_a_session_above_the_rate_are_refused(server: Harness) -> None:
    client, other = server.client(), server.client()
    assert [published(client, n) for n in range(4)] == [True, True, True, False]
    assert published(other, 4)
    server.advance(2)
    assert published(client, 5)
    assert refusals(server) == {"session_publishes": 1}


def test_bytes_of_a_session_above_the_rate_are_refused(server: Harness) -> None:
    client, other = server.client(), server.client()
    data = "x" * (50 - len('{"channel":"/a","data":""}'))
    assert [published(client, data) for _ in range(2)] == [True, True]
    assert not published(client, "")
    assert published(other, data)
    server.advance(5)
    assert published(client, data)
    assert refusals(server) == {"session_published": 1}


def test_meta_messages_of_a_session_above_the_rate_are_refused() -> None:
    server = limited(session_messages=Rate(0.5, 2))
    client, other = server.client(), server.client()
    assert client.subscribe("/a")["successful"]
    assert client.send("/meta/unsubscribe", subscription="/a")["successful"]
    refused = client.send("/meta/subscribe", subscription="/b")
    assert refused["error"] == "429::Too many messages"
    assert "advice" not in refused
    connect = client.send("/meta/connect", connectionType="long-polling")
    assert connect["error"] == "429::Too many messages"
    assert connect["advice"] == {"reconnect": "retry", "interval": 5000}
    assert published(client, 1)
    assert other.subscribe("/a")["successful"]
    server.advance(2)
    assert client.subscribe("/b")["successful"]
    assert refusals(server) == {"session_messages": 2}


def test_this_process_and_this_machine_are_not_limited() -> None:
    server = limited(
        **dict.fromkeys(("handshakes", "publishes", "session_messages"), Rate(0.5, 1)),
        sessions=1,
    )
    local = server.server.client()
    for number in range(5):
        local.publish("/a", number)
        assert handshake(server, FakeRequest(peer="127.0.0.1"))["successful"]
        assert handshake(server, FakeRequest(peer=""))["successful"]
    assert refusals(server) == {}


def test_a_server_has_no_limits_of_peers_unless_it_is_given_some() -> None:
    server = Harness()
    for _ in range(3000):
        assert handshake(server)["successful"]
    assert refusals(server) == {}
