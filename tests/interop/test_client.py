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

from txbayeux.client import Client, State
from txbayeux.errors import BayeuxError
from txbayeux.extensions import Ack, Replay, TimeSync

from . import servers, tools
from .puppet import DEADLINE
from .scenarios import DATA
from .servers import Server

CASTS = [
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


class Play:
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


@pytest.fixture(params=CASTS, ids="-".join)
def play(
    request: pytest.FixtureRequest,
    peers: dict[str, Server],
    tmp_path_factory: pytest.TempPathFactory,
) -> Play:
    kind, transport = request.param
    if kind not in peers:
        peers[kind] = _make(kind, tmp_path_factory.mktemp(kind))
    if not peers[kind].alive:
        peers[kind].start()
    return Play(peers[kind], kind, transport)


def played(
    test: Callable[[Play], Coroutine[Any, Any, None]],
) -> Callable[[Play], Any]:
    """Run a test in the reactor; afterwards nothing of its clients may be left."""

    async def run(play: Play) -> None:
        with leaving_nothing():
            try:
                await test(play)
            finally:
                for client in play.clients:
                    await soon(client.disconnect())

    run.__name__ = test.__name__
    decorated: Callable[[Play], Any] = pytest_twisted.ensureDeferred(run)
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


@played
async def test_publish_with_its_reply(play: Play) -> None:
    alice, bob = play.client(), play.client()
    inbox = await listening(alice, "/chat/room")
    for client, text in ((bob, "hello"), (alice, "welcome")):
        reply = await soon(client.publish("/chat/room", {"text": text}))
        assert reply["successful"] is True
    got = await inbox.wait(2)
    assert sorted(data["text"] for data in got) == ["hello", "welcome"]
    assert alice.transport == play.transport
    assert alice.state is State.CONNECTED


@played
async def test_wildcards(play: Play) -> None:
    alice, bob = play.client(), play.client()
    inbox = await listening(alice, "/wild/*")
    deep = await listening(alice, "/wild/a/**")
    for name in ("", "/one", "/a/b", "/a/b/c", "er/one", "/end"):
        await soon(bob.publish(f"/wild{name}", name))
    assert await inbox.wait(2) == ["/one", "/end"]
    assert await deep.wait(2) == ["/a/b", "/a/b/c"]


@played
async def test_200_messages_in_order(play: Play) -> None:
    alice, bob = play.client(), play.client()
    inbox = await listening(alice, "/order")
    replies = await soon(
        gatherResults([bob.publish("/order", number) for number in range(200)])
    )
    assert all(reply["successful"] for reply in replies)
    assert await inbox.wait(200) == list(range(200))


@played
async def test_300_kilobytes(play: Play) -> None:
    alice, bob = play.client(), play.client()
    inbox = await listening(alice, "/large")
    text = "".join(f"{number:07} *\n" for number in range(30_000))
    sender = bob if play.transport != "callback-polling" else None
    if sender is None:  # a URL does not hold as much
        sender = Client(play.server.url, transports=["long-polling"])
        play.clients.append(sender)
    await soon(sender.publish("/large", {"text": text}))
    await soon(sender.publish("/large", "end"))
    assert await inbox.wait(2) == [{"text": text}, "end"]


@played
async def test_data_arrives_as_it_was(play: Play) -> None:
    alice = play.client()
    inbox = await listening(alice, "/data")
    for data in DATA:
        await soon(alice.publish("/data", data))
    assert await inbox.wait(len(DATA)) == DATA


@played
async def test_refusal_by_an_extension(play: Play) -> None:
    alice = play.client()
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


@played
async def test_refused_handshake(play: Play) -> None:
    mallory = play.client(ext={"refuse": True})
    with pytest.raises(BayeuxError) as caught:
        await soon(mallory.connect())
    assert caught.value.code == 403
    assert mallory.state is State.REFUSED


@played
async def test_unsubscribe(play: Play) -> None:
    alice, bob = play.client(), play.client()
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


@played
async def test_disconnect_ends_the_session(play: Play) -> None:
    alice, bob = play.client(), play.client()
    gone, inbox = await listening(alice, "/news"), await listening(bob, "/news")
    await soon(alice.disconnect())
    assert alice.state is State.DISCONNECTED
    await soon(bob.publish("/news", "she has left"))
    await inbox.wait(1)
    assert gone.data == []


@played
async def test_a_connect_that_was_held_to_its_end(play: Play) -> None:
    alice, bob = play.client(), play.client()
    states: list[State] = []
    alice.on_state(lambda new, old: states.append(new))
    inbox = await listening(alice, "/news")
    ended: Deferred[None] = Deferred()
    reactor.callLater(HOLD + 1, ended.callback, None)  # type: ignore[attr-defined]
    await ended
    await soon(bob.publish("/news", "after"))
    assert await inbox.wait(1) == ["after"]
    assert states == [State.HANDSHAKING, State.CONNECTING, State.CONNECTED]


@played
async def test_the_shipped_extensions_go_with_every_server(play: Play) -> None:
    ack = Ack()
    alice = play.client(extensions=[ack, Replay(), TimeSync()])
    bob = play.client()
    inbox = await listening(alice, "/news")
    await soon(gatherResults([bob.publish("/news", number) for number in range(50)]))
    assert await inbox.wait(50) == list(range(50))
    assert ack.enabled or play.kind != "txbayeux"


BEST = {"cometd-node": "long-polling"}


@pytest.mark.parametrize(
    "play",
    [(kind, "websocket") for kind in dict(CASTS)],
    ids=lambda cast: cast[0],
    indirect=True,
)
@played
async def test_the_best_that_both_have_is_found(play: Play) -> None:
    alice = Client(play.server.url, reactor=reactor)
    play.clients.append(alice)
    inbox = await listening(alice, "/news")
    await soon(alice.publish("/news", 1))
    assert await inbox.wait(1) == [1]
    assert alice.transport == BEST.get(play.kind, "websocket")


@pytest.mark.parametrize("end", ["kill", "stop"])
@pytest.mark.parametrize("play", CASTS, ids="-".join, indirect=True)
@pytest_twisted.ensureDeferred
async def test_recovery_after_a_restart(play: Play, end: str) -> None:
    alice, bob = play.client(), play.client()
    try:
        inbox = await listening(alice, "/news", "/other/**")
        await soon(bob.publish("/news", "before"))
        await inbox.wait(1)
        in_flight = [bob.publish("/news", number) for number in range(20)]
        await deferToThread(getattr(play.server, end))
        waiting = [alice.publish("/other/news", number) for number in range(20)]
        await deferToThread(play.server.start)
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
        for client in play.clients:
            await soon(client.disconnect())
