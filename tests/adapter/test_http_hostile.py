"""HTTP from peers that say nothing, never end, read nothing, or send nonsense."""

import pytest
from twisted.internet.ssl import CertificateOptions
from twisted.logger import LogEvent, LogLevel
from twisted.protocols.haproxy import proxyEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import Resource
from twisted.web.static import Data

from .support import Answer, FakeEndpoint, Service, Transport, request, settle


class TCPTransport(Transport):
    """A transport for TLS."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Do nothing."""


def test_a_connection_without_a_request_is_closed() -> None:
    for data in (b"", b"POST /bayeux HTTP/1.1\r\n", b"GET /"):
        service = Service()
        transport = service.send(data)
        service.clock.pump([15] * 5)
        assert transport.disconnecting
        service.clock.pump([15] * 2)
        assert transport.aborted


@pytest.mark.parametrize("tls", [False, True])
def test_a_connection_that_is_never_set_up_is_closed(tls: bool) -> None:
    # The client begins no TLS handshake, the proxy says nothing of its client.
    service = Service()
    transport = TCPTransport()
    factory = (
        TLSMemoryBIOFactory(CertificateOptions(), False, service.factory)
        if tls
        else proxyEndpoint(FakeEndpoint()).listen(service.factory)
    )
    transport.protocol = factory.buildProtocol(transport.getPeer())
    transport.protocol.makeConnection(transport)
    service.clock.pump([15] * 7)
    assert transport.aborted


@pytest.mark.parametrize(
    "data",
    [
        request("POST", body=b"[1]", connection="close"),
        request("POST", body=b"[1]", version="HTTP/1.0"),
        request("GET", "/missing", connection="close"),
        request("POST", content_length="1100000") + b"x" * 1_100_000,
        request("POST", content_length="x"),
        b"x" * 20_000,
    ],
)
def test_a_client_that_does_not_read_the_last_answer_is_disconnected(
    data: bytes,
) -> None:
    service = Service()
    transport = service.send(data)
    settle(service.clock)
    assert transport.disconnecting
    assert not transport.aborted
    service.clock.pump([15] * 6)
    assert transport.aborted
    transport.lose()
    service.clock.pump([15] * 6)
    service.site.doStop()
    service.site.stopFactory()
    assert service.clock.getDelayedCalls() == []


CHUNKED = b"POST /bayeux HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

HOSTS = [
    (b"", 400),
    (b"Host: a\r\nHost: a\r\n", 400),
    (b"Host: a\r\nhost: b\r\n", 400),
    (b"Host: a, a\r\n", 400),
    (b"Host: a/b\r\n", 400),
    (b"Host: \xe4\r\n", 400),
    (b"Host:\r\n", 200),
    (b"Host: a\r\n", 200),
    (b"Host: [::1]:8000\r\n", 200),
    (b"Host: my_host.example.:80\r\n", 200),
]


@pytest.mark.parametrize(("lines", "code"), HOSTS)
def test_a_request_has_one_host(lines: bytes, code: int) -> None:
    # RFC 9112, section 3.2.
    for path in (b"/bayeux", b"/page"):
        service = Service()
        service.root.putChild(b"page", Page())
        head = b"POST %b HTTP/1.1\r\n" % path + lines
        transport = service.send(head + b"Content-Length: 3\r\n\r\n[1]")
        answer = Answer(transport.value())
        assert answer.code == code
        assert transport.disconnecting is (code == 400)
        if code == 400:
            assert b"Host" in answer.body
            assert service.processor.requests == []


@pytest.mark.parametrize(("lines", "code"), HOSTS)
def test_a_request_of_http_1_0_may_have_no_host(lines: bytes, code: int) -> None:
    data = b"POST /bayeux HTTP/1.0\r\n" + lines + b"Content-Length: 3\r\n\r\n[1]"
    transport = Service().send(data)
    assert Answer(transport.value()).code == (code if lines else 200)


class Page(Resource):
    """A page that may be posted to."""

    def render_POST(self, request: object) -> bytes:
        return b"posted"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (request("POST", content_length="9" * 4301), 400),
        (request("POST", content_length="9" * 10_000), 400),
        (request("POST", content_length="9" * 4301, x="y"), 400),
        (request("GET", "/missing", content_length="9" * 4301), 400),
        (request("POST", content_length="9" * 4300), 413),
        (request("POST", "/missing", content_length="9" * 16), 413),
        (CHUNKED + b"9" * 5000 + b"\r\n", 400),
        (request("GET", "/page", range="bytes=" + "9" * 4301 + "-"), 200),
        (request("GET", "/page", if_modified_since="9" * 4301), 200),
        (request("POST", body=b"[1]", x_forwarded_port="9" * 4301), 200),
        (request("POST", body=b"[1]", origin="http://a:" + "9" * 4301), 403),
    ],
)
def test_a_number_of_many_digits(log: list[LogEvent], data: bytes, code: int) -> None:
    service = Service()
    service.root.putChild(b"page", Data(b"a page", "text/html"))
    transport = service.send(data)
    settle(service.clock)
    assert transport.value().startswith(b"HTTP/1.1 %d " % code)
    assert [one for one in log if one["log_level"] > LogLevel.warn] == []
    debug = [one for one in log if one["log_level"] is LogLevel.debug]
    assert len(debug) == (code == 400 and b"content-length" in data)
    assert service.processor.requests == [] or code == 200
