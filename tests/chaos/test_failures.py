"""Nodes and Redis are killed and frozen while messages flow.

The subscribers record what they receive: no confirmed message is missing, and only
those are repeated that the documentation allows.  Seeds are fixed.  Each test prints
how many messages were confirmed, received and repeated.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.clients import END, Publisher, SocketSubscriber, Subscriber
from tests.chaos.deployment import Deployment, Node
from tests.engine.redis_server import RedisServer

pytestmark = pytest.mark.chaos

KINDS: Final = [Subscriber, SocketSubscriber]
CHECKPOINTS: Final = 0.4
"""Seconds of messages that may be repeated, according to the documentation."""


class Scenario:
    """Three nodes, a publisher, and six subscribers, half of which acknowledge."""

    def __init__(self, folder: Path, seed: int, kind: type[Subscriber]) -> None:
        self.deployment = Deployment(folder, 3)
        self.random = random.Random(seed)
        self.publisher = Publisher(self.deployment.ports, seed)
        self.subscribers = [
            kind(self.deployment.ports, seed + n, acknowledges=n % 2 == 0)
            for n in range(1, 7)
        ]

    def start(self) -> None:
        for subscriber in self.subscribers:
            subscriber.start()
        for subscriber in self.subscribers:
            assert subscriber.ready.wait(120), subscriber.failure
        self.publisher.start()

    def run(self, *faults: Callable[[], None]) -> None:
        """Cause the faults one after the other, and check the received messages."""
        self.start()
        for fault in faults:
            time.sleep(self.random.uniform(0.5, 1.5))
            fault()
        self.finish()

    def finish(self) -> None:
        time.sleep(1)
        # How fast the publisher is depends on the machine.
        end = time.monotonic() + 120
        while len(self.publisher.confirmed) <= 100 and time.monotonic() < end:
            time.sleep(0.05)
        self.publisher.stopped.set()
        end = time.monotonic() + 120
        for client in (self.publisher, *self.subscribers):
            client.join(max(0, end - time.monotonic()))
        self.check()

    def check(self) -> None:
        confirmed = set(self.publisher.confirmed)
        unknown = set(self.publisher.unknown)
        print(f"\nconfirmed {len(confirmed)}, unknown {len(unknown)}")
        for one in self.subscribers:
            received = set(one.received)
            lost = sorted(confirmed - received)
            kind = "acknowledges" if one.acknowledges else "does not    "
            print(
                f"{kind}: received {len(one.received)}, lost {len(lost)}, "
                f"repeated {repeated(one)}, requests failed {one.broken}, "
                f"handshakes {one.handshakes}"
            )
            assert one.failure is None, one.failure
            assert not one.is_alive(), (
                f"did not receive the last message: {one.received[-3:]}"
            )
            assert lost == []
            assert received - {END} <= confirmed | unknown
            assert one.handshakes == 1
            if one.acknowledges:
                assert repeated(one) == 0
        orders = [one.received for one in self.subscribers if one.acknowledges]
        assert all(order == orders[0] for order in orders)
        assert len(confirmed) > 100


def repeated(subscriber: Subscriber) -> int:
    return len(subscriber.received) - len(set(subscriber.received))


@pytest.fixture
def scenario(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scenario]:
    scenario = Scenario(tmp_path, seed=4, kind=getattr(request, "param", Subscriber))
    yield scenario
    scenario.deployment.stop()
    for node in scenario.deployment.nodes:
        print(f"--- {node.log.name}")
        print(node.log.read_text()[-2000:])


@pytest.mark.parametrize("scenario", KINDS, indirect=True)
def test_nodes_are_killed(scenario: Scenario) -> None:
    deployment = scenario.deployment
    scenario.run(*(lambda n=n: deployment.restart_node(n % 3, 0.3) for n in range(5)))
    for one in scenario.subscribers:
        # The messages sent just before each kill may be repeated.
        (_, most), *_ = Counter(one.received).most_common(1)
        assert most <= 1 + deployment.kills


def test_redis_is_restarted(scenario: Scenario) -> None:
    scenario.run(*(lambda: scenario.deployment.restart_redis(0.5) for _ in range(4)))


def test_redis_is_frozen(scenario: Scenario) -> None:
    deployment = scenario.deployment
    scenario.run(*(lambda s=s: deployment.freeze_redis(s) for s in (0.5, 2.0, 7.0)))


@pytest.mark.parametrize("scenario", KINDS, indirect=True)
def test_nodes_are_frozen(scenario: Scenario) -> None:
    nodes = scenario.deployment.nodes
    times = (0.6, 1.2, 2.5, 4.5, 1.2, 0.9)
    scenario.run(
        *(lambda n=n, s=s: nodes[n % 3].freeze(s) for n, s in enumerate(times))
    )


@pytest.mark.parametrize(("frozen", "killed"), [(0, 1), (1, 0)])
@pytest.mark.parametrize("scenario", KINDS, indirect=True)
def test_a_node_is_frozen_and_then_its_successor_killed(
    scenario: Scenario, frozen: int, killed: int
) -> None:
    nodes = scenario.deployment.nodes
    first, second, other = nodes[frozen], nodes[killed], nodes[2]
    scenario.publisher.ports = [other.port]
    scenario.publisher.pause = 0.02
    for one in scenario.subscribers:
        one.ports, one.timeout = [first.port], 5.0
    scenario.start()
    time.sleep(2)
    for one in scenario.subscribers:
        one.ports = [second.port]
    first.freeze(12)
    # Its late release may arrive now, long after its sessions continued elsewhere.
    time.sleep(2)
    for one in scenario.subscribers:
        one.ports = [first.port]
    second.kill()
    time.sleep(4)
    scenario.finish()
    # Once for each of the two, and once more for a busy machine.
    most = 3 * CHECKPOINTS / scenario.publisher.pause
    assert all(repeated(one) <= most for one in scenario.subscribers)


def test_random_faults(scenario: Scenario) -> None:
    deployment, chance = scenario.deployment, scenario.random

    def fault() -> None:
        chosen = chance.choice(
            [
                lambda: deployment.restart_node(chance.randrange(3), 0.2),
                lambda: deployment.restart_redis(0.3),
                lambda: deployment.freeze_redis(chance.uniform(0.2, 3)),
            ]
        )
        chosen()

    scenario.run(*(fault for _ in range(8)))


def test_a_node_without_redis_logs_that_and_waits_for_it(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    node = Node(tmp_path, redis.url)
    try:
        node.start()
        node.wait("503")
        logged = f"Cannot use Redis (unix socket {redis.socket}), trying again"
        assert logged in node.log.read_text()
        answer = Publisher([node.port], 1).post({"channel": "/a", "data": 1})
        assert answer is not None
        assert answer[0]["error"] == "503::Service temporarily unavailable"
        redis.start()
        node.wait("200")
        assert "Connected to Redis" in node.log.read_text()
    finally:
        node.kill()
        redis.stop()
