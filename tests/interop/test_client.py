"""Our client against Faye's, CometD's and our own servers, over each transport."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from txbayeux.client import Client, Retry, State
from txbayeux.errors import BayeuxError
from txbayeux.extensions import Ack, Replay, TimeSync

from . import servers, tools
from .client_program import DEADLINE
from .scenarios import DATA
from .servers import Server

COMBINATIONS = [
    ("txbayeux", "websocket"),
    ("txbayeux", "eventsource"),
    ("txbayeux", "long-polling"),
    ("txbayeux", "callback-polling"),
    ("faye", "websocket"),
    ("faye", "eventsource"),
    ("faye", "long-polling"),
    ("faye", "callback-polling"),
    ("cometd-node", "long-polling"),
    ("cometd-java", "websocket"),
    ("cometd-java", "long-polling"),
    ("cometd-java", "callback-polling"),
]
T = TypeVar("T")
HOLD = 3
"""Seconds for which a connect is held."""
_made: dict[str, Server] = {}


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Generator[dict[str, Server]]:
    yield _made
    for server in _made.values():
        server.kill()
    _made.clear()


def _make(kind: str, directory: Any) -> Server:
    output = directory / "output"
    match kind:
        case "txbayeux":
            return servers.txbayeux(output, HOLD, [])
        case "faye":
            return servers.faye(output, HOLD, tools.node_programs())
        case "cometd-node":
            return servers.cometd_node(output, HOLD, tools.node_programs())
    return servers.cometd_java(output, HOLD, tools.java_programs())


class ClientTest:
    """One test's server and clients."""

    def __init__(self, server: Server, kind: str, transport: str) -> None:
        self.server = server
        self.kind = kind
        self.transport = transport
        self.clients: list[Client] = []

    def client(self, **options: Any) -> Client:
        client = Client(
            self.server.url, reactor=reactor, transports=[self.transport], **options
        )
        self.clients.append(client)
        return client


@pytest.fixture(params=COMBINATIONS, ids="-".join)
def peer(
    request: pytest.FixtureRequest,
    peers: dict[str, Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> ClientTest:
    kind, transport = request.param
    if kind not in peers:
        peers[kind] = _make(kind, tmp_path_factory.mktemp(kind))
    if not peers[kind].alive:
        peers[kind].start()
    return ClientTest(peers[kind], kind, transport)


def client_test(
    test: Callable[[ClientTest], Coroutine[Any, Any, None]],
) -> Callable[[ClientTest], Any]:
    """Run a test in the reactor; afterwards nothing of its clients may be left."""

    async def run(peer: ClientTest) -> None:
        with leaving_nothing():
            try:
                await test(peer)
            finally:
                for client in peer.clients:
                    await soon(client.disconnect())

    run.__name__ = test.__name__
    decorated: Callable[[ClientTest], Any] = pytest_twisted.ensureDeferred(run)
    return decorated


@contextmanager
def leaving_nothing() -> Generator[None]:
    before = _held()
    yield
    assert _held() <= before


def _held() -> set[Any]:
    calls = [call for call in reactor.getDelayedCalls() if _is_ours(call)]  # type: ignore[attr-defined]
    return {*calls, *reactor.getReaders(), *reactor.getWriters()}  # type: ignore[attr-defined]


def _is_ours(call: object) -> bool:
    return "txbayeux" in repr(call) or "twisted.web" in repr(call)


def soon(deferred: Deferred[T]) -> Deferred[T]:
    deferred.addTimeout(DEADLINE, reactor)  # type: ignore[arg-type]
    return deferred


class Inbox:
    """What a subscription brought."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def __call__(self, message: Any) -> None:
        self.messages.append(message)
        for count, waiting in self._waiting:
            if len(self.messages) == count:
                waiting.callback(None)

    @property
    def data(self) -> list[Any]:
        return [message["data"] for message in self.messages]

    async def wait(self, count: int) -> list[Any]:
        if len(self.messages) < count:
            waiting: Deferred[None] = Deferred()
            self._waiting.append((count, waiting))
            await soon(waiting)
        return self.data


async def listening(client: Client, *channels: str) -> Inbox:
    inbox = Inbox()
    for channel in channels:
        await soon(client.subscribe(channel, inbox).ready)
    return inbox


@client_test
async def test_publish_with_its_reply(peer: ClientTest) -> None:
    alice, bob = peer.client(), peer.client()
    inbox = await listening(alice, "/chat/room")
    for client, text in ((bob, "hello"), (alice, "welcome")):
        reply = await soon(client.publish("/chat/room", {"text": text}))
        assert reply["successful"] is True
    got = await inbox.wait(2)
    assert sorted(data["text"] for data in got) == ["hello", "welcome"]
    assert alice.transport == peer.transport
    assert alice.state is State.CONNECTED


@client_test
async def test_wildcards(peer: ClientTest) -> None:
    alice, bob = peer.client(), peer.client()
    inbox = await listening(alice, "/wild/*")
    deep = await listening(alice, "/wild/a/**")
    for name in ("", "/one", "/a/b", "/a/b/c", "er/one", "/end"):
        await soon(bob.publish(f"/wild{name}", name))
    assert await inbox.wait(2) == ["/one", "/end"]
    assert await deep.wait(2) == ["/a/b", "/a/b/c"]


@client_test
async def test_200_messages_in_order(peer: ClientTest) -> None:
    alice, bob = peer.client(), peer.client()
    inbox = await listening(alice, "/order")
    replies = await soon(
        gatherResults([bob.publish("/order", number) for number in range(200)])
    )
    assert all(reply["successful"] for reply in replies)
    assert await inbox.wait(200) == list(range(200))


@client_test
async def test_300_kilobytes(peer: ClientTest) -> None:
    alice, bob = peer.client(), peer.client()
    inbox = await listening(alice, "/large")
    text = "".join(f"{number:07} *\n" for number in range(30_000))
    sender = bob if peer.transport != "callback-polling" else None
    if sender is None:  # a URL does not hold as much
        sender = Client(peer.server.url, transports=["long-polling"])
        peer.clients.append(sender)
    await soon(sender.publish("/large", {"text": text}))
    await soon(sender.publish("/large", "end"))
    assert await inbox.wait(2) == [{"text": text}, "end"]


@client_test
async def test_data_arrives_as_it_was(peer: ClientTest) -> None:
    alice = peer.client()
    inbox = await listening(alice, "/data")
    for data in DATA:
        await soon(alice.publish("/data", data))
    assert await inbox.wait(len(DATA)) == DATA


@client_test
async def test_refusal_by_an_extension(peer: ClientTest) -> None:
    alice = peer.client()
    for asked in (
        alice.publish("/forbidden/fruit", "apple"),
        alice.subscribe("/forbidden/fruit", print).ready,
    ):
        with pytest.raises(BayeuxError) as caught:
            await soon(asked)
        assert caught.value.code == 403
    inbox = await listening(alice, "/allowed")
    await soon(alice.publish("/allowed", "pear"))
    assert await inbox.wait(1) == ["pear"]


@client_test
async def test_refused_handshake(peer: ClientTest) -> None:
    # Faye's servers advise another handshake with every refusal, the others none.
    mallory = peer.client(ext={"refuse": True}, retry=Retry(attempts=2))
    with pytest.raises(BayeuxError) as caught:
        await soon(mallory.connect())
    assert caught.value.code == 403
    assert mallory.state is State.REFUSED


@client_test
async def test_unsubscribe(peer: ClientTest) -> None:
    alice, bob = peer.client(), peer.client()
    news, end = Inbox(), await listening(alice, "/end")
    subscription = alice.subscribe("/news", news)
    await soon(subscription.ready)
    await soon(bob.publish("/news", 1))
    await news.wait(1)
    subscription.cancel()
    await soon(alice.publish("/other", None))  # behind the unsubscribe
    await soon(bob.publish("/news", 2))
    await soon(bob.publish("/end", "end"))
    await end.wait(1)
    assert news.data == [1]


@client_test
async def test_disconnect_ends_the_session(peer: ClientTest) -> None:
    alice, bob = peer.client(), peer.client()
    gone, inbox = await listening(alice, "/news"), await listening(bob, "/news")
    await soon(alice.disconnect())
    assert alice.state is State.DISCONNECTED
    await soon(bob.publish("/news", "she has left"))
    await inbox.wait(1)
    assert gone.data == []


@client_test
async def test_a_connect_that_was_held_to_its_end(peer: ClientTest) -> None:
    alice, bob = peer.client(), peer.client()
    states: list[State] = []
    alice.on_state(lambda new, old: states.append(new))
    inbox = await listening(alice, "/news")
    ended: Deferred[None] = Deferred()
    reactor.callLater(HOLD + 1, ended.callback, None)  # type: ignore[attr-defined]
    await ended
    await soon(bob.publish("/news", "after"))
    assert await inbox.wait(1) == ["after"]
    assert states == [State.HANDSHAKING, State.CONNECTING, State.CONNECTED]


@client_test
async def test_the_shipped_extensions_go_with_every_server(peer: ClientTest) -> None:
    ack = Ack()
    alice = peer.client(extensions=[ack, Replay(), TimeSync()])
    bob = peer.client()
    inbox = await listening(alice, "/news")
    await soon(gatherResults([bob.publish("/news", number) for number in range(50)]))
    assert await inbox.wait(50) == list(range(50))
    assert ack.enabled or peer.kind != "txbayeux"


BEST = {"cometd-node": "long-polling"}


@pytest.mark.parametrize(
    "peer",
    [(kind, "websocket") for kind in dict(COMBINATIONS)],
    ids=lambda pair: pair[0],
    indirect=True,
)
@client_test
async def test_the_best_that_both_have_is_found(peer: ClientTest) -> None:
    alice = Client(peer.server.url, reactor=reactor)
    peer.clients.append(alice)
    inbox = await listening(alice, "/news")
    await soon(alice.publish("/news", 1))
    assert await inbox.wait(1) == [1]
    assert alice.transport == BEST.get(peer.kind, "websocket")


@pytest.mark.parametrize("end", ["kill", "stop"])
@pytest.mark.parametrize("peer", COMBINATIONS, ids="-".join, indirect=True)
@pytest_twisted.ensureDeferred
async def test_recovery_after_a_restart(peer: ClientTest, end: str) -> None:
    alice, bob = peer.client(), peer.client()
    try:
        inbox = await listening(alice, "/news", "/other/**")
        await soon(bob.publish("/news", "before"))
        await inbox.wait(1)
        in_flight = [bob.publish("/news", number) for number in range(20)]
        await deferToThread(getattr(peer.server, end))
        waiting = [alice.publish("/other/news", number) for number in range(20)]
        await deferToThread(peer.server.start)
        for publishing in (*in_flight, *waiting):
            reply = await soon(publishing)
            assert reply["successful"] is True
        await soon(bob.publish("/other/end", "end"))
        await soon(bob.publish("/news", "after"))
        while "after" not in inbox.data:
            await inbox.wait(len(inbox.messages) + 1)
        # Her own came behind her subscriptions: all of them, once, in order.
        ours = [m["data"] for m in inbox.messages if m["channel"] == "/other/news"]
        assert ours == list(range(20))
    finally:
        for client in peer.clients:
            await soon(client.disconnect())
