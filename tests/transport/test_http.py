"""Long-polling and callback-polling over HTTP, both ends in memory."""

from __future__ import annotations

import gzip
import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from twisted.internet import error as twisted_error
from twisted.web.client import Agent

from txbayeux.message import encode_list
from txbayeux.transport.base import (
    NoReply,
    ReplyTimeout,
    TransportError,
    Unreachable,
)
from txbayeux.transport.callback_polling import CallbackPolling
from txbayeux.transport.cookies import cookie_header, own_cookie
from txbayeux.transport.http import Http

from .posts import BODY, PUBLISH, REPLY, Network80, Stage
from .support import outcome


def test_a_batch_is_posted_and_its_answer_handed_on() -> None:
    stage = Stage()
    done = stage.send()
    head, body = stage.pipe.take().split(b"\r\n\r\n")
    assert head.startswith(b"POST /bayeux HTTP/1.1\r\n")
    assert b"Content-Type: application/json;charset=UTF-8" in head
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == [PUBLISH]
    stage.answer(encode_list([{"channel": "/b", "data": 2}, REPLY]))
    assert done == [None]
    assert stage.receiver.messages == [{"channel": "/b", "data": 2}, REPLY]


def test_connections_are_kept_and_used_again() -> None:
    stage = Stage()
    for _ in range(5):
        done = stage.send()
        stage.answer()
        assert done == [None]
    assert len(stage.network.pipes) == 1
    stage.assert_nothing_left()


def test_two_requests_are_two_connections() -> None:
    stage = Stage()
    stage.send()
    stage.send()
    assert len(stage.network.pipes) == 2


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
def test_an_answer_without_the_reply_is_a_failure_at_once(body: bytes) -> None:
    stage = Stage()
    done = stage.send()
    stage.answer(body)
    assert isinstance(done[0], NoReply)
    stage.assert_nothing_left()


@pytest.mark.parametrize("without", ["id", "clientId"])
def test_a_server_that_echoes_no_id(without: str) -> None:
    stage = Stage()
    done = stage.send()
    stage.answer(encode_list([{k: v for k, v in REPLY.items() if k != without}]))
    assert done == [None]


@pytest.mark.parametrize(
    "end",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[{\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200",
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_half_an_answer_is_none(end: bytes) -> None:
    stage = Stage()
    done = stage.send()
    stage.pipe.send(end)
    stage.pipe.close()
    assert isinstance(done[0], NoReply)
    assert stage.receiver.messages == []
    stage.assert_nothing_left()


@pytest.mark.parametrize("status", [204, 303, 400, 401, 403, 404, 413, 500, 503])
def test_other_statuses_are_failures_that_name_them(status: int) -> None:
    stage = Stage()
    done = stage.send()
    stage.answer(b"<html>", status=f"{status} No")
    [error] = done
    assert isinstance(error, NoReply)
    assert error.status == status


def test_an_error_page_without_end_is_not_read_for_ever() -> None:
    stage = Stage()
    done = stage.send()
    stage.pipe.send(b"HTTP/1.1 500 No\r\n\r\n")
    for _ in range(20):
        stage.pipe.send(b"x" * 10_000)
    assert done[0].status == 500
    assert stage.pipe.aborted


@pytest.mark.parametrize(
    "piece", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n["]
)
def test_silence_is_bounded_and_the_connection_aborted(piece: bytes) -> None:
    stage = Stage()
    done = stage.send(timeout=10)
    stage.pipe.send(piece)
    stage.clock.advance(9.9)
    assert done == []
    stage.clock.advance(0.2)
    assert isinstance(done[0], ReplyTimeout)
    assert stage.pipe.aborted
    stage.assert_nothing_left()


def test_an_answer_is_bounded_also_when_it_was_compressed() -> None:
    for body, header in (
        (b" " * 200_000 + BODY, ""),
        (gzip.compress(b" " * 200_000 + BODY), "Content-Encoding: gzip"),
    ):
        stage = Stage(max_response=100_000)
        done = stage.send()
        stage.answer(body, *filter(None, [header]))
        assert isinstance(done[0], NoReply)
        assert stage.receiver.messages == []
        stage.assert_nothing_left()


def test_a_compressed_answer_is_understood() -> None:
    stage = Stage()
    done = stage.send()
    stage.answer(gzip.compress(BODY), "Content-Encoding: gzip")
    assert done == [None]


@pytest.mark.parametrize(
    "error", [twisted_error.ConnectionRefusedError(), twisted_error.DNSLookupError("x")]
)
def test_no_connection(error: Exception) -> None:
    stage = Stage()
    stage.network.refusal = error
    done = stage.send()
    assert isinstance(done[0], Unreachable)
    stage.assert_nothing_left()


def test_closing_while_a_connection_is_being_made() -> None:
    stage = Stage()
    stage.network.pending = []
    done = stage.send()
    stage.assert_nothing_left()
    assert isinstance(done[0], TransportError)


def test_closing_with_a_request_in_flight() -> None:
    stage = Stage()
    stage.send()
    stage.answer()
    done = [stage.send(), stage.send()]
    stage.pipe.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[")
    stage.assert_nothing_left()
    assert all(isinstance(result[0], TransportError) for result in done)


def test_giving_a_request_up_aborts_its_connection() -> None:
    stage = Stage()
    sending = stage.transport.send([PUBLISH], 10)
    done = outcome(sending)
    sending.cancel()
    assert len(done) == 1
    assert stage.pipe.aborted
    stage.assert_nothing_left()


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("location", ["/moved?x=1", "http://127.0.0.1:8000/moved?x=1"])
def test_a_redirect_within_the_origin_is_followed_as_it_was(
    status: int, location: str
) -> None:
    stage = Stage(headers={"Authorization": "Bearer x"})
    done = stage.send()
    first = stage.pipe.take().split(b"\r\n\r\n")[1]
    stage.answer(b"gone", f"Location: {location}", status=f"{status} Moved")
    head, body = stage.pipe.take().split(b"\r\n\r\n")
    assert head.startswith(b"POST /moved?x=1 HTTP/1.1\r\n")
    assert b"Authorization: Bearer x" in head
    assert body == first
    stage.answer()
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
    stage = Stage(headers={"Authorization": "Bearer x"})
    stage.context.jar.clear()
    done = stage.send()
    stage.answer(b"", f"Location: {location}", status=f"{status} Moved")
    assert "another origin" in str(done[0])
    assert len(stage.network.pipes) == 1
    assert stage.pipe.written.count(b"POST") == 1


@pytest.mark.parametrize(
    "location", ["javascript:x", "http://[::1", "http://x:y/", "\xff"]
)
def test_a_redirect_that_leads_nowhere(location: str) -> None:
    stage = Stage()
    done = stage.send()
    stage.answer(b"", f"Location: {location}", status="307 Moved")
    assert isinstance(done[0], NoReply)


def test_redirects_end() -> None:
    stage = Stage()
    done = stage.send()
    for _ in range(10):
        if not done:
            stage.answer(b"", "Location: /bayeux", status="307 Moved")
    assert "too many" in str(done[0])
    assert stage.pipe.written.count(b"POST") == 6


# Cookies.


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "example.com"])
def test_the_user_s_cookies_and_the_server_s_come_home(host: str) -> None:
    stage = Stage(url=f"http://{host}:8000/bayeux")
    stage.context.jar.set_cookie(own_cookie(stage.context.endpoint, "mine", "1"))
    stage.send()
    request = stage.pipe.take().decode()
    assert f"Host: {host}:8000\r\n" in request
    assert "Cookie: mine=1\r\n" in request
    stage.answer(BODY, "Set-Cookie: theirs=2")
    stage.send()
    assert "Cookie: mine=1; theirs=2\r\n" in stage.pipe.take().decode()
    assert cookie_header(stage.context.jar, stage.context.endpoint) is not None


def test_cookies_are_kept_and_sent() -> None:
    stage = Stage()
    stage.send()
    stage.answer(
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
    stage.send()
    [cookies] = re.findall(rb"Cookie: (.*)\r\n", stage.pipe.written)
    names = {pair.split(b"=")[0] for pair in cookies.split(b"; ")}
    assert {b"a", b"f"} <= names
    assert not names & {b"b", b"c", b"d", b"e"}


def test_each_client_has_its_own_jar() -> None:
    first, second = Stage(), Stage()
    first.send()
    first.answer(BODY, "Set-Cookie: a=1")
    assert cookie_header(first.context.jar, first.context.endpoint) == "a=1"
    assert cookie_header(second.context.jar, second.context.endpoint) is None


# Callback-polling.


def test_callback_polling_is_a_get_whose_answer_calls_back() -> None:
    stage = Stage(CallbackPolling)
    done = stage.send()
    [line] = re.findall(rb"GET (.*) HTTP/1.1\r\n", stage.pipe.take())
    query = parse_qs(urlsplit(line.decode()).query)
    assert json.loads(query["message"][0]) == [PUBLISH]
    [name] = query["jsonp"]
    stage.answer(f"/**/{name}({BODY.decode()});".encode())
    assert done == [None]
    assert stage.receiver.messages == [REPLY]


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
def test_what_is_a_callback(script: bytes, is_good: bool) -> None:
    stage = Stage(CallbackPolling)
    done = stage.send()
    stage.answer(script.replace(b"%s", BODY))
    assert (done == [None]) is is_good
    if not is_good:
        assert isinstance(done[0], NoReply)
        assert stage.receiver.messages == []


def test_the_agent_is_the_dialer_s() -> None:
    stage = Stage()
    network = Network80(stage.clock)
    agent = Agent.usingEndpointFactory(stage.clock, network)
    http = Http(stage.context, agent)
    outcome(http.request("GET", stage.context.endpoint, {}, None, 1))
    assert network.uris == ["http://127.0.0.1:8000/bayeux"]
