"""Long-polling: requests by POST, and held connects."""

import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent

from txbayeux.limits import Limits
from txbayeux.processor import Response

from .support import Answer, FakeDelivery, Service, entry, request

MESSAGE = {"channel": "/a", "data": "ü"}


def test_a_list_of_messages_is_answered_with_a_list() -> None:
    answer = Service().post([MESSAGE, MESSAGE])
    assert answer.code == 200
    assert answer.json() == [{"echo": MESSAGE}] * 2
    assert answer.headers["content-type"] == "application/json;charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache, no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


def test_one_message_is_answered_with_a_list_too() -> None:
    assert Service().post(MESSAGE).json() == [{"echo": MESSAGE}]


@pytest.mark.parametrize("path", ["/bayeux/", "/bayeux/handshake", "/bayeux/a/b"])
def test_posts_below_the_mount_are_the_same(path: str) -> None:
    assert Service().post(MESSAGE, path).json() == [{"echo": MESSAGE}]


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "text/json",
        "application/vnd.bayeux+json",
        "text/plain",
        "application/x-www-form-urlencoded",
    ],
)
def test_json_of_any_content_type(kind: str) -> None:
    assert Service().post(MESSAGE, content_type=kind).json() == [{"echo": MESSAGE}]


def test_json_without_a_type() -> None:
    text = json.dumps(MESSAGE).encode()
    assert Service().ask("POST", "/bayeux", text).json() == [{"echo": MESSAGE}]


@pytest.mark.parametrize(
    "kind", ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", ""]
)
@pytest.mark.parametrize("quoted", [quote, quote_plus])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_form(kind: str, quoted: Any, bounded: bool) -> None:
    text = "message=" + quoted(json.dumps({"data": "a b+ü&="}, ensure_ascii=False))
    answer = Service(bounded=bounded).post(text.encode(), content_type=kind)
    assert answer.json() == [{"echo": {"data": "a b+ü&="}}]


def test_a_form_with_several_messages() -> None:
    text = b"x=1&message=%s&m%%65ssage=%s&y" % (
        json.dumps(MESSAGE).encode(),
        json.dumps([1, 2]).encode(),
    )
    service = Service()
    service.post(text, content_type="application/x-www-form-urlencoded")
    assert service.processor.requests[0][0] == [MESSAGE, 1, 2]


def test_what_extensions_see_of_a_request() -> None:
    service = Service()
    service.post(MESSAGE, x_token="t", accept="a, b")
    _, source, stream = service.processor.requests[0]
    assert stream is None
    assert source is not None
    assert source.transport == "long-polling"
    assert source.peer == "192.168.1.1"
    assert source.headers["x-token"] == "t"
    assert source.headers["accept"] == "a, b"
    assert "X-Token" not in source.headers


@pytest.mark.parametrize("byte", [b"\x85", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e"])
def test_a_header_cannot_be_smuggled_past_a_proxy_in_another(byte: bytes) -> None:
    service = Service()
    raw = request("POST", body=b"[1]", x_tag="1-x-user: root")
    service.send(raw.replace(b"1-x-user", b"1" + byte + b"x-user"))
    source = service.processor.requests[0][1]
    assert source is not None
    assert "x-user" not in source.headers
    assert source.headers["x-tag"] == "1" + byte.decode("latin-1") + "x-user: root"


def test_repeated_headers_are_joined() -> None:
    service = Service()
    raw = request("POST", body=b"[1]", cookie="a=1").replace(
        b"cookie:", b"X-Tag: 1\r\nX-Tag: 2\r\ncookie:"
    )
    service.send(raw)
    source = service.processor.requests[0][1]
    assert source is not None
    assert source.headers["x-tag"] == "1, 2"
    assert source.headers is not None  # again, from what was kept


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [
        ("application/json", b"", 400),
        ("application/json", b"{", 400),
        ("application/json", b"[1,]", 400),
        ("application/json", b"1", 400),
        ("application/json", b'"a"', 400),
        ("application/json", b"null", 400),
        ("application/json", b"[NaN]", 400),
        ("application/json", b"[1e999]", 400),
        ("application/json", b"[1] [2]", 400),
        ("application/json", b'["\xff"]', 400),
        ("application/json", b'["\xed\xa0\x80"]', 400),
        ("application/json", b'["\\ud800"]', 400),
        ("application/json", b"\xef\xbb\xbf[]", 400),
        ("application/json", b"[" * 101 + b"]" * 101, 400),
        ("application/json", b"[" * 200_000, 400),
        ("application/json", b"message=[]", 400),
        ("text/plain", b"", 400),
        ("text/plain", b"hello", 400),
        ("text/plain", b"message", 400),
        ("text/plain", b"message=", 400),
        ("text/plain", b"message=%zz", 400),
        ("text/plain", b"message=%ff", 400),
        ("text/plain", b"message=[]&message=[", 400),
        ("text/plain", b"\xff\xff", 400),
        ("application/x-www-form-urlencoded", b"message[]=1", 400),
        ("application/xml", b"<a/>", 415),
        ("multipart/form-data; boundary=x", b"--x--", 415),
    ],
)
def test_malformed_requests_are_refused(kind: str, text: bytes, code: int) -> None:
    service = Service()
    answer = service.post(text, content_type=kind)
    assert answer.code == code
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.body.strip()
    assert service.processor.requests == []
    assert service.post(MESSAGE).code == 200


@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_the_limits_of_a_request(bounded: bool, kind: str) -> None:
    service = Service(
        bounded=bounded, limits=Limits(request_bytes=50, batch_messages=3)
    )
    code = [
        service.post(text, content_type=kind).code
        for text in (b"[1,2,3]", b"[1,2,3,4]", b"[1]".ljust(50), b"[1]".ljust(51))
    ]
    assert code == [200, 413, 200, 413]
    assert len(service.processor.requests) == 2


OBJECTS = Limits().request_objects


def with_arrays(count: int, text: bytes = b"") -> bytes:
    """Return a request of a list, an object and this many arrays."""
    lists = b",".join([b"[]"] * (count - 1))
    return b'[{"a":[%b],"b":"%b"}]' % (lists, text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (with_arrays(OBJECTS - 2), 200),
        (with_arrays(OBJECTS - 1), 413),
        (with_arrays(OBJECTS - 2, b"[{" * OBJECTS), 200),
        (b"[" * (2 * OBJECTS + 1), 413),
    ],
    ids=["at the limit", "above it", "brackets in a string", "malformed"],
)
def test_the_limit_of_arrays_and_objects(text: bytes, code: int) -> None:
    service = Service()
    answer = service.post(text)
    assert answer.code == code
    assert len(service.processor.requests) == (code == 200)
    assert service.post(MESSAGE).code == 200
    assert (b"arrays and objects" in answer.body) is (code == 413)


def test_the_limit_of_arrays_and_objects_is_for_all_fields_of_a_form() -> None:
    service = Service(limits=Limits(request_objects=4))
    codes = [
        service.post(text, content_type="text/plain").code
        for text in (b"message=[[]]&message=[[]]", b"message=[[]]&message=[[],[]]")
    ]
    assert codes == [200, 413]


@pytest.mark.parametrize(
    "text",
    [b"message=[1,2]&message=[3,4]", b"&" * 20, b"message=1" + b"&message=1" * 20],
)
def test_the_limits_of_a_form(text: bytes) -> None:
    service = Service(limits=Limits(batch_messages=3))
    assert service.post(text, content_type="text/plain").code == 413
    assert service.processor.requests == []


def held(service: Service, first: Response | None = None) -> Deferred[Response]:
    waiting: Deferred[Response] = Deferred()
    response = first or Response(())
    response.held = waiting
    service.processor.answers.append(succeed(response))
    return waiting


def test_a_held_connect_is_answered_when_a_message_comes() -> None:
    service = Service()
    waiting = held(service, Response([{"id": "1"}]))
    transport = service.send(request("POST", body=b"[1]"))
    assert transport.value() == b""
    waiting.callback(Response([entry(7), {"id": "2"}]))
    assert Answer(transport.value()).json() == [
        {"id": "1"},
        {"channel": "/a", "data": 7},
        {"id": "2"},
    ]


def test_a_client_gone_while_it_waits_cancels_its_connect() -> None:
    service = Service()
    first, cancelled = FakeDelivery(), []
    waiting: Deferred[Response] = Deferred(cancelled.append)
    service.processor.answers.append(succeed(Response((), waiting, first)))
    service.send(request("POST", body=b"[1]")).lose()
    assert cancelled == [waiting]
    assert first.given_back == 1


def test_a_connect_that_is_answered_although_cancelled_is_given_back() -> None:
    service = Service()
    late = FakeDelivery()

    def answer(deferred: Deferred[Response]) -> None:
        deferred.callback(Response((), None, late))

    waiting: Deferred[Response] = Deferred(answer)
    service.processor.answers.append(succeed(Response((), waiting)))
    service.send(request("POST", body=b"[1]")).lose()
    assert late.given_back == 1


def test_a_client_gone_before_the_answer_gives_it_back() -> None:
    service = Service()
    answer: Deferred[Response] = Deferred()
    service.processor.answers.append(answer)
    transport = service.send(request("POST", body=b"[1]"))
    transport.lose()
    given, cancelled = FakeDelivery(), []
    waiting: Deferred[Response] = Deferred(cancelled.append)
    answer.callback(Response([entry(1)], waiting, given))
    assert given.given_back == 1
    assert cancelled == [waiting]
    assert transport.value() == b""


def test_an_answer_that_was_written_is_not_given_back() -> None:
    service = Service()
    given = FakeDelivery()
    service.processor.answers.append(succeed(Response([entry(1)], None, given)))
    transport = service.send(request("POST", body=b"[1]"))
    transport.lose()
    assert given.given_back == 0


def test_pipelined_requests_are_answered_in_order() -> None:
    service = Service()
    waiting = held(service)
    transport = service.send(
        request("POST", body=b"[1]")
        + request("POST", body=b"[2]")
        + request("POST", "/bayeux/x", b"[3]")
    )
    assert transport.value() == b""
    assert len(service.processor.requests) == 1
    waiting.callback(Response([{"first": 1}]))
    one = Answer(transport.value())
    two = Answer(one.rest)
    three = Answer(two.rest)
    assert [one.json(), two.json(), three.json()] == [
        [{"first": 1}],
        [{"echo": 2}],
        [{"echo": 3}],
    ]


def test_the_idle_timeout_does_not_cut_a_held_connect() -> None:
    service = Service()
    waiting = held(service)
    transport = service.send(request("POST", body=b"[1]"))
    service.clock.advance(61)
    service.clock.advance(600)
    assert not transport.disconnecting
    waiting.callback(Response([1]))
    assert Answer(transport.value()).code == 200
    assert not transport.disconnecting
    service.clock.advance(61)
    assert transport.disconnecting


def test_half_a_request_is_cut_by_the_idle_timeout() -> None:
    service = Service()
    transport = service.send(request("POST", body=b"[1]")[:-1])
    service.clock.advance(61)
    assert transport.disconnecting
    transport.lose()
    assert service.processor.requests == []


def test_an_answer_that_cannot_be_encoded_is_a_500(
    log: list[LogEvent],
) -> None:
    service = Service()
    service.processor.answers.append(succeed(Response([{"x": object()}])))
    assert service.post([1]).code == 500
    assert [event["log_format"] for event in log] == ["Answering a request failed"]


def test_a_failing_server_is_a_500(log: list[LogEvent]) -> None:
    service = Service()
    service.processor.answers.append(fail(RuntimeError()))
    assert service.post([1]).code == 500
    waiting = held(service)
    transport = service.send(request("POST", body=b"[1]"))
    waiting.errback(RuntimeError())
    assert Answer(transport.value()).code == 500
    assert len(log) == 2


def test_a_stopping_service_refuses_requests_on_open_connections() -> None:
    service = Service()
    transport = service.connect()
    data = request("POST", body=b"[1]", content_type="application/json")
    transport.protocol.dataReceived(data)
    assert Answer(transport.take()).code == 200
    service.resource.refuse_requests()
    transport.protocol.dataReceived(data)
    answer = Answer(transport.take())
    assert (answer.code, answer.headers["connection"]) == (503, "close")
    assert transport.disconnecting
    assert len(service.processor.requests) == 1
