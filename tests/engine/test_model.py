"""Sessions, cursors and acknowledgement against a plain model, for both engines."""

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.threads import blockingCallFromThread, deferToThread

from tests.engine.redis_harness import pause
from tests.engine.redis_server import RedisServer
from txbayeux.engine.memory import MemoryEngine
from txbayeux.engine.redis import RedisEngine
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery, Engine
from txbayeux.message import encode
from txbayeux.testing import RecordingObserver

CHANNELS = ["/a/x", "/a/y", "/b"]
PATTERNS = ["/a/x", "/a/*", "/b", "/**"]


class Memory:
    """One engine, on a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.engines: Sequence[Engine] = [MemoryEngine(self.clock)]
        self.call(lambda: self.engines[0].start(RecordingObserver()))

    def call(self, operation: Callable[[], Any]) -> Any:
        found: list[Any] = []
        outcome = operation()
        if isinstance(outcome, Deferred):
            outcome.addCallback(found.append)
            return found[0]
        return outcome

    def settle(self) -> None:
        self.clock.advance(0)

    def stop(self) -> None:
        self.call(self.engines[0].stop)


class Shared:
    """Three front-ends on Redis: each step is taken at any of them."""

    def __init__(self, server: RedisServer) -> None:
        namespace = f"model-{secrets.token_hex(4)}"
        self.engines = [
            RedisEngine.from_url(reactor, server.url, namespace=namespace)
            for _ in range(3)
        ]

    def start(self) -> None:
        for engine in self.engines:
            self.call(partial(engine.start, RecordingObserver()))
        while not all(engine.ready() for engine in self.engines):
            self.call(lambda: pause(0.01))

    def call(self, operation: Callable[[], Any]) -> Any:
        # Hypothesis works in a thread of its own, the engines in the reactor's.
        return blockingCallFromThread(reactor, operation)

    def settle(self) -> None:
        """Wait until every front-end has read all that any of them was told of."""
        readers = [engine._node.reader for engine in self.engines]
        known = max(reader._known for reader in readers)
        for reader in readers:
            self.call(partial(reader.reached, known))
        self.call(lambda: pause(0))

    def stop(self) -> None:
        for engine in self.engines:
            self.call(engine.stop)


class Client:
    """What one session should get, kept as simply as can be."""

    def __init__(self, session: str, *, acknowledges: bool) -> None:
        self.session = session
        self.acknowledges = acknowledges
        self.patterns: set[str] = set()
        self.due: list[int] = []
        """All that was published for it, in order."""
        self.done = 0
        """How much of that it got for good."""
        self.told: dict[int, int] = {}
        """How much had been sent when it was told a position."""

    def matches(self, channel: str) -> bool:
        matching = {channel, "/**"} | ({"/a/*"} if channel.startswith("/a/") else set())
        return bool(self.patterns & matching)


class Machine(RuleBasedStateMachine):
    """Alice and Bob acknowledge, Carol and Dave do not."""

    world: Any

    @initialize()
    def begin(self) -> None:
        self.number = 0
        self.clients = [
            Client(self.do(0, "create_session", acknowledges=n < 2), acknowledges=n < 2)
            for n in range(4)
        ]

    def do(self, engine: int, operation: str, *arguments: Any, **options: Any) -> Any:
        engines = self.world.engines
        call = getattr(engines[engine % len(engines)], operation)
        return self.world.call(partial(call, *arguments, **options))

    @rule(
        at=st.integers(0, 2),
        who=st.integers(0, 3),
        what=st.sets(st.sampled_from(PATTERNS)),
    )
    def subscribe(self, at: int, who: int, what: set[str]) -> None:
        client = self.clients[who]
        new = self.do(at, "subscribe", client.session, sorted(what))
        assert set(new) == what - client.patterns
        client.patterns |= what

    @rule(
        at=st.integers(0, 2),
        who=st.integers(0, 3),
        what=st.sets(st.sampled_from(PATTERNS)),
    )
    def unsubscribe(self, at: int, who: int, what: set[str]) -> None:
        client = self.clients[who]
        gone = self.do(at, "unsubscribe", client.session, sorted(what))
        assert set(gone) == what & client.patterns
        client.patterns -= what

    @rule(
        at=st.integers(0, 2), channel=st.sampled_from(CHANNELS), count=st.integers(1, 3)
    )
    def publish(self, at: int, channel: str, count: int) -> None:
        for _ in range(count):
            self.number += 1
            text = encode({"channel": channel, "data": self.number})
            self.do(at, "publish", channel, text)
            for client in self.clients:
                if client.matches(channel):
                    client.due.append(self.number)

    @rule(at=st.integers(0, 2), who=st.integers(0, 3))
    def deliver(self, at: int, who: int) -> None:
        self.number += 1
        client = self.clients[who]
        text = encode({"channel": "/s", "data": self.number})
        self.do(at, "deliver", client.session, "/s", text)
        client.due.append(self.number)

    @rule(at=st.integers(0, 2), who=st.integers(2, 3))
    def poll(self, at: int, who: int) -> None:
        client = self.clients[who]
        delivery = self.connect(at, client)
        assert data(delivery) == client.due[client.done :]
        client.done = len(client.due)

    @rule(at=st.integers(0, 2), who=st.integers(2, 3))
    def poll_by_a_dead_connection(self, at: int, who: int) -> None:
        client = self.clients[who]
        delivery = self.connect(at, client)
        assert data(delivery) == client.due[client.done :]
        self.world.call(delivery.give_back)
        self.poll(at, who)

    @rule(
        at=st.integers(0, 2),
        who=st.integers(0, 1),
        lost=st.booleans(),
        says=st.sampled_from(["last", "first", "nothing", "nonsense"]),
    )
    def poll_and_acknowledge(self, at: int, who: int, lost: bool, says: str) -> None:
        client = self.clients[who]
        told = sorted(client.told)
        position = {
            "last": told[-1] if told else None,
            "first": told[0] if told else -1,
            "nothing": None,
            "nonsense": -(2**70),
        }[says]
        delivery = self.connect(at, client, acknowledged=position)
        if position is not None and position in client.told:
            client.done = max(client.done, client.told[position])
        assert data(delivery) == client.due[client.done :]
        assert delivery.acknowledgement is not None
        # A client whose answer was lost does not know the position it was told.
        if not lost:
            client.told[delivery.acknowledgement] = len(client.due)

    def connect(self, at: int, client: Client, **options: Any) -> Delivery:
        self.world.settle()
        delivery: Delivery = self.do(at, "connect", client.session, hold=0, **options)
        assert not delivery.superseded
        return delivery

    def teardown(self) -> None:
        for client in getattr(self, "clients", ()):
            if not client.acknowledges:
                assert data(self.connect(1, client)) == client.due[client.done :]
            self.do(2, "destroy_session", client.session, Reason.CLIENT)


def data(delivery: Delivery) -> list[int]:
    return [entry.message()["data"] for entry in delivery.entries]


def play(world: Memory | Shared) -> None:
    class Test(Machine):
        pass

    Test.world = world
    run_state_machine_as_test(
        Test,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_sessions_in_memory_get_what_the_model_says() -> None:
    world = Memory()
    play(world)
    world.stop()


def test_sessions_on_redis_get_what_the_model_says(
    redis_server: RedisServer,
) -> Deferred[None]:
    world = Shared(redis_server)

    def work() -> None:
        world.start()
        try:
            play(world)
        finally:
            world.stop()

    return deferToThread(work)
