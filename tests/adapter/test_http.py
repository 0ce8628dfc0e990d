"""HTTP around the messages: methods, framing, limits while reading, the script."""

from pathlib import Path

import pytest
from twisted.internet.defer import Deferred

from txbayeux.adapter.response import HEAD_TIMEOUT, REQUEST_TIMEOUT
from txbayeux.adapter.site import MAX_DISCARDED
from txbayeux.limits import Limits
from txbayeux.processor import Response

from .support import HTTP_WAY, Answer, Service, request, settle


def test_a_get_without_messages_is_answered_with_an_explanation() -> None:
    answer = Service().ask()
    assert answer.code == 400
    assert b"Bayeux" in answer.body


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "BREW", "get"])
def test_other_methods_are_not_allowed(method: str) -> None:
    service = Service()
    answer = service.ask(method, "/bayeux?message=[1]&jsonp=a")
    assert answer.code == 405
    assert answer.headers["allow"] == "GET, POST, OPTIONS"
    assert service.processor.requests == []


def test_head_has_no_body_and_keeps_the_connection() -> None:
    transport = Service().send(request("HEAD") + request("POST", body=b"[1]"))
    head, _, rest = transport.value().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 405")
    assert Answer(rest).json() == [{"echo": 1}]


def test_http_1_0_is_answered_and_closed() -> None:
    transport = Service().send(request("POST", body=b"[1]", version="HTTP/1.0"))
    assert Answer(transport.value()).json() == [{"echo": 1}]
    assert transport.disconnecting


def test_a_client_that_asks_to_close_is_closed() -> None:
    transport = Service().send(request("POST", body=b"[1]", connection="close"))
    assert Answer(transport.value()).json() == [{"echo": 1}]
    assert transport.disconnecting


def test_a_chunked_body() -> None:
    head = b"POST /bayeux HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    transport = Service().send(head + b"2\r\n[1\r\n1\r\n]\r\n0\r\n\r\n")
    assert Answer(transport.value()).json() == [{"echo": 1}]


def test_a_request_byte_by_byte() -> None:
    transport = Service().connect()
    for byte in request("POST", body=b"[1]"):
        transport.protocol.dataReceived(bytes([byte]))
    assert Answer(transport.value()).json() == [{"echo": 1}]


@pytest.mark.parametrize(
    "data",
    [
        b"POST /bay",
        b"POST /bayeux HTTP/1.1\r\nHost: a\r\nX: ",
        b"GET /health?",
    ],
)
def test_a_head_that_comes_too_slowly_is_refused(data: bytes) -> None:
    refused_after(HEAD_TIMEOUT, data)


@pytest.mark.parametrize(
    "data",
    [
        b"POST /bayeux HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n[",
        b"POST /bayeux HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"999\r\n[",
    ],
)
def test_a_body_that_comes_too_slowly_is_refused(data: bytes) -> None:
    refused_after(REQUEST_TIMEOUT, data)


def refused_after(limit: float, data: bytes) -> None:
    """Send a byte now and then after these; show that it ends at the limit."""
    service = Service()
    transport = service.send(data)
    for _ in range(6):
        service.clock.advance(limit / 6)
        assert transport.value() == b""
        transport.protocol.dataReceived(b"x")
    service.clock.advance(1)
    transport.protocol.dataReceived(b"x")
    assert Answer(transport.take()).code == 408
    assert transport.disconnecting
    transport.protocol.dataReceived(b"x\r\n\r\n")
    assert transport.value() == b""
    assert service.processor.requests == []


def test_the_time_limit_is_for_each_request() -> None:
    service = Service()
    transport = service.connect()
    half, rest = request("POST", body=b"[1]")[:-2], b"1]"
    transport.protocol.dataReceived(half)
    for _ in range(20):
        service.clock.advance(40)
        transport.protocol.dataReceived(rest + half)
        assert Answer(transport.take()).code == 200


def test_the_time_of_a_request_begins_when_the_one_before_is_answered() -> None:
    service = Service()
    waiting: Deferred[Response] = Deferred()
    service.processor.answers.append(waiting)
    data = request("POST", body=b"[1]")
    transport = service.send(data + data[:9])
    service.clock.advance(REQUEST_TIMEOUT + 1)
    transport.protocol.dataReceived(data[9:12])
    waiting.callback(Response([1]))
    assert Answer(transport.take()).code == 200
    service.clock.advance(50)
    transport.protocol.dataReceived(data[12:])
    assert Answer(transport.take()).code == 200


def test_a_declared_length_past_the_limit_is_refused_before_it_is_read() -> None:
    service = Service(limits=Limits(request_bytes=100))
    transport = service.send(
        b"POST /bayeux HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    )
    answer = Answer(transport.value())
    assert answer.code == 413
    assert answer.headers["connection"] == "close"
    assert not transport.disconnecting  # so that the client, still sending, reads it
    transport.protocol.dataReceived(b"x" * 1000 + request("POST", body=b"[1]"))
    assert transport.disconnecting
    assert transport.value().count(b"HTTP/1.1") == 1
    assert service.processor.requests == []


def test_a_large_request_is_refused_in_place_of_a_100_continue() -> None:
    service = Service(limits=Limits(request_bytes=100))
    transport = service.send(
        b"POST /bayeux HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        b"Expect: 100-continue\r\n\r\n"
    )
    assert transport.value().startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in transport.value()
    assert transport.disconnecting


def test_a_chunked_body_past_the_limit_is_refused() -> None:
    service = Service(limits=Limits(request_bytes=100))
    transport = service.send(
        b"POST /bayeux HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for _ in range(10):
        transport.protocol.dataReceived(b"32\r\n" + b" " * 50 + b"\r\n")
    assert Answer(transport.value()).code == 413
    assert transport.value().count(b"HTTP/1.1") == 1
    transport.protocol.dataReceived(b"0\r\n\r\n")
    assert transport.disconnecting
    assert service.processor.requests == []


def test_a_client_that_never_stops_sending_is_disconnected() -> None:
    service = Service(limits=Limits(request_bytes=100))
    transport = service.send(
        b"POST /bayeux HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n"
    )
    sent = 0
    while not transport.disconnecting:
        transport.protocol.dataReceived(b"x" * 65536)
        settle(service.clock)
        sent += 65536
        assert sent < MAX_DISCARDED + 200_000


def test_a_large_body_within_the_limit() -> None:
    service = Service(limits=Limits(request_bytes=2_000_000))
    assert service.post(b'["' + b"x" * 1_900_000 + b'"]').code == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\xff\r\n\r\n",
        b"POST /bayeux\r\n\r\n",
        b"POST /bayeux HTTP/1.1\r\nHost x\r\n\r\n",
        b"POST /bayeux HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /bayeux HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n",
        b"POST /bayeux HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /bayeux HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST /bayeux HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /bayeux HTTP/1.1\r\n" + b"X: %s\r\n" % (b"y" * 20_000) + b"\r\n",
        b"GET /bayeux?message=" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
def test_malformed_http_is_refused_without_effect(raw: bytes) -> None:
    service = Service()
    transport = service.send(raw)
    settle(service.clock)
    assert transport.disconnecting
    assert service.processor.requests == []


def test_a_header_cannot_be_smuggled_into_an_answer() -> None:
    service = Service()
    answer = service.post([1], origin="http://bayeux.example\rX-Evil: 1")
    assert "x-evil" not in answer.headers
    answer = service.ask(path="/bayeux?message=[]&jsonp=a%0d%0aX-Evil:1")
    assert "x-evil" not in answer.headers
    assert answer.code == 400


def test_the_client_script(tmp_path: Path) -> None:
    script = tmp_path / "faye.js"
    script.write_text("var Faye;")
    service = Service(client_script=script)
    answer = service.ask(
        path="/bayeux/client.js",
        sec_fetch_site="cross-site",
        user_agent="Mozilla/5.0",
    )
    assert (answer.code, answer.body) == (200, b"var Faye;")
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = service.ask("HEAD", "/bayeux/client.js")
    assert head.code == 200
    assert head.headers["content-length"] == "9"
    assert service.ask(path="/bayeux/x/client.js").code == 400


def test_without_a_client_script_there_is_none() -> None:
    assert Service().ask(path="/bayeux/client.js").code == 400


def test_it_is_a_leaf() -> None:
    resource = Service().resource
    with pytest.raises(TypeError):
        resource.putChild(b"x", resource)
    with pytest.raises(LookupError):
        resource.getChildWithDefault(b"x", None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", ["/bayeux?message=[1]&secret=1", "/bayeux/secret?message=[1]"]
)
def test_sessions_stay_out_of_access_logs(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    logged: list[bytes] = []
    monkeypatch.setattr(service.site, "log", lambda request: logged.append(request.uri))
    service.ask(path=path)
    service.ask(path=path, accept="text/event-stream")
    assert bool(logged) is not HTTP_WAY.fast
    assert all(b"secret" not in uri and uri.startswith(b"/bayeux") for uri in logged)


def test_the_client_script_is_cached(tmp_path: Path) -> None:
    script = tmp_path / "faye.js"
    script.write_text("var Faye;")
    service = Service(client_script=script)
    tag = service.ask(path="/bayeux/client.js").headers["etag"]
    answer = service.ask(path="/bayeux/client.js", if_none_match=tag)
    assert (answer.code, answer.body) == (304, b"")


def test_no_http_2_is_offered() -> None:
    assert Service().site.acceptableProtocols() == [b"http/1.1"]


@pytest.mark.parametrize(
    "raw",
    [
        request("GET", "/bayeux?message=" + "x" * 20000),
        request("POST", body=b"[1]", x_long="y" * 20000),
        b"G" * 20000,
    ],
)
def test_a_line_past_the_limit_is_answered(raw: bytes) -> None:
    service = Service()
    transport = service.send(raw)
    transport.protocol.dataReceived(request("POST", body=b"[1]"))
    settle(service.clock)
    answer = Answer(transport.value())
    assert (answer.code, answer.rest) == (431, b"")
    assert transport.disconnecting
    assert service.processor.requests == []


@pytest.mark.parametrize(
    "data",
    [request("POST", body=b"[1]"), request("GET", "/bayeux?message=[1]&jsonp=a")],
)
def test_a_server_that_raises_is_answered_with_500(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    service = Service()

    def fail(*_: object) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(service.processor, "process", fail)
    transport = service.send(data + data)
    answer = Answer(transport.value())
    assert (answer.code, answer.headers["connection"], answer.rest) == (
        500,
        "close",
        b"",
    )
    assert b"on purpose" not in answer.body
    assert transport.disconnecting
