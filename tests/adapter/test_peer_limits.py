"""Limits of what one address may send: at them it is served, above them it is not."""

import json
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from txbayeux.adapter.origins import Origins
from txbayeux.adapter.proxies import TrustedProxies
from txbayeux.adapter.websocket import MAX_REFUSED
from txbayeux.peer_limits import PeerLimits, PeerRegistry
from txbayeux.rates import Rate

from .sockets import Client, upgrade
from .support import Answer, Service, Transport, request

ME = "192.168.1.1"  # the address of connections in memory
POST = request("POST", body=b"[{}]", content_type="application/json")


class Limited(Service):
    """A service with limits for peers."""

    def __init__(self, *, origins: Origins | None = None, **limits: Any) -> None:
        clock = Clock()
        self.peers = PeerRegistry(PeerLimits(**limits), clock)
        super().__init__(
            clock=clock,
            peers=self.peers,
            proxies=TrustedProxies(["10.0.0.0/8"]),
            origins=origins,
        )

    def refused(self, name: str) -> int:
        return self.peers.statistics()[f"limited_{name}_total"]


@pytest.fixture
def service() -> Limited:
    """Return one that takes three requests of an address, then one in two seconds."""
    return Limited(requests=Rate(0.5, 3))


def test_polls_above_the_rate_are_refused_with_the_time_to_wait(
    service: Limited,
) -> None:
    connection = service.connect()
    for _ in range(3):
        connection.protocol.dataReceived(POST)
        assert Answer(connection.take()).code == 200
    connection.protocol.dataReceived(POST)
    answer = Answer(connection.take())
    assert answer.code == 429
    assert answer.headers["retry-after"] == "2"
    assert service.refused("requests") == 1
    service.clock.advance(2)
    connection.protocol.dataReceived(POST)
    assert Answer(connection.take()).code == 200
    connection.protocol.dataReceived(POST)
    assert Answer(connection.take()).code == 429


REQUESTS = {
    "poll": POST,
    "form": request("POST", body=b"message=[{}]"),
    "callback": request(path="/bayeux?message=[{}]"),
    "preflight": request("OPTIONS"),
    "upgrade": upgrade(),
    "stream": request(path="/bayeux/s1", accept="text/event-stream"),
    "unknown stream": request(path="/bayeux/s9", accept="text/event-stream"),
    "not JSON": request("POST", body=b"{", content_type="application/json"),
    "a type that is not ours": request("POST", body=b"x", content_type="image/png"),
    "another method": request("PUT"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_all_requests_of_an_address_count(name: str) -> None:
    service = Limited(requests=Rate(0.5, 3))
    codes = [Answer(service.send(REQUESTS[name]).value()).code for _ in range(4)]
    assert 429 not in codes[:3]
    assert codes[3] == 429


def test_a_batch_counts_as_its_messages(service: Limited) -> None:
    assert service.post([{}, {}, {}]).code == 200
    assert service.post([{}]).code == 429


def test_a_batch_above_the_rate_is_served_and_those_after_it_wait(
    service: Limited,
) -> None:
    assert service.post([{}] * 7).code == 200
    service.clock.advance(8)
    assert service.post([{}]).code == 429
    service.clock.advance(2)
    assert service.post([{}]).code == 200


def test_messages_in_a_url_count_as_well(service: Limited) -> None:
    assert service.ask(path="/bayeux?message=[{},{},{}]").code == 200
    assert service.ask(path="/bayeux?message=[{}]").code == 429


def test_bytes_above_the_rate_are_refused() -> None:
    service = Limited(received=Rate(10, 100))
    body = json.dumps(["x" * 46]).encode()
    assert len(body) == 50
    assert [service.post(body).code for _ in range(3)] == [200, 200, 429]
    assert service.refused("received") == 1
    service.clock.advance(5)
    assert service.post(body).code == 200


def test_a_page_may_read_the_refusal_if_it_may_use_the_service() -> None:
    service = Limited(
        requests=Rate(0.5, 1), origins=Origins(["https://friend.example"])
    )
    service.post([{}])
    friend = service.post([{}], origin="https://friend.example")
    assert friend.code == 429
    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    stranger = service.post([{}], origin="https://stranger.example")
    assert "access-control-allow-origin" not in stranger.headers


def test_another_address_is_served_meanwhile(service: Limited) -> None:
    for _ in range(4):
        service.post([{}])
    other = service.connect(IPv4Address("TCP", "192.0.2.1", 1))
    other.protocol.dataReceived(POST)
    assert Answer(other.value()).code == 200


def test_clients_of_a_trusted_proxy_are_counted_each() -> None:
    service = Limited(requests=Rate(0.5, 2))

    def code(client: str, proxy: str = "10.0.0.1") -> int:
        connection = service.connect(IPv4Address("TCP", proxy, 1))
        head = {"content_type": "application/json", "x_forwarded_for": client}
        connection.protocol.dataReceived(request("POST", body=b"[{}]", **head))
        return Answer(connection.value()).code

    assert [code("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert code("192.0.2.2") == 200
    # Who is no proxy counts once, whatever it says.
    assert [code(f"192.0.3.{n}", ME) for n in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2"])
def test_this_machine_is_not_limited(address: str) -> None:
    service = Limited(requests=Rate(0.5, 3), connections=3)
    for _ in range(20):
        connection = service.connect(IPv4Address("TCP", address, 1))
        connection.protocol.dataReceived(POST)
        assert Answer(connection.value()).code == 200


def test_websocket_messages_above_the_rate_are_answered_with_errors() -> None:
    service = Limited(requests=Rate(0.5, 4))
    client = Client(service)  # the upgrade is a request, too
    client.send([{"channel": "/a", "id": "1"}])
    client.send([{"channel": "/a", "id": "2"}, {"channel": "/a", "id": "3"}])
    assert len(client.messages()) == 2
    connect = {"channel": "/meta/connect", "id": "4", "clientId": "s"}
    client.send([connect, {"channel": "/a", "id": "5"}])
    error = {"successful": False, "error": "429::Too many requests"}
    advice = {"reconnect": "retry", "interval": 5000}
    assert client.messages() == [
        [
            {"channel": "/meta/connect", "id": "4", "advice": advice, **error},
            {"channel": "/a", "id": "5", **error},
        ]
    ]
    assert len(service.processor.requests) == 2
    service.clock.advance(2)
    client.send([{"channel": "/a", "id": "6"}])
    assert "echo" in client.messages()[0][0]


def test_a_websocket_that_goes_on_is_closed_with_1008() -> None:
    service = Limited(requests=Rate(0.5, 3))
    client = Client(service)
    for _ in range(2):
        client.send([])
    for _ in range(MAX_REFUSED):
        client.send([])
    assert client.messages() == [[]] * (2 + MAX_REFUSED)
    client.send([])
    assert client.closed_with() == 1008
    assert service.refused("requests") == MAX_REFUSED + 1


def test_bytes_of_websocket_messages_count() -> None:
    service = Limited(received=Rate(10, 100))
    client = Client(service)
    for _ in range(3):
        client.send(["x" * 46])
    served, also, refused = client.messages()
    assert "echo" in served[0]
    assert "echo" in also[0]
    assert refused == [{"successful": False, "error": "429::Too many requests"}]


# A Site of twisted.web counts no connections.
@pytest.mark.parametrize("http_way", ["fast"], indirect=True)
def test_connections_above_the_limit_are_refused() -> None:
    service = Limited(connections=3)
    open_now = [service.connect() for _ in range(3)]
    open_now[0].protocol.dataReceived(upgrade())
    open_now[1].protocol.dataReceived(b"GET /other HTTP/1.1\r\nHost: a\r\n\r\n")
    refused = service.connect()
    assert Answer(refused.value()).code == 429
    assert refused.disconnecting
    refused.clear()
    refused.protocol.dataReceived(POST)
    assert refused.value() == b""
    assert service.refused("connections") == 1
    elsewhere = service.connect(IPv4Address("TCP", "192.0.2.1", 1))
    assert elsewhere.value() == b""
    for one in open_now:
        lose(one)
        assert service.connect().value() == b""


def lose(connection: Transport) -> None:
    connection.connected = False
    connection.lose()


def test_connections_of_trusted_proxies_are_not_counted() -> None:
    service = Limited(connections=3)
    for _ in range(10):
        connection = service.connect(IPv4Address("TCP", "10.0.0.1", 1))
        assert connection.value() == b""
