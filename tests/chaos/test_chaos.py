"""Processes are killed and frozen while messages flow; a checker knows every one.

Seeds are fixed.  The tally that each test prints says what was published,
confirmed and received.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.clients import END, Publisher, SocketSubscriber, Subscriber
from tests.chaos.fleet import Fleet, Front
from tests.engine.redis_server import RedisServer

pytestmark = pytest.mark.chaos


class Stage:
    """A fleet, a publisher, three subscribers that acknowledge, three that do not."""

    def __init__(self, folder: Path, seed: int, kind: type[Subscriber]) -> None:
        self.fleet = Fleet(folder, 3)
        self.random = random.Random(seed)
        self.publishers = [Publisher(self.fleet.ports, seed)]
        self.subscribers = [
            kind(self.fleet.ports, seed + n, acknowledges=n % 2 == 0)
            for n in range(1, 7)
        ]

    def play(self, *acts: Callable[[], None]) -> None:
        for subscriber in self.subscribers:
            subscriber.start()
        for subscriber in self.subscribers:
            assert subscriber.ready.wait(30), subscriber.failure
        (publisher,) = self.publishers
        publisher.start()
        for act in acts:
            time.sleep(self.random.uniform(0.5, 1.5))
            act()
        time.sleep(1)
        publisher.stopped.set()
        publisher.join(30)
        for subscriber in self.subscribers:
            subscriber.join(30)
        self.check(publisher)

    def check(self, publisher: Publisher) -> None:
        confirmed, unsure = set(publisher.confirmed), set(publisher.unsure)
        print(f"\nconfirmed {len(confirmed)}, not known {len(unsure)}")
        for one in self.subscribers:
            counted = Counter(one.received)
            doubled = sum(counted.values()) - len(counted)
            lost = sorted(confirmed - set(counted))
            kind = "acknowledges" if one.acknowledges else "does not    "
            print(
                f"{kind}: received {len(one.received)}, lost {len(lost)}, "
                f"doubled {doubled}, requests broken {one.broken}, "
                f"handshakes {one.handshakes}"
            )
            assert one.failure is None, one.failure
            assert not one.is_alive(), f"never saw the end: {one.received[-3:]}"
            assert lost == []
            assert set(counted) - {END} <= confirmed | unsure
            assert one.handshakes == 1
            if one.acknowledges:
                assert doubled == 0
        orders = [one.received for one in self.subscribers if one.acknowledges]
        assert all(order == orders[0] for order in orders)
        assert len(confirmed) > 100


@pytest.fixture
def stage(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stage]:
    stage = Stage(tmp_path, seed=4, kind=getattr(request, "param", Subscriber))
    yield stage
    stage.fleet.stop()
    for front in stage.fleet.fronts:
        print(f"--- {front.log.name}")
        print(front.log.read_text()[-2000:])


@pytest.mark.parametrize("stage", [Subscriber, SocketSubscriber], indirect=True)
def test_front_ends_are_killed(stage: Stage) -> None:
    fleet = stage.fleet
    stage.play(*(lambda n=n: fleet.restart_front(n % 3, 0.3) for n in range(5)))
    for one in stage.subscribers:
        # What had been sent just before: no front-end can know of all that it was.
        (_, most), *_ = Counter(one.received).most_common(1)
        assert most <= 1 + fleet.kills


def test_redis_is_restarted(stage: Stage) -> None:
    fleet = stage.fleet
    stage.play(*(lambda: fleet.restart_redis(0.5) for _ in range(4)))


def test_redis_is_frozen(stage: Stage) -> None:
    fleet = stage.fleet
    stage.play(*(lambda s=s: fleet.freeze_redis(s) for s in (0.5, 2.0, 7.0)))


@pytest.mark.parametrize("stage", [Subscriber, SocketSubscriber], indirect=True)
def test_front_ends_are_frozen(stage: Stage) -> None:
    fleet = stage.fleet
    times = (0.6, 1.2, 2.5, 4.5, 1.2, 0.9)
    stage.play(
        *(lambda n=n, s=s: fleet.fronts[n % 3].freeze(s) for n, s in enumerate(times))
    )


def test_everything_at_once(stage: Stage) -> None:
    fleet, chance = stage.fleet, stage.random

    def something() -> None:
        act = chance.choice(
            [
                lambda: fleet.restart_front(chance.randrange(3), 0.2),
                lambda: fleet.restart_redis(0.3),
                lambda: fleet.freeze_redis(chance.uniform(0.2, 3)),
            ]
        )
        act()

    stage.play(*(something for _ in range(8)))


def test_a_front_end_without_redis_says_so_and_waits_for_it(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    front = Front(tmp_path, redis.url)
    try:
        front.start()
        front.wait("503")
        said = f"{redis.socket}) is out of reach, trying again"
        assert said in front.log.read_text()
        answer = Publisher([front.port], 1).post({"channel": "/a", "data": 1})
        assert answer is not None
        assert answer[0]["error"] == "503::Service temporarily unavailable"
        redis.start()
        front.wait("200")
        assert "Redis is there" in front.log.read_text()
    finally:
        front.kill()
        redis.stop()
