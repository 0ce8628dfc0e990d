"""The HTTP protocol without twisted.web: what it serves, and that it does the same."""

import gc
import json
import random
import weakref

import pytest
from twisted.internet.defer import Deferred
from twisted.web.http import HTTPChannel

from txbayeux.adapter.http import FastHTTPProtocol
from txbayeux.events import Reason
from txbayeux.limits import Limits
from txbayeux.processor import Response

from .http_ways import LIMITS, outcome, pieces
from .sockets import TEXT, Client, frame, upgrade
from .support import HTTP_WAY, Answer, Service, Transport, request, settle

pytestmark = pytest.mark.parametrize("http_way", ["fast"], indirect=True)

POST = request("POST", body=b"[1]")


def is_fast(transport: Transport) -> bool:
    return isinstance(transport.protocol, FastHTTPProtocol)


def answers(data: bytes) -> list[Answer]:
    found = []
    while data.startswith(b"HTTP/1.1"):
        answer = Answer(data)
        if answer.code == 204:
            answer.rest, answer.body = answer.body + answer.rest, b""
        found.append(answer)
        data = answer.rest
    assert data == b""
    return found


@pytest.mark.parametrize(
    "data",
    [
        POST,
        request("POST", "/bayeux/", b"[1]"),
        request("POST", "/bayeux/connect?x=1", b"[1]"),
        request("POST", body=b"[1]", connection="keep-alive"),
        request("POST", body=b"[1]", cookie="a=b", x_y="\tz\t"),
        request("POST", body=b""),
        request("POST", body=b"nonsense"),
        request("GET"),
        request("GET", "/bayeux/s1", accept="text/event-stream"),
        request("GET", "/bayeux/x?message=[1]&jsonp=a"),
        request("OPTIONS"),
    ],
)
def test_plain_requests_are_served(data: bytes) -> None:
    transport = Service().send(data)
    assert is_fast(transport)
    assert len(answers(transport.value())) == 1


@pytest.mark.parametrize(
    "data",
    [
        request("GET", "/"),
        request("GET", body=b"[1]"),
        request("PUT", body=b"[1]"),
        request("HEAD"),
        request("POST", "/other", b"[1]"),
        request("POST", "/bayeux2", b"[1]"),
        request("POST", "/bayeu%78", b"[1]"),
        request("POST", "http://bayeux.example/bayeux", b"[1]"),
        request("OPTIONS", "*"),
        request("POST", body=b"[1]", version="HTTP/1.0"),
        request("POST", body=b"[1]", connection="close"),
        request("POST", body=b"[1]", transfer_encoding="identity"),
        request("POST", body=b"[1]", content_length="3, 3"),
        request("POST", body=b"[1]", content_length="+3"),
        request("POST", body=b"[1]", x="y" * 9000),
        request("POST", body=b"[1]", x="a\r\n b"),
        request("POST", body=b"x" * 501),
        upgrade(connection="close"),
        upgrade(connection="Upgrade, close", sec_websocket_version="12"),
        upgrade(connection=""),
        upgrade(upgrade="h2c"),
        b"\r\n" + POST,
        b"\x16\x03\x01",
    ],
)
def test_other_requests_are_handed_to_twisted_web(data: bytes) -> None:
    transport = Service(limits=LIMITS).send(data)
    assert not is_fast(transport)


def test_a_head_of_the_same_length_as_the_last_is_read() -> None:
    service = Service(limits=LIMITS)
    transport = service.connect()
    for origin in ("http://bayeux.example", "http://others.example"):
        for path in ("/bayeux/a", "/bayeux/b"):
            data = request("POST", path, b"[1]", origin=origin, cookie=f"a={path}")
            transport.protocol.dataReceived(data)
    assert [one.code for one in answers(transport.take())] == [200, 200, 403, 403]
    assert [
        source.headers["cookie"]
        for _, source, _ in service.processor.requests
        if source is not None
    ] == ["a=/bayeux/a", "a=/bayeux/b"]
    assert is_fast(transport)


def test_upgrades_in_the_forms_that_clients_send_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for connection in ("Upgrade", "upgrade", "keep-alive, Upgrade"):
        service = Service()
        transport = service.connect()
        monkeypatch.setattr(service.site, "buildProtocol", None)  # for twisted.web
        transport.protocol.dataReceived(upgrade(connection=connection))
        assert transport.value().startswith(b"HTTP/1.1 101 ")


def test_a_connection_is_handed_over_between_requests() -> None:
    service = Service()
    transport = service.send(POST + request("PUT") + POST)
    assert [one.code for one in answers(transport.take())] == [200, 405, 200]
    assert isinstance(transport.protocol, HTTPChannel)
    transport.protocol.dataReceived(POST)
    assert Answer(transport.take()).json() == [{"echo": 1}]
    service.clock.advance(61)
    assert transport.disconnecting


def test_a_connection_is_handed_over_after_a_held_request() -> None:
    service = Service()
    waiting: Deferred[Response] = Deferred()
    service.processor.answers.append(waiting)
    transport = service.send(POST + request("PUT", "/bayeux/"))
    assert transport.value() == b""
    waiting.callback(Response([2]))
    assert [one.code for one in answers(transport.take())] == [200, 405]


def test_many_requests_in_one_read_are_answered_in_order() -> None:
    service = Service()
    transport = service.send(POST * 3000)
    settle(service.clock)
    assert len(answers(transport.value())) == 3000
    assert is_fast(transport)


def test_requests_wait_for_the_one_before_and_reading_is_paused() -> None:
    service = Service()
    waiting: Deferred[Response] = Deferred()
    service.processor.answers.append(waiting)
    transport = service.send(POST)
    transport.protocol.dataReceived(POST)
    assert transport.producerState == "producing"
    transport.protocol.dataReceived(POST * 300)
    assert transport.producerState == "paused"
    assert len(service.processor.requests) == 1
    waiting.callback(Response([{"echo": 0}]))
    settle(service.clock)
    assert transport.producerState == "producing"
    assert [one.json()[0]["echo"] for one in answers(transport.take())] == [
        0,
        *([1] * 301),
    ]


def test_a_body_in_many_pieces() -> None:
    service = Service(limits=Limits(request_bytes=1_000_000))
    body = b'["' + b"x" * 900_000 + b'"]'
    data = request("POST", body=body) + POST
    transport = service.connect()
    for at in range(0, len(data), 1000):
        transport.protocol.dataReceived(data[at : at + 1000])
    assert [len(one.body) > 900_000 for one in answers(transport.value())] == [
        True,
        False,
    ]
    assert is_fast(transport)


def test_a_head_that_never_ends_is_handed_over() -> None:
    service = Service()
    transport = service.send(b"POST /bayeux HTTP/1.1\r\n")
    for _ in range(300):
        assert is_fast(transport) or transport.disconnecting
        transport.protocol.dataReceived(b"x: %s\r\n" % (b"y" * 100))
        if not is_fast(transport):
            break
    assert not is_fast(transport)
    while not transport.disconnecting:
        transport.protocol.dataReceived(b"x: %s\r\n" % (b"y" * 100))
        settle(service.clock)


def test_a_connection_that_does_not_close_is_aborted() -> None:
    service = Service()
    transport = service.connect()
    service.clock.advance(61)
    assert transport.disconnecting
    assert not transport.aborted
    service.clock.advance(15)
    assert transport.aborted
    transport.lose()
    service.site.doStop()
    service.site.stopFactory()
    assert service.clock.getDelayedCalls() == []


def test_the_protocol_is_freed_at_an_upgrade() -> None:
    service = Service()
    transport = service.connect()
    protocol = weakref.ref(transport.protocol)
    transport.protocol.dataReceived(POST)
    transport.take()
    transport.protocol.dataReceived(upgrade() + frame(TEXT, b"[7]"))
    assert transport.value().endswith(b'\r\n\r\n\x81\x0c[{"echo":7}]')
    gc.collect()
    assert protocol() is None


def test_requests_add_no_attribute_to_a_connection() -> None:
    # CPython finds attributes that come late more slowly, as it does all of an object
    # with a cached_property.
    connection = Service().connect().protocol
    before = set(vars(connection))
    connection.dataReceived(POST)
    assert set(vars(connection)) == before


def test_a_poll_follows_an_event_stream_that_has_ended() -> None:
    service = Service()
    transport = service.send(request(path="/bayeux/s1", accept="text/event-stream"))
    transport.protocol.dataReceived(POST)
    assert service.processor.requests == []
    service.processor.attached["s1"].close(Reason.TIMEOUT)
    data = transport.take()
    assert Answer(data[data.index(b"HTTP/1.1", 1) :]).json() == [{"echo": 1}]
    assert is_fast(transport)


def test_messages_over_an_upgraded_connection() -> None:
    client = Client(Service())
    client.send([1])
    assert client.messages() == [[{"echo": 1}]]


# Compared with twisted.web

BODIES = [b"[1]", b"", b"[]", b"{", b"message=%5B2%5D", b'{"channel":"/a"}', b"[1,2]"]
HEADERS: list[dict[str, str]] = [
    {},
    {"content_type": "application/json"},
    {"content_type": "text/plain;charset=UTF-8"},
    {"content_type": "image/png"},
    {"origin": "http://bayeux.example"},
    {"origin": "http://evil.example"},
    {"origin": "null", "sec_fetch_site": "cross-site"},
    {"connection": "keep-alive"},
    {"connection": "Keep-Alive, x"},
    {"connection": "close"},
    {"x_token": "a", "X_token": "b"},
    {"x_empty": ""},
    {"expect": "100-continue"},
    {"transfer_encoding": "chunked"},
    {"content_length": "03"},
    {"version": "HTTP/1.0"},
    {"cookie": "BAYEUX_BROWSER=1; a=b"},
    {"referer": "http://bayeux.example/x", "user_agent": "Mozilla/5.0"},
    {"upgrade": "websocket", "connection": "Upgrade"},
    {"upgrade": "websocket", "connection": "close"},
    {"upgrade": "h2c", "connection": "Upgrade"},
]
PATHS = ["/bayeux", "/bayeux/", "/bayeux/connect", "/bayeux?x=1", "/other", "/bayeux/%"]


def a_request(chance: random.Random) -> bytes:
    headers: dict[str, str] = {}
    for _ in range(chance.randrange(3)):
        headers |= chance.choice(HEADERS)
    method = "POST" if chance.random() < 0.85 else chance.choice(["GET", "OPTIONS"])
    path = chance.choice(PATHS) if chance.random() < 0.3 else "/bayeux"
    body = chance.choice(BODIES) if method == "POST" else b""
    if chance.random() < 0.05:
        body = b"[1]".ljust(chance.choice([499, 500, 501, 2000]))
    data = bytearray(request(method, path, body, **headers))
    if chance.random() < 0.15:
        at = chance.randrange(len(data))
        data[at : at + chance.randrange(2)] = chance.choice(
            [
                b"\r",
                b"\n",
                b"\0",
                b" ",
                b":",
                b"\t",
                b"\x7f",
                b"\xff",
                b"\r\n",
                b"%",
                b"",
            ]
        )
    return bytes(data)


@pytest.mark.parametrize("seed", range(60))
def test_both_ways_do_the_same(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(25):
        data = b"".join(a_request(chance) for _ in range(chance.randrange(1, 5)))
        # A malformed head is refused at its end, by twisted.web a little earlier.
        stream = [*pieces(data, chance), b"\r\n\r\n"]
        waits = [chance.random() < 0.3 for _ in range(10)]
        assert outcome(stream, waits, fast=True) == outcome(stream, waits, fast=False)


def test_the_random_requests_are_of_all_kinds() -> None:
    chance = random.Random(0)
    codes, messages = set(), 0
    for _ in range(500):
        done = outcome([a_request(chance)], [], fast=True)
        codes |= {code for code, _, _ in done["written"]}
        messages += len(done["requests"])
    assert codes >= {200, 204, 400, 403, 404, 413, 415, 426}
    assert messages > 100


def test_extensions_see_the_same() -> None:
    seen = []
    for fast in (True, False):
        HTTP_WAY.fast = fast
        service = Service()
        service.post([1], x_token="t", X_token="u", cookie="a=b")
        source = service.processor.requests[0][1]
        assert source is not None
        seen.append((source.transport, source.peer, source.headers))
    assert seen[0] == seen[1]
    assert json.dumps(dict(seen[0][2]))
