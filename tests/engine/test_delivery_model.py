"""A model of which messages each session receives, whichever node its requests reach.

It is compared with the engine in memory, and with three nodes on Redis, which may
freeze.  What a session holds meanwhile in one engine is in test_session_model.py.
"""

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
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

from tests.engine.freezing import FreezingReactor
from tests.engine.redis_harness import pause
from tests.engine.redis_parts import (
    caught_up,
    checkpoints_of,
    node_id,
)
from tests.engine.redis_server import RedisServer
from txbayeux.engine.memory import MemoryEngine
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.engine.redis.location import parse
from txbayeux.events import Reason
from txbayeux.interfaces import Delivery, Engine
from txbayeux.message import encode
from txbayeux.testing import RecordingObserver

CHANNELS = ["/a/x", "/a/y", "/b"]
PATTERNS = ["/a/x", "/a/*", "/b", "/**"]


class MemoryService:
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


class RedisService:
    """Three nodes on Redis: each step goes to any of them."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        # No connection to Redis breaks here: a message that is given back meanwhile may
        # be repeated.
        self.options = RedisOptions(
            namespace=f"model-{secrets.token_hex(4)}", reply_timeout=600.0
        )
        self.reactors = [FreezingReactor(reactor) for _ in range(3)]
        self.engines = [
            RedisEngine(clock, parse(server.url), options=self.options)
            for clock in self.reactors
        ]

    def start(self) -> None:
        for engine in self.engines:
            self.call(partial(engine.start, RecordingObserver()))
        for engine in self.engines:
            self.wait_until_ready(engine)

    def wait_until_ready(self, engine: RedisEngine) -> None:
        while not engine.ready():
            self.call(lambda: pause(0.01))

    def call(self, operation: Callable[[], Any]) -> Any:
        # Hypothesis runs in a thread of its own, the engines in the reactor's.
        return blockingCallFromThread(reactor, operation)

    def settle(self) -> None:
        """Wait until every working node has dispatched what Redis has sent to it."""
        for engine, clock in zip(self.engines, self.reactors, strict=True):
            if not clock.frozen:
                self.call(partial(caught_up, engine))
        self.call(lambda: pause(0))

    def freeze(self, number: int) -> None:
        """Freeze a node after a checkpoint, and make it count as dead."""
        # It may be reconnecting: it read no reply while it was frozen before.
        self.wait_until_ready(self.engines[number])
        checkpoints = checkpoints_of(self.engines[number])
        for _ in range(2):
            # The second one writes the state at the first.
            self.call(checkpoints.write)
        self.call(checkpoints.mark)
        self.call(self.reactors[number].freeze)
        # Long enough ago to count as dead, and not so long that it is forgotten.
        client: Any = self.server.client
        last = int(client.hget(self.key(number), "heartbeat"))
        client.hset(self.key(number), "heartbeat", last - 10_000)
        self.frozen_at = last

    def key(self, number: int) -> str:
        """Return the key of a node in Redis."""
        [key] = self.server.client.keys(f"*:node:{node_id(self.engines[number])}")  # type: ignore[misc]
        return str(key.decode())

    def wait_until_alive(self, number: int) -> None:
        """Wait until a node has sent a heartbeat since it was frozen."""
        client: Any = self.server.client
        while int(client.hget(self.key(number), "heartbeat")) < self.frozen_at:
            self.call(lambda: pause(0.01))

    def thaw(self, number: int, *, timers_first: bool) -> None:
        clock = self.reactors[number]
        elapsed = self.options.dead_after
        self.call(partial(clock.thaw, elapsed=elapsed, timers_first=timers_first))

    def stop(self) -> None:
        for engine in self.engines:
            self.call(engine.stop)


class Client:
    """The messages that one session should receive."""

    def __init__(self, session: str, *, acknowledges: bool) -> None:
        self.session = session
        self.acknowledges = acknowledges
        self.patterns: set[str] = set()
        self.due: list[int] = []
        """All messages for the session, in order."""
        self.done = 0
        """The number of these that it has received for good."""
        self.told: dict[int, int] = {}
        """For each position sent to it, the number of messages sent until then."""

    def matches(self, channel: str) -> bool:
        matching = {channel, "/**"} | ({"/a/*"} if channel.startswith("/a/") else set())
        return bool(self.patterns & matching)


class DeliveryMachine(RuleBasedStateMachine):
    """Alice and Bob acknowledge, Carol and Dave do not."""

    service: Any

    @initialize()
    def begin(self) -> None:
        self.number = 0
        self.clients = [
            Client(self.do(0, "create_session", acknowledges=n < 2), acknowledges=n < 2)
            for n in range(4)
        ]

    def do(self, engine: int, operation: str, *arguments: Any, **options: Any) -> Any:
        engines = self.service.engines
        call = getattr(engines[engine % len(engines)], operation)
        return self.service.call(partial(call, *arguments, **options))

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
        self.service.call(delivery.give_back)
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
        # A client whose answer was lost does not know the position in it.
        if not lost:
            client.told[delivery.acknowledgement] = len(client.due)

    def connect(self, at: int, client: Client, **options: Any) -> Delivery:
        self.service.settle()
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


class FreezingMachine(DeliveryMachine):
    """At most two of the three nodes are frozen, and then count as dead.

    A node that resumes still believes that it owns its sessions, has not read its feed,
    and has not noticed broken connections.
    """

    service: RedisService

    @initialize()
    def begin(self) -> None:
        super().begin()
        for who in range(4):
            self.subscribe(who, who, {"/a/x"})
        self.unnoticed: list[tuple[Client, int, list[int], Delivery, int]] = []

    def working(self, at: int) -> int:
        """Return the first node from ``at`` on that is not frozen."""
        frozen = [clock.frozen for clock in self.service.reactors]
        return next(n % 3 for n in range(at, at + 3) if not frozen[n % 3])

    def do(self, engine: int, operation: str, *arguments: Any, **options: Any) -> Any:
        return super().do(self.working(engine), operation, *arguments, **options)

    @rule(
        at=st.integers(0, 2),
        who=st.integers(0, 3),
        what=st.sets(st.sampled_from(PATTERNS)),
    )
    def unsubscribe(self, at: int, who: int, what: set[str]) -> None:
        # After a node died, older messages are selected by the present subscriptions.
        client = self.clients[who]
        if client.done == len(client.due):
            super().unsubscribe(at, who, what)

    @rule(number=st.integers(0, 2), moving=st.sets(st.integers(0, 3)))
    def freeze(self, number: int, moving: set[int]) -> None:
        """Freeze a node, and let some clients receive messages elsewhere."""
        frozen = [clock.frozen for clock in self.service.reactors]
        if sum(frozen) == 2 or frozen[number]:
            return
        self.service.settle()
        self.service.freeze(number)
        self.publish(number, "/a/x", 2)
        for who in moving:
            if self.clients[who].acknowledges:
                self.poll_and_acknowledge(number, who, lost=False, says="last")
            else:
                self.poll(number, who)

    @rule(
        number=st.integers(0, 2),
        timers_first=st.booleans(),
        who=st.none() | st.integers(2, 3),
    )
    def thaw(self, number: int, timers_first: bool, who: int | None) -> None:
        if not self.service.reactors[number].frozen:
            return
        self.service.thaw(number, timers_first=timers_first)
        if who is not None:
            # Before it has read any notice.
            client = self.clients[who]
            found = data(self.do(number, "connect", client.session, hold=0))
            assert found == client.due[client.done :][: len(found)]
            client.done += len(found)
        self.service.wait_until_alive(number)

    @rule(at=st.integers(0, 2), who=st.integers(2, 3))
    def poll_and_lose_the_connection(self, at: int, who: int) -> None:
        client, node = self.clients[who], self.working(at)
        delivery = self.connect(node, client)
        numbers = data(delivery)
        assert numbers == client.due[client.done :]
        client.done = len(client.due)
        self.unnoticed.append((client, node, numbers, delivery, client.done))

    @rule(at=st.integers(0, 2))
    def notice_a_lost_connection(self, at: int) -> None:
        for one in self.unnoticed:
            client, node, numbers, delivery, done = one
            # A checkpoint has no gaps: messages after it would be repeated.
            if not self.service.reactors[node].frozen and client.done == done:
                self.unnoticed.remove(one)
                self.service.call(delivery.give_back)
                self.receive(at, client, numbers + client.due[client.done :])
                return

    def receive(self, at: int, client: Client, expected: list[int]) -> None:
        """Poll until all messages arrived, in any order: some pass other nodes."""
        client.done = len(client.due)
        found: list[int] = []
        for _ in range(3000):
            found += data(self.connect(at, client))
            if len(found) >= len(expected):
                break
            self.service.call(lambda: pause(0.02))
        assert sorted(found) == sorted(expected)

    def teardown(self) -> None:
        for number, clock in enumerate(self.service.reactors):
            if clock.frozen:
                self.service.thaw(number, timers_first=False)
                self.service.wait_until_alive(number)
        super().teardown()


def run_machine(
    machine: type[DeliveryMachine],
    service: MemoryService | RedisService,
) -> None:
    class Test(machine):  # type: ignore[misc,valid-type]
        pass

    Test.service = service
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


def test_messages_in_memory_are_those_of_the_model() -> None:
    service = MemoryService()
    run_machine(DeliveryMachine, service)
    service.stop()


@pytest.mark.parametrize("machine", [DeliveryMachine, FreezingMachine])
def test_messages_on_redis_are_those_of_the_model(
    redis_server: RedisServer, machine: type[DeliveryMachine]
) -> Deferred[None]:
    service = RedisService(redis_server)

    def work() -> None:
        service.start()
        try:
            run_machine(machine, service)
        finally:
            service.stop()

    return deferToThread(work)
