"""The window of the log: one read at a time, for all that need the same entries."""

from typing import Any, cast

from twisted.internet.defer import Deferred

from txbayeux.engine.redis.log import Logged
from txbayeux.engine.redis.options import RedisOptions
from txbayeux.engine.redis.window import LogWindow


class FakeCommands:
    """Redis, which replies when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []
        self.replies: list[Deferred[Any]] = []

    def run(self, script: str, first: str, last: str, most: int) -> Deferred[Any]:
        positions = [int(identity.partition("-")[0]) for identity in (first, last)]
        self.calls.append((positions[0], positions[1]))
        self.replies.append(reply := Deferred())
        return reply

    def reply(self) -> None:
        """Reply to the last call."""
        first, last = self.calls[-1]
        message = [b"c", b"/a", b"j", b"{}"]
        found = [(b"%d-7" % position, message) for position in range(first, last + 1)]
        self.replies[-1].callback(found)


class Reads:
    def __init__(self) -> None:
        self.redis = FakeCommands()
        self.window = LogWindow(cast(Any, self.redis), RedisOptions())

    def read(self, first: int, last: int) -> Deferred[list[Logged]]:
        return Deferred.fromCoroutine(self.window.read(first, last))


def positions(read: Deferred[list[Logged]]) -> list[int]:
    """Return the positions that were read; fail if there is no result."""
    return [item.position for item in cast(Any, read).result]


def test_thousands_wait_for_the_same_entries() -> None:
    reads = Reads()
    waiting = [reads.read(1, 3) for _ in range(3000)]
    reads.redis.reply()
    assert all(positions(one) == [1, 2, 3] for one in waiting)
    assert reads.redis.calls == [(1, 3)]
    last = reads.read(1, 4)
    reads.redis.reply()
    assert positions(last) == [1, 2, 3, 4]
    assert reads.redis.calls == [(1, 3), (4, 4)]


def test_reads_are_made_one_after_the_other() -> None:
    reads = Reads()
    waiting = [reads.read(n, n + 1) for n in (1, 2, 9)]
    assert reads.redis.calls == [(1, 2)]
    reads.redis.reply()
    assert reads.redis.calls == [(1, 2), (3, 3)]
    reads.redis.reply()
    assert reads.redis.calls == [(1, 2), (3, 3), (9, 10)]
    reads.redis.reply()
    assert [positions(one) for one in waiting] == [[1, 2], [2, 3], [9, 10]]


def test_those_that_fail_or_are_cancelled_do_not_hold_up_others() -> None:
    reads = Reads()
    failed, reading, cancelled, last = (reads.read(n, n) for n in (1, 5, 7, 9))
    failed.addErrback(lambda failure: failure.value)
    for one in (cancelled, reading):
        one.addErrback(lambda failure: None)
    cancelled.cancel()
    reads.redis.replies[0].errback(error := RuntimeError())
    assert cast(Any, failed).result is error
    reading.cancel()
    reads.redis.reply()
    assert positions(last) == [9]
