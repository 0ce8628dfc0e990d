"""Upgrading an HTTP connection to WebSocket, and what becomes of the connection."""

import gc
import json
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.protocols.haproxy import proxyEndpoint
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure

from txbayeux.adapter.origins import Origins
from txbayeux.message import Entry

from .sockets import TEXT, Client, frame, upgrade
from .support import Answer, FakeEndpoint, Service, Transport, entry, request, settle


def test_the_upgrade() -> None:
    service = Service()
    head = Client(service).head
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert b"Sec-WebSocket-Protocol" not in head
    assert b"Sec-WebSocket-Extensions" not in head
    assert service.processor.streams[0].preempted_by_poll is True
    assert service.processor.streams[0].writable


def test_no_subprotocol_is_chosen() -> None:
    head = Client(Service(), sec_websocket_protocol="bayeux, chat").head
    assert head.startswith(b"HTTP/1.1 101")
    assert b"Sec-WebSocket-Protocol" not in head


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"connection": ""}, 400),
        ({"connection": "keep-alive"}, 400),
        ({"sec_websocket_version": ""}, 426),
        ({"sec_websocket_version": "8"}, 426),
        ({"sec_websocket_version": "13, 13"}, 426),
        ({"sec_websocket_key": ""}, 400),
        ({"sec_websocket_key": "short"}, 400),
        ({"sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==x"}, 400),
        ({"version": "HTTP/1.0"}, 400),
    ],
)
def test_invalid_upgrades_are_refused(headers: dict[str, str], code: int) -> None:
    service = Service()
    answer = Answer(service.send(upgrade(**headers)).value())
    assert answer.code == code
    assert service.processor.streams == []
    if code == 426:
        assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("connection", ["keep-alive, Upgrade", "upgrade", "UPGRADE"])
def test_spellings_of_the_headers(connection: str) -> None:
    head = Client(Service(), connection=connection, upgrade="WebSocket").head
    assert head.startswith(b"HTTP/1.1 101")


def test_an_upgrade_to_another_protocol_is_ignored() -> None:
    answer = Service().ask(
        path="/bayeux?message=[1]&jsonp=a", upgrade="h2c", connection="Upgrade"
    )
    assert answer.code == 200


def test_the_same_origins_are_allowed_as_over_http() -> None:
    service = Service(origins=Origins(["https://a.example"]))
    assert Client(service, origin="https://a.example").head.startswith(b"HTTP/1.1 101")
    assert Client(service, origin="http://bayeux.example").head.startswith(
        b"HTTP/1.1 101"
    )
    refused = Answer(service.send(upgrade(origin="https://b.example")).value())
    assert refused.code == 403
    assert b"--allow-origin https://b.example" in refused.body


def test_frames_that_came_with_the_upgrade() -> None:
    service = Service()
    transport = service.send(upgrade() + frame(TEXT, b"[1]"))
    assert transport.value().endswith(b'\r\n\r\n\x81\x0c[{"echo":1}]')


FRAMES = frame(TEXT, b"[1]") + frame(TEXT, b"[2]")
ECHOED = b'\r\n\r\n\x81\x0c[{"echo":1}]\x81\x0c[{"echo":2}]'


def after_each_cut(data: bytes) -> Iterator[tuple[Service, Transport]]:
    """Send the bytes in two pieces, cut anywhere, and byte by byte."""
    for at in range(0, len(data), 1 + len(data) // 500):
        service = Service()
        transport = service.send(data[:at])
        transport.protocol.dataReceived(data[at:])
        settle(service.clock)
        yield service, transport
    service = Service()
    transport = service.connect()
    for at in range(len(data)):
        transport.protocol.dataReceived(data[at : at + 1])
        settle(service.clock)
    yield service, transport


@pytest.mark.parametrize(
    "head",
    [
        upgrade(),
        upgrade(content_length="0"),
        upgrade(x_long="x" * 4000),
        request("POST", body=b"[0]") + upgrade(),
        request("GET", "/missing") * 9 + upgrade(),
    ],
    ids=["alone", "empty body", "long", "after a poll", "after many requests"],
)
def test_frames_that_follow_an_upgrade_wherever_the_read_ends(head: bytes) -> None:
    for _, transport in after_each_cut(head + FRAMES):
        assert transport.value().endswith(ECHOED)


@pytest.mark.parametrize(
    "data",
    [
        upgrade(content_length="5") + b"hello",
        upgrade(transfer_encoding="chunked") + b"5\r\nhello\r\n0\r\n\r\n",
        upgrade(transfer_encoding="chunked") + b"0\r\n\r\n",
        upgrade(transfer_encoding="identity"),
    ],
    ids=["length", "chunked", "no chunks", "identity"],
)
def test_an_upgrade_with_a_body_is_refused_wherever_the_read_ends(data: bytes) -> None:
    for service, transport in after_each_cut(data + FRAMES):
        answer = Answer(transport.value())
        assert (answer.code, answer.body) == (400, b"An upgrade has no body\n")
        assert answer.rest == b""
        assert transport.disconnecting
        assert service.processor.streams == []


def test_the_request_that_extensions_get() -> None:
    service = Service()
    client = Client(service, x_token="t")
    client.send([1])
    _, source, stream = service.processor.requests[0]
    assert source is not None
    assert source.transport == "websocket"
    assert source.peer == "192.168.1.1"
    assert source.headers["x-token"] == "t"
    assert stream is service.processor.streams[0]


def test_the_idle_timeout_of_http_does_not_apply() -> None:
    service = Service(keep_alive=1000.0)
    client = Client(service)
    service.clock.advance(500)
    assert not client.transport.disconnecting


def test_deflate_needs_the_option_and_an_offer() -> None:
    offer = "permessage-deflate; client_max_window_bits"
    assert b"deflate" not in Client(Service(), sec_websocket_extensions=offer).head
    service = Service(websocket_deflate=True)
    assert b"deflate" not in Client(service).head
    client = Client(service, sec_websocket_extensions=offer)
    assert b"permessage-deflate" in client.head
    large = Entry(1, "/a", json.dumps({"data": "x" * 10_000}).encode())
    service.processor.streams[1].send([large])
    service.processor.streams[1].send([entry(2)])
    frames = client.frames()
    assert sum(len(payload) for _, payload in frames) < 500
    compressed = b"".join(payload for first, payload in frames[:-1])
    assert frames[0][0] & 0x40
    text = client.inflate.decompress(compressed + b"\x00\x00\xff\xff")
    assert json.loads(text) == [{"data": "x" * 10_000}]
    assert frames[-1] == (TEXT, b'[{"channel": "/a", "data": 2}]')


def test_a_closed_connection_is_freed() -> None:
    service = Service()
    client = Client(service)
    client.send([1])
    socket = weakref.ref(client.transport.protocol)
    client.transport.lose()
    for kept in ("requests", "streams", "detached"):
        getattr(service.processor, kept).clear()
    del client
    gc.collect()
    assert socket() is None


@pytest.mark.parametrize("http_way", ["twisted.web"], indirect=True)
def test_the_http_request_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    requests: list[weakref.ref[object]] = []
    make = service.site.requestFactory

    def remember(*args: object) -> object:
        made = make(*args)
        requests.append(weakref.ref(made))
        return made

    monkeypatch.setattr(service.site, "requestFactory", remember)
    client = Client(service)
    gc.collect()
    assert requests[0]() is None
    client.send([1])
    assert client.messages() == [[{"echo": 1}]]


def test_http_before_the_upgrade_on_the_same_connection() -> None:
    service = Service()
    transport = service.send(request("POST", body=b"[1]"))
    assert Answer(transport.take()).code == 200
    transport.protocol.dataReceived(upgrade())
    assert transport.take().startswith(b"HTTP/1.1 101")
    transport.protocol.dataReceived(frame(TEXT, b"[]"))
    assert transport.take() == b"\x81\x02[]"


def test_a_connection_wrapped_in_another_protocol() -> None:
    # As TLS does.
    service = Service()
    transport = Transport()
    wrapper = WrappingFactory(service.factory).buildProtocol(transport.getPeer())
    assert wrapper is not None
    transport.protocol = wrapper
    wrapper.makeConnection(transport)
    wrapper.dataReceived(upgrade())
    assert transport.take().startswith(b"HTTP/1.1 101")
    wrapper.dataReceived(frame(TEXT, b"[]"))
    assert transport.take() == b"\x81\x02[]"
    wrapper.connectionLost(Failure(ConnectionDone()))
    assert len(service.processor.detached) == 1


def test_the_peer_is_the_client_of_a_proxy() -> None:
    service = Service()
    transport = Transport()
    wrapper: Any = proxyEndpoint(FakeEndpoint()).listen(service.factory)
    transport.protocol = wrapper.buildProtocol(transport.getPeer())
    transport.protocol.makeConnection(transport)
    transport.protocol.dataReceived(b"PROXY TCP4 203.0.113.9 127.0.0.1 5555 80\r\n")
    transport.protocol.dataReceived(request("POST", body=b"[1]"))
    transport.protocol.dataReceived(upgrade() + frame(TEXT, b"[2]"))
    peers = [source and source.peer for _, source, _ in service.processor.requests]
    assert peers == ["203.0.113.9"] * 2
