"""URLs, proxies and TLS policies: how a connection to the server is made."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol

from txbayeux.transport.base import NoReply, Unreachable
from txbayeux.transport.endpoints import EndpointFactory
from txbayeux.transport.long_polling import LongPolling
from txbayeux.transport.url import Credentials, Proxy, ServerURL, parse
from txbayeux.transport.websocket import WebSocket

from .support import PEER, Receiver, ServerConnection, context, outcome


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://x", ServerURL("http", "x", 80, "/")),
        ("ws://X:8000/a?b=c", ServerURL("http", "x", 8000, "/a", "b=c")),
        ("wss://x/a/", ServerURL("https", "x", 443, "/a/")),
        ("HTTPS://x:444/ü", ServerURL("https", "x", 444, "/%C3%BC")),
        ("http://[::1]:80/", ServerURL("http", "::1", 80, "/")),
        ("http://bücher.example/", ServerURL("http", "xn--bcher-kva.example", 80, "/")),
        ("http://faß.example/", ServerURL("http", "xn--fa-hia.example", 80, "/")),
        ("http://x/%2f", ServerURL("http", "x", 80, "/%2f")),
    ],
)
def test_urls(url: str, endpoint: ServerURL) -> None:
    assert parse(url) == (endpoint, None)
    assert parse(endpoint.url)[0] == endpoint
    assert parse(endpoint.socket_url)[0] == endpoint


def test_user_and_password_are_separated_and_the_password_not_shown() -> None:
    endpoint, credentials = parse("http://a%40b:p%3Aq@x/")
    assert credentials == Credentials("a@b", "p:q")
    assert "p:q" not in repr(credentials)
    assert endpoint.netloc == "x"


@pytest.mark.parametrize("url", ["x", "localhost:8000/bayeux", "user:pa55@x/"])
def test_a_url_without_a_scheme_is_refused_with_the_schemes_there_are(url: str) -> None:
    sentence = "a URL begins with http://, https://, ws:// or wss://"
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        parse(url)
    with pytest.raises(ValueError, match=f"^proxy: {sentence}$"):
        Proxy.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://x\r\nHost: y/",
        "http://x:port/",
        "file:///etc",
        "http://:80/",
        "",
        "https://under_score/",
        "http://two..dots/",
        f"https://{'long' * 16}.example/",
    ],
)
def test_invalid_urls(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(url)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("b", "https://b:8443/bayeux"),
        ("b:1", "https://b:1/bayeux"),
        ("[::1]:1", "https://[::1]:1/bayeux"),
        ("[::1]", "https://[::1]:8443/bayeux"),
        ("https://b/other", "https://b/other"),
        ("https://b", "https://b/bayeux"),
    ],
)
def test_advised_hosts(host: str, url: str) -> None:
    home, _ = parse("https://a:8443/bayeux")
    assert home.at(host).url == url


@pytest.mark.parametrize("host", ["http://b/", "ws://b/", "", "a b"])
def test_advice_cannot_turn_tls_off(host: str) -> None:
    home, _ = parse("https://a:8443/bayeux")
    with pytest.raises(ValueError, match=r".+"):
        home.at(host)


class ProxyFixture:
    """A connection to ``http://server/`` through a proxy, which the test plays."""

    def __init__(self, inner: type[Protocol] = Protocol) -> None:
        self.context = context(
            "http://server/bayeux",
            proxy=Proxy.parse("http://user:pa55@127.0.0.1:3128"),
        )
        self.reactor = self.context.reactor
        factory = EndpointFactory(
            self.reactor, tls=None, proxy=self.context.proxy, timeout=10
        )
        endpoint = factory.endpoint(self.context.endpoint)
        self.result = outcome(endpoint.connect(Factory.forProtocol(inner)))
        [(self.host, self.port, client, *_)] = self.reactor.tcpClients
        protocol = client.buildProtocol(PEER)
        self.connection = ServerConnection(protocol, self.reactor)
        protocol.makeConnection(self.connection)


def test_a_tunnel_is_requested_and_then_used_as_a_connection() -> None:
    received: list[bytes] = []

    class Inner(Protocol):
        def dataReceived(self, data: bytes) -> None:
            received.append(data)

    proxy = ProxyFixture(Inner)
    assert (proxy.host, proxy.port) == ("127.0.0.1", 3128)
    assert proxy.connection.take() == (
        b"CONNECT server:80 HTTP/1.1\r\nHost: server:80\r\n"
        b"Proxy-Authorization: Basic dXNlcjpwYTU1\r\n\r\n"
    )
    proxy.connection.send(b"HTTP/1.1 200 Conn")
    assert proxy.result == []
    proxy.connection.send(b"ected\r\nVia: x\r\n\r\nearly")
    [inner] = proxy.result
    inner.transport.write(b"hello")
    assert proxy.connection.take() == b"hello"
    proxy.connection.send(b"later")
    assert received == [b"early", b"later"]


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        b"HTTP/1.1 502 No\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"\r\n\r\n",
        b"HTTP/1.1 200" + b"x" * 20_000,
    ],
)
def test_a_proxy_that_opens_no_tunnel(response: bytes) -> None:
    proxy = ProxyFixture()
    proxy.connection.send(response)
    proxy.reactor.advance(0)
    assert isinstance(proxy.result[0], Unreachable)
    assert proxy.connection.closed


def test_a_proxy_that_closes() -> None:
    proxy = ProxyFixture()
    proxy.connection.close()
    assert isinstance(proxy.result[0], Unreachable)


def test_a_proxy_that_does_not_respond() -> None:
    proxy = ProxyFixture()
    proxy.reactor.advance(10.1)
    assert isinstance(proxy.result[0], Unreachable)
    assert proxy.connection.aborted


@pytest.mark.parametrize("kind", [LongPolling, WebSocket])
def test_proxies_of_the_environment_are_ignored(
    kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    made = context("http://127.0.0.1:8000/bayeux")
    transport = kind(made, Receiver())
    outcome(transport.send([{"channel": "/a", "id": "1"}], 10))
    [(host, port, *_)] = made.reactor.tcpClients
    assert (host, port) == ("127.0.0.1", 8000)
    outcome(transport.close())


class RaisingPolicy:
    """A TLS policy that raises."""

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        raise RuntimeError("no such certificate")


@pytest.mark.parametrize("kind", [LongPolling, WebSocket])
def test_a_tls_policy_that_raises_is_a_failure_like_any_other(kind: Any) -> None:
    made = context("https://127.0.0.1/", tls=RaisingPolicy())
    transport = kind(made, Receiver())
    for _ in range(2):
        done = outcome(transport.send([{"channel": "/a", "id": "1"}], 10))
        assert "no such certificate" in str(done[0])
        assert isinstance(done[0], NoReply)
    assert outcome(transport.close()) == [None]
    assert made.reactor.getDelayedCalls() == []
