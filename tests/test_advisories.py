"""Published advisories about software of this kind, one test each, with their input.

The test is named after the advisory.  What else is related to it is tested where the
code in question is: invalid certificates in ``transport/test_tls.py``, decompression
in ``adapter/test_websocket_hostile.py``.
"""

from __future__ import annotations

import json
import re
import tracemalloc
import zlib
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from tests.adapter.sockets import CLOSE, TEXT, frame
from tests.engine.redis_server import RedisServer
from tests.transport import test_tls as tls
from tests.web import HANDSHAKE, Browser, Connection, connect, post
from txbayeux import Bayeux, Extension, Limits, ServerOptions
from txbayeux.message import Message
from txbayeux.transport.base import Unreachable
from txbayeux.transport.tls import TLSPolicy


@pytest.fixture
def reactor() -> MemoryReactorClock:
    return MemoryReactorClock()


def started(reactor: Any, **options: Any) -> Bayeux:
    bayeux = Bayeux(reactor, **options)
    bayeux.start()
    return bayeux


class Methods(Resource):
    """Answers with the request's method, as the page in CVE-2024-41671."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        return b"<%b>" % request.method


@pytest.fixture(params=["BayeuxSite", "Site"])
def make_site(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a function that returns a site: ours, or twisted.web's own."""

    def make(bayeux: Bayeux, reactor: Any) -> Any:
        root = Resource()
        root.putChild(b"page", Methods())
        if request.param == "BayeuxSite":
            return bayeux.site(root)
        root.putChild(b"bayeux", bayeux.resource)
        return Site(root, reactor=reactor)

    return make


CHUNKED = "Transfer-Encoding: chunked"


def request(method: str, path: str, *fields: str, body: str = "") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: a", *fields]
    if CHUNKED in fields:
        body = f"{len(body):x}\r\n{body}\r\n0\r\n\r\n" if body else "0\r\n\r\n"
    elif method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", body]).encode()


class Guard(Extension):
    """Refuses subscriptions, as Faye's documentation advises."""

    def incoming(self, message: Message, request: object) -> Message:
        if message.get("channel") == "/meta/subscribe":
            message["error"] = "403::Forbidden"
        return message


@pytest.mark.parametrize("names", ["bayeux", "cometd"])
def test_cve_2020_11020(reactor: MemoryReactorClock, names: str) -> None:
    """Faye took ``/meta/subscribe/x`` for a subscribe; extensions did not see it."""
    options = ServerOptions(channel_names=names)
    bayeux = started(reactor, extensions=[Guard()], options=options)
    browser = Browser(bayeux.site())
    session = browser.handshake()
    similar = ("/meta/subscribe/x", "/meta/subscribe/", "/meta/subscribe ")
    for channel in ("/meta/subscribe", *similar):
        fields = {"clientId": session, "subscription": "/secret"}
        (reply,) = browser.post({"channel": channel, **fields})
        assert reply["successful"] is False
        assert reply["error"].startswith(("403:", "405:"))
    assert bayeux.server.statistics()["subscriptions"] == 0
    bayeux.publish("/secret", 1)
    reactor.advance(0)
    assert browser.poll(session) == []


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:dump_privatekey:DeprecationWarning")
@pytest.mark.parametrize("transport", ["long-polling", "websocket"])
@pytest.mark.parametrize("certificate", [tls.self_signed, tls.for_another_host])
@pytest_twisted.ensureDeferred
async def test_cve_2020_15134(
    certificate: Callable[[], tls.Identity], transport: str
) -> None:
    """Faye's client in Ruby verified no certificate, neither of https nor of wss."""
    servers = tls.TLSServers()
    port = servers.start(certificate())
    trusted = TLSPolicy.from_pem(tls.CA.pem)
    try:
        error = await tls.first_failure(port, transport, tls=trusted)
    finally:
        await maybeDeferred(servers.ports[0].stopListening)
    assert isinstance(error, Unreachable)
    assert "TLS failed" in str(error)
    assert servers.received == []


async def until(condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        await deferLater(real_reactor, 0.02)
    raise AssertionError("it did not happen")


@pytest.mark.redis
@pytest_twisted.ensureDeferred
async def test_cve_2022_24721(tmp_path: Path) -> None:
    """Clients of CometD could read and write the channels of its cluster."""
    redis = RedisServer(tmp_path / "redis")
    redis.start()
    servers = [started(real_reactor, redis=redis.url) for _ in range(2)]

    async def ask(number: int, message: Any) -> list[Any]:
        """Send a message to one of the servers; return the replies."""
        connection = Browser(servers[number].site()).send(message)
        await until(connection.transport.value)
        replies = connection.replies()
        connection.transport.loseConnection()
        return replies

    async def session_of(number: int, *channels: str) -> str:
        (reply,) = await ask(number, HANDSHAKE)
        session: str = reply["clientId"]
        for channel in channels:
            fields = {"clientId": session, "subscription": channel}
            (reply,) = await ask(number, {"channel": "/meta/subscribe", **fields})
            assert reply["successful"]
        return session

    async def poll(number: int, session: str) -> list[Any]:
        replies = await ask(number, connect(session) | {"advice": {"timeout": 0}})
        assert replies[-1]["successful"]
        return [(r["channel"], r["data"]) for r in replies if "data" in r]

    try:
        await until(lambda: all(server.server.ready() for server in servers))
        spy = await session_of(0, "/**", "/oort/**", "/oort/cloud", "/seti/**")
        user = await session_of(1, "/inbox")
        # All that servers tell each other: messages for one session, changes of
        # subscriptions, and the move of a session.
        await servers[0].deliver(user, "/inbox", "secret")
        forged = [
            ("/oort/cloud", ["http://attacker.example/cometd"]),
            ("/seti/all", {"userId": "user", "presence": False, "alive": False}),
        ]
        for channel, data in forged:
            await ask(0, {"channel": channel, "data": data, "clientId": spy})
        assert await poll(1, user) == [("/inbox", "secret")]
        assert await poll(0, user) == []
        await servers[1].publish("/news", 1)
        assert await poll(1, spy) == [*forged, ("/news", 1)]
        await ask(1, {"channel": "/meta/disconnect", "clientId": user})
        await servers[1].publish("/news", 2)
        assert await poll(0, spy) == [("/news", 2)]
    finally:
        for server in servers:
            await server.stop()
        redis.stop()


def test_cve_2025_53114(reactor: MemoryReactorClock) -> None:
    """CometD kept the messages of clients that always acknowledge the same number."""
    bayeux = started(reactor)
    browser = Browser(bayeux.site())
    (reply,) = browser.post(HANDSHAKE | {"ext": {"ack": True}})
    session = reply["clientId"]
    browser.subscribe(session, "/a")
    bayeux.publish("/a", 0)
    replies = []
    for number in range(1, 200):
        bayeux.publish("/a", number)
        reactor.advance(0)
        fields = {"ext": {"ack": 1}, "advice": {"timeout": 0}}
        *_, reply = browser.post(connect(session) | fields)
        replies.append(reply["successful"])
    assert replies.count(True) <= 110
    assert replies[-1] is False
    assert bayeux.server.statistics()["queued_messages"] == 0
    assert bayeux.server.statistics()["backlog_bytes"] == 0


def web_socket(site: Any, extensions: str = "") -> Connection:
    """Open a WebSocket; return it with the head of the response still unread."""
    connection = Connection(site)
    connection.send(
        b"GET /bayeux HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: %b\r\n\r\n" % extensions.encode()
    )
    return connection


def deflated(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, wbits=-15)
    text = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return text.removesuffix(b"\x00\x00\xff\xff")


def close_frame(code: int) -> re.Pattern[bytes]:
    head = re.escape(bytes([CLOSE]))
    return re.compile(head + b"." + re.escape(code.to_bytes(2, "big")), re.DOTALL)


def test_cve_2026_77528(reactor: MemoryReactorClock) -> None:
    """Autobahn compared the size limit with the compressed message only."""
    limits = Limits(request_bytes=128)
    bayeux = started(reactor, limits=limits, websocket_deflate=True)
    received: list[Message] = []
    bayeux.subscribe("/a", received.append)
    for size in (128, 4096):
        connection = web_socket(bayeux.site(), "permessage-deflate")
        assert b"permessage-deflate" in connection.received()
        message = b'{"channel":"/a","data":1}'.ljust(size)
        assert len(deflated(message)) < limits.request_bytes
        connection.send(frame(0xC1, deflated(message)))
        reactor.advance(0)
        answer = connection.received()
        assert bool(close_frame(1009).match(answer)) is (size > 128)
    assert len(received) == 1


# 100 MiB of one letter.
BROTLI = b64decode(
    "z///fwAkwuKxQHLv//n//w+ABEAcFoDu/T////8BkACIwwLQvf/n//8/ABIAcVgAuvf//P//B0ACIA4L"
    "QPf+n////wBIAMRhAeje/+f//w8ACYA4LADd+x8="
)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("codec", ["brotli", "deflate"])
def test_cve_2026_116579(
    reactor: MemoryReactorClock, codec: str, deflate: bool
) -> None:
    """Autobahn decompressed a whole frame of Brotli before it compared its size."""
    bayeux = started(reactor, websocket_deflate=deflate)
    connection = web_socket(bayeux.site(), "permessage-brotli, permessage-deflate")
    head = connection.received()
    assert b"brotli" not in head
    assert (b"permessage-deflate" in head) is deflate
    bomb = BROTLI if codec == "brotli" else deflated(bytes(100 * 1024 * 1024))
    data = frame(0xC1, bomb)
    tracemalloc.start()
    connection.send(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 1024 * 1024 + len(data)
    code = {"brotli": 1007, "deflate": 1009}[codec] if deflate else 1002
    assert close_frame(code).match(connection.received())


@pytest.mark.parametrize("cut", ["fragments", "data chunks"])
def test_cve_2026_48779(
    reactor: MemoryReactorClock, make_site: Callable[..., Any], cut: str
) -> None:
    """``ws`` took a multiple of a message's size if it came in tiny parts."""
    received: list[Message] = []
    bayeux = started(reactor)
    bayeux.subscribe("/a", received.append)
    connection = web_socket(make_site(bayeux, reactor))
    size = 20_000
    text = b'{"channel":"/a","data":1}'.ljust(size)
    if cut == "fragments":
        parts = [frame(0x00, text[at : at + 1]) for at in range(1, size - 1)]
        parts = [frame(0x01, text[:1]), *parts, frame(0x80, text[-1:])]
    else:
        whole = frame(TEXT, text)
        parts = [whole[at : at + 1] for at in range(len(whole))]
    *parts, last = parts
    connection.send(parts.pop(0))
    tracemalloc.start()
    for part in parts:
        connection.send(part)
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert memory < 2 * size
    connection.send(last)
    reactor.advance(0)
    assert [message["data"] for message in received] == [1]


@pytest.mark.parametrize("input_", ["page", "held connect", "held connect in chunks"])
def test_cve_2024_41671(
    reactor: MemoryReactorClock, make_site: Callable[..., Any], input_: str
) -> None:
    """twisted.web answered a later request before pipelined ones."""
    bayeux = started(reactor)
    site = make_site(bayeux, reactor)
    browser, connection = Browser(site), Connection(site)
    if input_ == "page":
        connection.send(request("POST", "/page", CHUNKED) + request("POST", "/page"))
        later = request("GET", "/page")
        expected = [b"<POST>", b"<POST>", b"<GET>"]
    else:
        session = browser.handshake()
        fields = ["Content-Type: application/json"]
        if "chunks" in input_:
            fields.append(CHUNKED)
        held = json.dumps(connect(session) | {"id": "first"})
        connection.send(
            request("POST", "/bayeux", *fields, body=held)
            + post({"channel": "/a", "data": 1, "id": "second"})
        )
        message = json.dumps({"channel": "/a", "data": 1, "id": "third"})
        later = request("GET", f"/bayeux?message={quote(message)}")
        expected = [b'"id":"first"', b'"id":"second"', b'"id":"third"']
    reactor.advance(1)
    connection.send(later)
    reactor.pump([0, 60, 0, 0])
    answers = connection.received()
    places = [answers.find(text) for text in expected]
    assert -1 not in places
    assert places == sorted(places)
    assert answers.count(b"HTTP/1.1 200") == 3


def test_cve_2026_59725(
    reactor: MemoryReactorClock, make_site: Callable[..., Any]
) -> None:
    """engine.io left an invalid binary POST unanswered, and its connection open."""
    bayeux = started(reactor)
    connection = Connection(make_site(bayeux, reactor))
    path = "/bayeux/?EIO=4&transport=polling"
    kind = "Content-Type: application/octet-stream"
    for fields in ((kind,), (kind, CHUNKED)):
        connection.send(request("POST", path, *fields, body="\x04\x00invalid"))
        assert connection.received().startswith(b"HTTP/1.1 415 ")
        connection.send(post(HANDSHAKE))
        assert connection.replies()[0]["successful"]
    reactor.pump([60] * 5)
    assert not connection.transport.connected


# The beginning of a Flash file whose bytes are all letters and digits.
FLASH = "CWSMIKI0hC0Up0IZUnnnnnnnnnnnnnnnnnnnUU5nnnnnn3Snn7iiudIbEAt333swW0ssG03"


@pytest.mark.parametrize("size", [len(FLASH), 1000])
def test_rosetta_flash(
    reactor: MemoryReactorClock, make_site: Callable[..., Any], size: int
) -> None:
    """CVE-2014-4671: the callback's name made a Flash file of a JSON-P answer."""
    browser = Browser(make_site(started(reactor), reactor))
    message = quote(json.dumps({"channel": "/a", "data": 1}))
    callback = FLASH.ljust(size, "n")
    answer = browser.ask(request("GET", f"/bayeux?jsonp={callback}&message={message}"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nX-Content-Type-Options: nosniff" in head
    assert not body.startswith((b"CWS", b"FWS", b"ZWS"))
    if size == len(FLASH):
        assert body.startswith(b"/**/" + FLASH.encode())
        assert b"\r\nContent-Disposition: attachment" in head
    else:
        assert head.startswith(b"HTTP/1.1 400 ")
