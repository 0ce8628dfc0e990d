"""What a connection held is freed when it is lost, without the garbage collector.

The peers are real sockets that do not read what they asked for, and are reset.
"""

from __future__ import annotations

import gc
import json
import socket
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as installed
from twisted.internet.task import deferLater
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from tests.resets import reset_on_close
from tests.server.extensions import outgoing
from tests.web import HANDSHAKE, UPGRADE, connect, post
from txbayeux.adapter.site import BayeuxSite, BoundedSite
from txbayeux.bayeux import Bayeux

from .sockets import TEXT, frame
from .support import HTTP_WAY

reactor: Any = installed

MESSAGE = 1 << 20
MESSAGES = 7  # more bytes than the kernel takes for a peer that does not read
PEERS = 2
PACKAGES = (
    *("txbayeux.adapter.", "txbayeux.server."),
    *("twisted.web.", "twisted.internet.tcp.", "autobahn."),
)
TURNS = 200  # of the reactor, more than enough for anything on the loopback interface


class Peer:
    """A socket with a small receive buffer, of a client that has a session."""

    def __init__(self, port: int) -> None:
        self.session_id = ""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setblocking(False)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    async def receive(self) -> bytes:
        """Return what the server sends next."""
        for _ in range(TURNS):
            try:
                return self._socket.recv(65536)
            except BlockingIOError:
                await turns(1)
        raise AssertionError("nothing came")

    async def ask(self, message: dict[str, Any]) -> Any:
        self.send(post(message))
        return json.loads((await self.receive()).partition(b"\r\n\r\n")[2])[0]

    def reset(self) -> None:
        reset_on_close(self._socket)
        self._socket.close()


class Server:
    """A server with a real port, and a page that is larger than buffers."""

    def __init__(self, site: type, **options: Any) -> None:
        self.bayeux = Bayeux(reactor, **options)
        root = Resource()
        root.putChild(b"page", Data(b"x" * MESSAGE * MESSAGES, "text/plain"))
        factory: Any
        if site is BayeuxSite:
            factory = self.bayeux.site(root)
        else:
            root.putChild(b"bayeux", self.bayeux.resource)
            limits = {"limits": self.bayeux.resource.limits}
            factory = site(root, reactor=reactor, **limits if site is not Site else {})
        self._port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.port: int = self._port.getHost().port

    async def session(self) -> str:
        """Return the id of a session that is subscribed to ``/a``."""
        peer = Peer(self.port)
        session_id: str = (await peer.ask(HANDSHAKE))["clientId"]
        channel = {"channel": "/meta/subscribe", "subscription": "/a"}
        assert (await peer.ask({**channel, "clientId": session_id}))["successful"]
        peer.reset()
        return session_id

    async def stop(self) -> None:
        await self._port.stopListening()
        await self.bayeux.stop()


async def turns(count: int) -> None:
    for _ in range(count):
        await deferLater(reactor, 0)


Kind = Callable[[Peer], Awaitable[None]]
"""Brings the connection of a peer into a state."""


async def idle(peer: Peer) -> None:
    assert not (await peer.ask(connect("x")))["successful"]


async def half_a_head(peer: Peer) -> None:
    peer.send(post({"a": "b"})[:40])


async def half_an_upgrade(peer: Peer) -> None:
    peer.send(UPGRADE[:-20])


async def half_a_body(peer: Peer) -> None:
    peer.send(post({"a": "x" * 50_000})[:-10_000])


async def half_a_chunk(peer: Peer) -> None:
    head = b"POST /bayeux HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    peer.send(head + b"Transfer-Encoding: chunked\r\n\r\nc350\r\n" + b"x" * 40_000)


async def page(peer: Peer) -> None:
    peer.send(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")


async def long_polling(peer: Peer) -> None:
    peer.send(post(connect(peer.session_id)))


async def callback_polling(peer: Peer) -> None:
    message = json.dumps(connect(peer.session_id)).replace(" ", "")
    target = f"/bayeux?jsonp=f&message={message}".replace('"', "%22")
    peer.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())


async def event_stream(peer: Peer) -> None:
    target = f"/bayeux/{peer.session_id}"
    head = f"GET {target} HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
    peer.send(head.encode())
    assert b"text/event-stream" in await peer.receive()


async def web_socket(peer: Peer, headers: bytes = b"\r\n") -> None:
    peer.send(UPGRADE[:-2] + headers)
    assert b" 101 " in await peer.receive()
    message = {**connect(peer.session_id), "connectionType": "websocket"}
    peer.send(frame(TEXT, json.dumps(message).encode()))


async def compressed_web_socket(peer: Peer) -> None:
    await web_socket(peer, b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n")


async def half_a_frame(peer: Peer) -> None:
    await web_socket(peer)
    peer.send(frame(TEXT, b"x" * 50_000)[:-10_000])


async def half_a_message(peer: Peer) -> None:
    await web_socket(peer)
    peer.send(frame(0x01, b"x" * 50_000))


UNFINISHED: list[Kind] = [
    idle,
    half_a_head,
    half_an_upgrade,
    half_a_body,
    half_a_chunk,
    page,
    half_a_frame,
    half_a_message,
]
STREAMS: list[Kind] = [event_stream, web_socket]
SUBSCRIBERS = [long_polling, callback_polling, *STREAMS, compressed_web_socket]


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    # What is there already, such as all of pytest's tests, is not looked through.
    gc.freeze()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()
    gc.unfreeze()


def name_of(one: object) -> str:
    kind = type(one)
    return f"{kind.__module__}.{kind.__qualname__}"


def census() -> Counter[str]:
    """Count the objects of the types that connections are made of."""
    names = map(name_of, gc.get_objects())
    return Counter(name for name in names if name.startswith(PACKAGES))


def referrers(name: str) -> list[str]:
    """Return what refers to objects of a type, for whoever mends a failure."""
    return [
        f"{name} < {name_of(referrer)}"
        for one in gc.get_objects()
        if name_of(one) == name
        for referrer in gc.get_referrers(one)
    ]


async def come_and_go(server: Server, kind: Kind, messages: int) -> None:
    peers = []
    for _ in range(PEERS):
        peer = Peer(server.port)
        peer.session_id = await server.session()
        await kind(peer)
        peers.append(peer)
    await turns(10)
    for _ in range(messages):
        await server.bayeux.publish("/a", "x" * MESSAGE)
    await turns(10)
    for peer in peers:
        peer.reset()
    await turns(20)
    for peer in peers:
        await server.bayeux.server.kick(peer.session_id)
    await turns(5)


async def assert_freed(server: Server, kind: Kind, messages: int) -> None:
    await server.bayeux.start()
    try:
        # Caches are filled once.
        await come_and_go(server, kind, messages)
        gc.collect()
        before, memory = census(), tracemalloc.get_traced_memory()[0]
        await come_and_go(server, kind, messages)
        grown = tracemalloc.get_traced_memory()[0] - memory
        left = census() - before
        assert not left, [left, *map(referrers, left)]
        assert grown < MESSAGE, f"{grown} bytes"
    finally:
        await server.stop()


def site() -> type:
    return BayeuxSite if HTTP_WAY.fast else BoundedSite


@pytest.mark.parametrize("kind", [*UNFINISHED, *SUBSCRIBERS])
@pytest_twisted.ensureDeferred
async def test_a_lost_connection_is_freed(kind: Kind) -> None:
    await assert_freed(Server(site(), websocket_deflate=True), kind, 0)


@pytest.mark.parametrize("kind", SUBSCRIBERS)
@pytest_twisted.ensureDeferred
async def test_messages_that_were_not_sent_are_freed(kind: Kind) -> None:
    await assert_freed(Server(site(), websocket_deflate=True), kind, MESSAGES)


@pytest.mark.parametrize("http_way", ["twisted.web"], indirect=True)
@pytest.mark.parametrize("kind", STREAMS)
@pytest_twisted.ensureDeferred
async def test_messages_are_freed_on_a_site_of_another_kind(kind: Kind) -> None:
    await assert_freed(Server(Site), kind, MESSAGES)


@pytest.mark.parametrize("kind", STREAMS)
@pytest_twisted.ensureDeferred
async def test_a_lost_stream_with_extensions_is_freed(kind: Kind) -> None:
    extension = outgoing(lambda message, _: {**message, "ext": 1})
    await assert_freed(Server(site(), extensions=[extension]), kind, MESSAGES)
