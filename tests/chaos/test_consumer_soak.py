"""No event is skipped in 10,000 events and 20 kills of the consuming program."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_twisted
from twisted.internet import reactor as default_reactor
from twisted.internet.task import deferLater

from tests.chaos.consumer import CHANNEL
from tests.chaos.durable import DurableServer

pytestmark = pytest.mark.chaos
reactor: Any = default_reactor

EVENTS: Final = 10_000
KILLS: Final = 20
DEADLINE: Final = 120.0
SEED: Final = 20


class Consumer:
    """The program, which is started again after each kill, and what it wrote."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._directory = directory
        self._arguments = arguments
        self._record = directory / "record"
        self._record.touch()
        self._process: subprocess.Popen[bytes] | None = None
        self._read = 0
        self.begun: list[list[int]] = []
        """The events that work began on, for each start of the program."""
        self.ended: list[list[int]] = []
        self.finished: set[int] = set()

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.chaos.consumer", *self._arguments]
        self.begun.append([])
        self.ended.append([])
        self._process = subprocess.Popen([*command, str(self._directory)])

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.read()

    def read(self) -> None:
        """Read what was recorded since the last call."""
        with self._record.open() as lines:
            lines.seek(self._read)
            text = lines.read()
        text = text[: text.rfind("\n") + 1]
        self._read += len(text)
        for line in text.splitlines():
            what, number = line.split()
            (self.begun if what == "begin" else self.ended)[-1].append(int(number))
        self.finished.update(self.ended[-1])

    def check(self, how: str) -> str:
        """Check that each start began where work had stopped; return some numbers."""
        in_work = again = 0
        finished: set[int] = set()
        lives = [life for life in zip(self.begun, self.ended, strict=True) if life[0]]
        for (begun, ended), (begun_next, _) in pairwise(lives):
            finished.update(ended)
            unfinished = set(begun) - finished
            in_work += len(unfinished)
            again += len(finished.intersection(begun_next))
            # In order, and all that was in work at the kill again.
            assert begun_next == list(range(begun_next[0], begun_next[-1] + 1))
            assert begun_next[0] <= min(unfinished, default=begun[-1] + 1)
            if how == "iterator":  # which works on one event after the other
                assert begun_next[0] >= max(finished)
        assert in_work
        return (
            f"{len(lives)} starts, {in_work} events in work at a kill, "
            f"{again} repeated although they were finished"
        )

    async def wait_until_finished(self, count: int) -> None:
        """Wait until so many events are finished, and work has begun on one more."""
        end = reactor.seconds() + DEADLINE
        while len(self.finished) < count or not self.begun[-1]:
            assert self._process is not None
            assert self._process.poll() is None, "the program has ended"
            assert reactor.seconds() < end, f"{len(self.finished)} events finished"
            await deferLater(reactor, 0.005, lambda: None)
            self.read()


@pytest.mark.parametrize(
    ("transport", "how"), [("long-polling", "iterator"), ("websocket", "listener")]
)
@pytest_twisted.ensureDeferred
async def test_no_event_is_skipped_when_the_consumer_is_killed(
    tmp_path: Path, transport: str, how: str
) -> None:
    chance = random.Random(SEED)
    server = DurableServer(CHANNEL, EVENTS)
    consumer = Consumer(tmp_path, server.url(transport), transport, how)
    try:
        for count in sorted(chance.sample(range(EVENTS * 9 // 10), KILLS)):
            consumer.start()
            await consumer.wait_until_finished(count)
            await deferLater(reactor, chance.uniform(0, 0.02), lambda: None)
            consumer.kill()
        consumer.start()
        await consumer.wait_until_finished(EVENTS)
    finally:
        consumer.kill()
        await server.stop()

    assert consumer.finished == set(range(1, EVENTS + 1))
    print(f"{transport}, {how}: {consumer.check(how)}")  # shown with -s
