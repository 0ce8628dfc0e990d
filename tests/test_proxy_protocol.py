"""``--listen haproxy:...``: the client's address, as a proxy says it."""

from typing import Any

import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import (
    MemoryReactorClock,
    StringTransportWithDisconnection,
)
from twisted.logger import LogLevel, capturedLogs

from txbayeux.service.proxy_protocol import proxy_endpoint

from .test_service import Running, get

PROXY = "192.168.1.1"
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
ADDRESSES = bytes([203, 0, 113, 9, 127, 0, 0, 1]) + b"\x15\xb3\x00\x50"

VALID = [
    (b"PROXY UNKNOWN\r\n", PROXY),
    (b"PROXY UNKNOWN \r\n", PROXY),
    (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", PROXY),
    (b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", PROXY),
    (b"PROXY TCP4 203.0.113.9 127.0.0.1 5555 80\r\n", "203.0.113.9"),
    (b"PROXY TCP6 2001:db8::9 ::1 5555 80\r\n", "2001:db8::9"),
    (SIGNATURE + b"\x20\x00\x00\x00", PROXY),
    (SIGNATURE + b"\x21\x11\x00\x0c" + ADDRESSES, "203.0.113.9"),
]
INVALID = [
    b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    b"PROXY UNKNOWNS\r\n",
    b"PROXY\r\n",
    b"PROXY TCP4\r\n",
    b"PROXY TCP4 203.0.113.9 127.0.0.1 x 80\r\n",
    b"PROXY TCP4 203.0.113.9 127.0.0.1 " + b"9" * 5000 + b" 80\r\n",
    b"PROXY TCP4 \xff\xff 127.0.0.1 5555 80\r\n",
    b"PROXY TCP5 203.0.113.9 127.0.0.1 5555 80\r\n",
    b"PROXY " + b"x" * 200,
    b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n",
]


class Recorder(Protocol):
    """Records what it receives, and from whom."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.peer = self.transport.getPeer().host


def connect() -> tuple[Recorder, StringTransportWithDisconnection]:
    reactor = MemoryReactorClock()
    recorder = Recorder()
    factory = Factory()
    factory.protocol = lambda: recorder
    proxy_endpoint(serverFromString(reactor, "tcp:8000")).listen(factory)
    transport = StringTransportWithDisconnection()
    protocol = reactor.tcpServers[0][1].buildProtocol(transport.getPeer())
    transport.protocol = protocol
    protocol.makeConnection(transport)
    return recorder, transport


@pytest.mark.parametrize(("header", "peer"), VALID)
def test_the_peer_is_the_proxys_client_or_else_the_proxy(
    header: bytes, peer: str
) -> None:
    recorder, transport = connect()
    transport.protocol.dataReceived(header + b"first")
    transport.protocol.dataReceived(b"PROXY UNKNOWN\r\n")
    assert recorder.received == b"firstPROXY UNKNOWN\r\n"
    assert recorder.peer == peer


@pytest.mark.parametrize(("header", "peer"), VALID[:6])
def test_a_line_in_pieces(header: bytes, peer: str) -> None:
    data = header + b"first"
    for at in range(len(data)):
        recorder, transport = connect()
        transport.protocol.dataReceived(data[:at])
        transport.protocol.dataReceived(data[at:])
        assert (recorder.received, recorder.peer) == (b"first", peer)


@pytest.mark.parametrize("header", INVALID)
def test_a_connection_without_a_valid_header_is_closed(header: bytes) -> None:
    recorder, transport = connect()
    with capturedLogs() as events:
        transport.protocol.dataReceived(header)
    assert not transport.connected
    assert recorder.received == b""
    assert all(event["log_level"] is LogLevel.debug for event in events)


def test_the_service_answers_behind_an_unknown_client() -> None:
    service = Running("--listen", "haproxy:tcp:8000")
    answer = service.request(b"PROXY UNKNOWN\r\n" + get("/health"))
    assert answer.endswith(b'{"status":"ok"}')
