"""Long-polling and callback-polling over HTTP, on connections in memory."""

from __future__ import annotations

import gzip
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from twisted.internet import error as twisted_error

from txbayeux.message import encode_list
from txbayeux.transport.base import (
    NoReply,
    ReplyTimeout,
    TransportError,
    Unreachable,
)
from txbayeux.transport.callback_polling import CallbackPolling
from txbayeux.transport.cookies import cookie_header, own_cookie

from .http_fixture import BODY, HTTPFixture
from .support import PUBLISH, REPLY, outcome


def test_a_batch_is_posted_and_its_response_passed_on() -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    head, body = fixture.connection.take().split(b"\r\n\r\n")
    assert head.startswith(b"POST /bayeux HTTP/1.1\r\n")
    assert b"Content-Type: application/json;charset=UTF-8" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == [PUBLISH]
    fixture.respond(encode_list([{"channel": "/b", "data": 2}, REPLY]))
    assert done == [None]
    assert fixture.receiver.messages == [{"channel": "/b", "data": 2}, REPLY]


@pytest.mark.parametrize(
    ("headers", "accept"),
    [
        ({}, b"Accept: application/json, */*"),
        ({"accept": "text/plain"}, b"Accept: text/plain"),
    ],
)
def test_json_is_accepted_unless_the_user_gives_another_type(
    headers: dict[str, str], accept: bytes
) -> None:
    fixture = HTTPFixture(headers=headers)
    fixture.send()
    head, _ = fixture.connection.take().split(b"\r\n\r\n")
    assert [x for x in head.split(b"\r\n") if x.startswith(b"Accept:")] == [accept]


def test_connections_are_kept_alive_and_reused() -> None:
    fixture = HTTPFixture()
    for _ in range(5):
        done = fixture.send()
        fixture.respond()
        assert done == [None]
    assert len(fixture.network.connections) == 1
    fixture.assert_nothing_left()


def test_concurrent_requests_use_two_connections() -> None:
    fixture = HTTPFixture()
    fixture.send()
    fixture.send()
    assert len(fixture.network.connections) == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[",
        b"{}",
        b"[]",
        b"7",
        b"[1]",
        b"[null]",
        b'["x"]',
        b"\xff\xfe",
        b"NaN",
        b"[" * 3000,
        encode_list([{**REPLY, "id": "2"}]),
        encode_list([{**REPLY, "channel": "/b"}]),
        encode_list([{"channel": "/a", "id": "1"}]),
        encode_list([{**REPLY, "successful": "true"}]),
    ],
)
def test_a_response_without_the_reply_fails_at_once(body: bytes) -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    fixture.respond(body)
    assert isinstance(done[0], NoReply)
    fixture.assert_nothing_left()


@pytest.mark.parametrize("without", ["id", "clientId"])
def test_a_reply_without_id_or_client_id_is_accepted(without: str) -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    fixture.respond(encode_list([{k: v for k, v in REPLY.items() if k != without}]))
    assert done == [None]


@pytest.mark.parametrize(
    "end",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[{\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + BODY[:-1],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
        + gzip.compress(BODY)[:-20],
        b"HTTP/1.1 200",
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_an_incomplete_response_is_a_failure(end: bytes) -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    fixture.connection.send(end)
    fixture.connection.close()
    assert isinstance(done[0], NoReply)
    assert fixture.receiver.messages == []
    fixture.assert_nothing_left()


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("error", [None, ConnectionResetError()])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_response_without_length_ends_with_the_connection(
    version: str, error: Exception | None, compressed: bool
) -> None:
    # Source: RFC 9112, section 6.3, item 8.
    fixture = HTTPFixture()
    done = fixture.send()
    head = f"HTTP/{version} 200 OK\r\nConnection: close\r\n"
    if compressed:
        head += "Content-Encoding: gzip\r\n"
    body = gzip.compress(BODY) if compressed else BODY
    fixture.connection.send(head.encode() + b"\r\n" + body[:10])
    fixture.connection.send(body[10:])
    assert done == []
    fixture.connection.close(error)
    assert done == [None]
    assert fixture.receiver.messages == [REPLY]
    assert fixture.send() == []  # on another connection
    assert len(fixture.network.connections) == 2
    fixture.assert_nothing_left()


@pytest.mark.parametrize("end", range(1, len(BODY)))
def test_a_part_of_such_a_response_is_a_failure(end: int) -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    fixture.connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + BODY[:end])
    fixture.connection.close()
    assert isinstance(done[0], NoReply)
    assert fixture.receiver.messages == []


def test_a_script_without_length_is_whole_if_it_ends() -> None:
    for end, is_good in ((b");", True), (b"", False)):
        fixture = HTTPFixture(CallbackPolling)
        done = fixture.send()
        script = b"/**/__jsonp__(" + BODY + end
        fixture.connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + script)
        fixture.connection.close()
        assert (done == [None]) is is_good


@pytest.mark.parametrize("status", [204, 303, 400, 401, 403, 404, 413, 500, 503])
def test_failures_carry_the_status(status: int) -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    fixture.respond(b"<html>", status=f"{status} No")
    [error] = done
    assert isinstance(error, NoReply)
    assert error.status == status


def test_an_endless_error_page_is_aborted() -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    fixture.connection.send(b"HTTP/1.1 500 No\r\n\r\n")
    for _ in range(20):
        fixture.connection.send(b"x" * 10_000)
    assert done[0].status == 500
    assert fixture.connection.aborted


@pytest.mark.parametrize(
    "piece", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n["]
)
def test_the_connection_is_aborted_when_no_response_comes_in_time(piece: bytes) -> None:
    fixture = HTTPFixture()
    done = fixture.send(timeout=10)
    fixture.connection.send(piece)
    fixture.clock.advance(9.9)
    assert done == []
    fixture.clock.advance(0.2)
    assert isinstance(done[0], ReplyTimeout)
    assert fixture.connection.aborted
    fixture.assert_nothing_left()


def test_the_size_limit_holds_for_the_decompressed_response() -> None:
    for body, header in (
        (b" " * 200_000 + BODY, ""),
        (gzip.compress(b" " * 200_000 + BODY), "Content-Encoding: gzip"),
    ):
        fixture = HTTPFixture(max_response=100_000)
        done = fixture.send()
        fixture.respond(body, *filter(None, [header]))
        assert isinstance(done[0], NoReply)
        assert fixture.receiver.messages == []
        fixture.assert_nothing_left()


def test_a_compressed_response_is_read() -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    fixture.respond(gzip.compress(BODY), "Content-Encoding: gzip")
    assert done == [None]


@pytest.mark.parametrize(
    "error", [twisted_error.ConnectionRefusedError(), twisted_error.DNSLookupError("x")]
)
def test_no_connection_is_unreachable(error: Exception) -> None:
    fixture = HTTPFixture()
    fixture.network.refusal = error
    done = fixture.send()
    assert isinstance(done[0], Unreachable)
    fixture.assert_nothing_left()


def test_closing_while_a_connection_is_being_made() -> None:
    fixture = HTTPFixture()
    fixture.network.pending = []
    done = fixture.send()
    fixture.assert_nothing_left()
    assert isinstance(done[0], TransportError)


def test_closing_with_a_request_in_flight() -> None:
    fixture = HTTPFixture()
    fixture.send()
    fixture.respond()
    done = [fixture.send(), fixture.send()]
    fixture.connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
    fixture.assert_nothing_left()
    assert all(isinstance(result[0], TransportError) for result in done)


def test_cancelling_a_request_aborts_its_connection() -> None:
    fixture = HTTPFixture()
    sending = fixture.transport.send([PUBLISH], 10)
    done = outcome(sending)
    sending.cancel()
    assert len(done) == 1
    assert fixture.connection.aborted
    fixture.assert_nothing_left()


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("location", ["/moved?x=1", "http://127.0.0.1:8000/moved?x=1"])
def test_a_redirect_within_the_origin_keeps_method_headers_and_body(
    status: int, location: str
) -> None:
    fixture = HTTPFixture(headers={"Authorization": "Bearer x"})
    done = fixture.send()
    first = fixture.connection.take().split(b"\r\n\r\n")[1]
    fixture.respond(b"gone", f"Location: {location}", status=f"{status} Moved")
    head, body = fixture.connection.take().split(b"\r\n\r\n")
    assert head.startswith(b"POST /moved?x=1 HTTP/1.1\r\n")
    assert b"Authorization: Bearer x" in head
    assert body == first
    fixture.respond()
    assert done == [None]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:9000/bayeux",
        "https://127.0.0.1:8000/bayeux",
        "http://example.com/bayeux",
        "//example.com/bayeux",
        "http://user@example.com/",
    ],
)
@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_to_another_origin_is_not_followed(
    location: str, status: int
) -> None:
    fixture = HTTPFixture(headers={"Authorization": "Bearer x"})
    fixture.context.jar.clear()
    done = fixture.send()
    fixture.respond(b"", f"Location: {location}", status=f"{status} Moved")
    assert "another origin" in str(done[0])
    assert len(fixture.network.connections) == 1
    assert fixture.connection.written.count(b"POST") == 1


@pytest.mark.parametrize(
    "location", ["javascript:x", "http://[::1", "http://x:y/", "\xff"]
)
def test_a_redirect_to_an_invalid_url(location: str) -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    fixture.respond(b"", f"Location: {location}", status="307 Moved")
    assert isinstance(done[0], NoReply)


def test_the_number_of_redirects_is_limited() -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    for n in range(10):
        if not done:
            fixture.respond(b"", f"Location: /moved/{n}", status="307 Moved")
    assert "too many" in str(done[0])
    assert fixture.connection.written.count(b"POST") == 6


@pytest.mark.parametrize("circle", [["/bayeux"], ["/moved", "/bayeux"]])
def test_a_circle_of_redirects_is_left_at_once(circle: list[str]) -> None:
    fixture = HTTPFixture()
    done = fixture.send()
    for location in circle:
        assert not done
        fixture.respond(b"", f"Location: {location}", status="307 Moved")
    assert "redirects" in str(done[0])
    assert fixture.connection.written.count(b"POST") == len(circle)


# Cookies.


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "example.com"])
def test_cookies_of_the_user_and_of_the_server_are_sent(host: str) -> None:
    fixture = HTTPFixture(url=f"http://{host}:8000/bayeux")
    fixture.context.jar.set_cookie(own_cookie(fixture.context.endpoint, "mine", "1"))
    fixture.send()
    request = fixture.connection.take().decode()
    assert f"Host: {host}:8000\r\n" in request
    assert "Cookie: mine=1\r\n" in request
    fixture.respond(BODY, "Set-Cookie: theirs=2")
    fixture.send()
    assert "Cookie: mine=1; theirs=2\r\n" in fixture.connection.take().decode()
    assert cookie_header(fixture.context.jar, fixture.context.endpoint) is not None


def test_cookies_are_stored_by_their_attributes() -> None:
    fixture = HTTPFixture()
    fixture.send()
    fixture.respond(
        BODY,
        "Set-Cookie: a=1; Path=/bayeux",
        "Set-Cookie: b=2; Path=/other",
        "Set-Cookie: c=3; Secure",
        "Set-Cookie: d=4; Max-Age=0",
        "Set-Cookie: e=5; Domain=example.com",
        "Set-Cookie: f=6; HttpOnly; Max-Age=1000",
        "Set-Cookie: ;;;===",
        "Set-Cookie: \xff\xfe=1",
    )
    fixture.send()
    [cookies] = re.findall(rb"Cookie: (.*)\r\n", fixture.connection.written)
    names = {pair.split(b"=")[0] for pair in cookies.split(b"; ")}
    assert {b"a", b"f"} <= names
    assert not names & {b"b", b"c", b"d", b"e"}


def test_each_client_has_its_own_cookies() -> None:
    first, second = HTTPFixture(), HTTPFixture()
    first.send()
    first.respond(BODY, "Set-Cookie: a=1")
    assert cookie_header(first.context.jar, first.context.endpoint) == "a=1"
    assert cookie_header(second.context.jar, second.context.endpoint) is None


# Callback-polling.


def test_callback_polling_sends_a_get_and_reads_a_script() -> None:
    fixture = HTTPFixture(CallbackPolling)
    done = fixture.send()
    [line] = re.findall(rb"GET (.*) HTTP/1.1\r\n", fixture.connection.take())
    query = parse_qs(urlsplit(line.decode()).query)
    assert json.loads(query["message"][0]) == [PUBLISH]
    [name] = query["jsonp"]
    fixture.respond(f"/**/{name}({BODY.decode()});".encode())
    assert done == [None]
    assert fixture.receiver.messages == [REPLY]


@pytest.mark.parametrize(
    ("script", "is_good"),
    [
        (b"__jsonp__(%s)", True),
        (b"/**/ __jsonp__(%s);\n", True),
        (b"__jsonp__(%s", False),
        (b"other(%s)", False),
        (b"%s", False),
        (b"<script>__jsonp__(%s)</script>", False),
        (b"__jsonp__(alert(1));//(%s)", False),
        (b"__jsonp__([1])", False),
        (b"", False),
    ],
)
def test_which_scripts_are_accepted(script: bytes, is_good: bool) -> None:
    fixture = HTTPFixture(CallbackPolling)
    done = fixture.send()
    fixture.respond(script.replace(b"%s", BODY))
    assert (done == [None]) is is_good
    if not is_good:
        assert isinstance(done[0], NoReply)
        assert fixture.receiver.messages == []


def test_connections_are_made_by_the_endpoint_factory() -> None:
    fixture = HTTPFixture()
    fixture.send()
    assert [to.url for to in fixture.network.targets] == ["http://127.0.0.1:8000/"]
