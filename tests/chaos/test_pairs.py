"""One-to-one traffic on 500 channels, while nodes and Redis are killed and frozen.

Each node gets only what its own sessions want.  Nothing is lost by that: subscribers
record what they receive, sessions subscribe and unsubscribe all the time, and in the
end Redis knows exactly what the nodes want.  Seeds are fixed, and the tallies printed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.chaos.clients import END, Client
from tests.chaos.deployment import Deployment, Node
from tests.chaos.interest import State, read_state
from tests.chaos.pairs import (
    Coming,
    ComingSocket,
    Sender,
    Staying,
    StayingSocket,
    check,
)

pytestmark = pytest.mark.chaos

SEED: Final = 12
CHANNELS: Final = 500
SENDERS: Final = 9
COMING: Final = 24
REMAINING: Final = {"state", "log", "nodes", "interest", "node", "inbox", "tombstone"}
"""The keys that outlive sessions; Redis removes them after some minutes."""
SMALL: Final = 64 * 1024
"""Bytes of an output buffer that is soon full."""
LOG_BYTES: Final = 1024 * 1024
"""Bytes of a log that a frozen node soon falls behind."""


class ForgetfulNode(Node):
    options = ("--extension", "tests.chaos.forgetful:factory")


class SmallLogNode(ForgetfulNode):
    options = (*ForgetfulNode.options, "--redis-log-bytes", str(LOG_BYTES))


def until(condition: Callable[[], object], what: str | Callable[[], object]) -> None:
    """Wait for a condition; ``what`` says what is missing."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, what if isinstance(what, str) else what()
        time.sleep(0.05)


class Pairs:
    """Three nodes, a subscriber for each channel, and some for all of them.

    Senders publish to the channels of a node's subscribers on the other nodes.
    """

    def __init__(self, folder: Path, seed: int, kind: type[Node]) -> None:
        self.deployment = Deployment(folder, 3, kind)
        self.random = random.Random(seed)
        self.faults = 0
        ports = self.deployment.ports
        names = [f"/pairs/{number}" for number in range(CHANNELS)]
        self.senders = [
            Sender([p for p in ports if p != ports[n % 3]], n, names[n::SENDERS])
            for n in range(SENDERS)
        ]
        self.subscribers = [
            self.subscriber([Staying, StayingSocket][n // 3 % 2], n, to, n // 6 % 2)
            for n, to in enumerate(names)
        ]
        self.following = self.subscriber(StayingSocket, 0, "/pairs/*", False)
        self.everywhere = [
            self.following,
            self.subscriber(StayingSocket, 1, "/pairs/**", True),
            self.subscriber(Staying, 2, "/pairs/*", True),
            self.subscriber(Staying, 0, "/**", True),
        ]
        self.coming = [
            self.subscriber(
                [Coming, ComingSocket][n // 3 % 2], n, f"/coming/{n // 2}", n // 6 % 2
            )
            for n in range(COMING)
        ]

    def subscriber(self, kind: type[Any], number: int, to: str, acks: Any) -> Any:
        """Return a subscriber whose first node is the one with this number."""
        ports = self.deployment.ports
        return kind(
            ports,
            self.random.randrange(2**30),
            acknowledges=bool(acks),
            home=ports[number % 3],
            to=to,
        )

    @property
    def receivers(self) -> list[Staying]:
        return [*self.subscribers, *self.everywhere]

    @property
    def clients(self) -> list[Client]:
        return [*self.senders, *self.receivers, *self.coming]

    def start(self) -> None:
        for one in [*self.receivers, *self.coming]:
            one.start()
        for one in [*self.receivers, *self.coming]:
            assert one.ready.wait(120), one.failure
        for sender in self.senders:
            sender.start()

    def run(self, *faults: Callable[[], None]) -> None:
        """Cause the faults in any order, and check what was received."""
        self.start()
        for fault in self.random.sample(faults, len(faults)):
            time.sleep(self.random.uniform(0.2, 0.8))
            begin = time.monotonic()
            fault()
            print(f"{fault.__name__}: {time.monotonic() - begin:.1f} s")
            self.faults += 1
            self.check_failures()
        self.finish()

    def finish(self) -> None:
        """Wait until everybody has received what was published."""
        time.sleep(1)
        for one in self.coming:
            one.stopping = True
        for sender in self.senders:
            sender.stopped.set()
        end = time.monotonic() + 120
        for thread in (*self.senders, *self.coming):
            thread.join(max(0, end - time.monotonic()))
            assert not thread.is_alive(), thread
        publisher = Client(self.deployment.ports, 1)
        end = time.monotonic() + 120
        while waiting := [one for one in self.receivers if one.is_alive()]:
            where = {one.subscription for one in waiting}
            assert time.monotonic() < end, f"{where} did not get the last message"
            # Again, for those that shake hands after the first one.
            for to in where:
                publisher.post({"channel": to.replace("*", "end"), "data": END})
        self.check_failures()

    def check_failures(self) -> None:
        for one in self.clients:
            if one.failure is not None:
                raise one.failure

    # Faults

    def kill(self) -> None:
        self.deployment.restart_node(self.random.randrange(3), 0.3)

    def freeze(self) -> None:
        seconds = self.random.uniform(0.3, 2)
        self.random.choice(self.deployment.nodes).freeze(seconds)

    def freeze_until_forgotten(self) -> None:
        self.until_nodes(3)
        with self.random.choice(self.deployment.nodes).frozen():
            self.until_nodes(2)

    def until_nodes(self, count: int) -> None:
        """Wait until Redis knows so many nodes."""
        until(lambda: len(self.state().nodes) == count, "dead nodes are forgotten")

    def state(self) -> State:
        return read_state(self.deployment.redis.client)

    def restart_redis(self) -> None:
        self.deployment.restart_redis(0.5)

    def empty_redis(self) -> None:
        self.deployment.empty_redis(0.3)

    def freeze_and_kill(self) -> None:
        """Kill a node while another is frozen; sessions go on at the third, or wait."""
        frozen, killed = self.random.sample(range(3), 2)
        with self.deployment.nodes[frozen].frozen():
            self.deployment.restart_node(killed, self.random.uniform(0, 2))

    def freeze_and_restart_redis(self) -> None:
        with self.random.choice(self.deployment.nodes).frozen():
            self.restart_redis()
            time.sleep(self.random.uniform(0, 1))

    def cut_feeds(self) -> None:
        for _ in range(5):
            self.deployment.redis.client.client_kill_filter(_type="pubsub")
            time.sleep(self.random.uniform(0, 0.2))

    def overflow(self) -> None:
        """Freeze a node until Redis closes its feed, whose output buffer is full."""
        with self.flooded():
            pass

    def outrun(self) -> None:
        """Freeze a node also until the log begins after what the node has read."""
        with self.flooded():
            position = self.state().log[1]
            until(lambda: self.state().log[0] > position, "the log is trimmed")

    def is_following(self) -> bool:
        """Return whether one session is subscribed to all, also after it was lost."""
        state, one = self.state(), self.following
        return one.subscription in state.sessions.get(one.session_id, ())

    @contextmanager
    def flooded(self) -> Iterator[None]:
        redis = self.deployment.redis.client

        def limit(size: int) -> None:
            redis.config_set("client-output-buffer-limit", f"pubsub {size} 0 0")

        def feeds() -> int:
            return len(redis.client_list(_type="pubsub"))

        until(self.is_following, "a node wants everything")
        until(lambda: feeds() == 3, "all nodes are there")
        limit(SMALL)
        for sender in self.senders:
            sender.padding = "x" * 5000
        [node] = [n for n in self.deployment.nodes if n.port == self.following.port]
        with node.frozen():
            until(lambda: feeds() == 2, "an output buffer is full")
            yield
        for sender in self.senders:
            sender.padding = ""
        limit(32 * 1024 * 1024)

    # Checks

    def check(self) -> None:
        for kind in (Staying, StayingSocket):
            for acknowledges in (True, False):
                self.tally(
                    [
                        one
                        for one in self.receivers
                        if type(one) is kind and one.acknowledges is acknowledges
                    ]
                )
        print(
            f"confirmed {[len(sender.confirmed) for sender in self.senders]}, "
            f"unknown {[len(sender.unknown) for sender in self.senders]}; "
            f"coming: {sum(one.turns for one in self.coming)} turns, "
            f"sessions lost in {sum(one.told for one in self.coming)}"
        )
        for one in self.receivers:
            check(one, self.senders)
            # Some of the last messages before each fault.
            assert max(one.repeated().values(), default=0) <= self.faults
        self.check_order()

    def tally(self, group: list[Staying]) -> None:
        print(
            f"{len(group)} {type(group[0]).__name__}, "
            f"acknowledges: {group[0].acknowledges}: "
            f"received {sum(len(one.received) for one in group)}, "
            f"repeated {sum(sum(one.repeated().values()) for one in group)}, "
            f"requests failed {sum(one.broken for one in group)}, "
            f"handshakes {sum(one.handshakes for one in group)}"
        )

    def check_order(self) -> None:
        """Check that subscribers of all channels see the same order."""
        numbers = [list(dict.fromkeys(one.all_numbers())) for one in self.everywhere]
        common = set(numbers[0]).intersection(*numbers)
        orders = [[item for item in each if item in common] for each in numbers]
        assert all(order == orders[0] for order in orders)

    def check_interest(self) -> None:
        """Check that Redis knows what nodes want, and nothing else."""
        self.until_nodes(3)
        until(lambda: self.differing() == {}, self.differing)
        state = self.state()
        for one in [*self.receivers, *self.coming]:
            # On a slow machine some have expired.
            channels = state.sessions.get(one.session_id, {one.subscription})
            assert channels == {one.subscription}
        for one in [*self.receivers, *self.coming]:
            one.disconnect()
        until(lambda: self.state().sessions == {}, "all sessions have ended")
        until(
            lambda: self.state().interest.keys() == self.state().nodes,
            "no node wants anything",
        )
        state = self.state()
        assert {key.partition(":")[0] for key in state.keys} <= REMAINING
        assert state.immortal == []

    def differing(self) -> dict[str, Any]:
        """Return what nodes want and what they need where that differs."""
        state = self.state()
        return {
            channel: (state.interest.get(channel), state.needed.get(channel))
            for channel in state.interest.keys() | state.needed.keys()
            if state.interest.get(channel) != state.needed.get(channel)
        }


@pytest.fixture
def pairs(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pairs]:
    pairs = Pairs(tmp_path, SEED, getattr(request, "param", ForgetfulNode))
    yield pairs
    pairs.deployment.stop()
    for node in pairs.deployment.nodes:
        print(f"--- {node.log.name}")
        print(node.log.read_text()[-3000:])


def test_nothing_is_lost_while_redis_keeps_its_data(pairs: Pairs) -> None:
    pairs.run(
        *[pairs.kill] * 2,
        *[pairs.freeze] * 2,
        *[pairs.cut_feeds] * 2,
        pairs.restart_redis,
        pairs.freeze_and_kill,
        pairs.freeze_and_restart_redis,
        pairs.freeze_until_forgotten,
        pairs.overflow,
    )
    pairs.check()
    assert all(one.handshakes == 1 for one in [*pairs.receivers, *pairs.coming])
    pairs.check_interest()


@pytest.mark.parametrize("pairs", [SmallLogNode], indirect=True)
def test_what_is_lost_is_told(pairs: Pairs) -> None:
    pairs.run(
        *[pairs.empty_redis] * 2,
        *[pairs.outrun] * 2,
        pairs.kill,
        pairs.cut_feeds,
        pairs.freeze_and_kill,
        pairs.freeze_and_restart_redis,
        pairs.freeze_until_forgotten,
    )
    pairs.check()
    assert all(one.handshakes > 1 for one in pairs.receivers)
    logs = [node.log.read_text() for node in pairs.deployment.nodes]
    assert any(f"(last for retained_bytes={LOG_BYTES})" in log for log in logs)
    pairs.check_interest()
