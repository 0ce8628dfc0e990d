"""The reader of the log stops for a turn where its entries reach many sessions."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs, formatEvent

from txbayeux.engine.hub import TURN_WORK
from txbayeux.engine.redis.log import Logged
from txbayeux.engine.redis.reader import Reader
from txbayeux.log_limit import LOG_INTERVAL
from txbayeux.message import Entry

from .hub_fixture import HubFixture

SESSIONS = TURN_WORK // 2
"""Two entries for them are as many deliveries as a turn has."""


class FakeRedis:
    """A connection that remembers what was read from where, and answers when told."""

    def __init__(self) -> None:
        self.reads: list[tuple[bytes, bytes]] = []
        self.reading: Deferred[Any] | None = None
        self.rejected: list[str] = []

    def execute_command(self, *command: Any) -> Deferred[Any]:
        assert self.reading is None, "one XREAD at a time"
        self.reads.append(command[-2:])
        self.reading = Deferred()
        return self.reading

    def reject(self, error: object) -> None:
        self.rejected.append(str(error))

    def answer(self, positions: range, *notices: bytes) -> None:
        """Answer with messages at these positions of the log, and notices."""
        entries = [
            (b"%d-1" % n, [b"c", b"/a", b"j", b'{"channel":"/a"}']) for n in positions
        ]
        found = [(b"inbox", [(name, [b"k", name]) for name in notices])]
        if entries:
            found.append((b"log", entries))
        reading, self.reading = self.reading, None
        assert reading is not None
        reading.callback(found)


class ReaderFixture(HubFixture):
    """A reader, and a hub with many sessions."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions(SESSIONS)
        self.log: list[int | str] = []
        self.reader = Reader(
            self.clock,
            hub=self.hub,
            dispatch=self.logged,
            take_notice=lambda notice: self.log.append(notice["k"]),
            gap=lambda: self.log.append("gap"),
            clean=lambda: succeed(2**62),
        )
        self.reader.begin("log", "inbox", 0)
        self.redis = self.follow()

    def logged(self, item: Logged) -> None:
        assert isinstance(item, Entry)
        self.log.append(item.position)
        self.hub.dispatch(item)

    def follow(self) -> FakeRedis:
        redis = FakeRedis()
        self.reader.follow(redis)
        return redis


@pytest.fixture
def fixture() -> ReaderFixture:
    return ReaderFixture()


def test_a_turn_dispatches_a_bounded_number_of_entries_in_order(
    fixture: ReaderFixture,
) -> None:
    fixture.redis.answer(range(1, 6), b"10-0")
    for seen in (range(1, 3), range(1, 5)):
        assert fixture.log == list(seen)
        assert fixture.reader.position == seen[-1]
        fixture.clock.turn()
    assert fixture.log == [1, 2, 3, 4, 5, "10-0"]


def test_the_next_reply_waits_and_one_more_is_not_read(fixture: ReaderFixture) -> None:
    fixture.redis.answer(range(1, 4))
    fixture.redis.answer(range(4, 6))
    assert fixture.redis.reading is None
    assert fixture.log == [1, 2]
    fixture.clock.turn()
    fixture.clock.turn()
    assert fixture.log == [1, 2, 3, 4, 5]
    assert fixture.redis.reading is not None
    assert [read[0] for read in fixture.redis.reads[1:]] == [b"3-1", b"5-1"]


def test_what_waits_for_a_position_goes_on_when_it_is_dispatched(
    fixture: ReaderFixture,
) -> None:
    reached: list[int] = []
    for n in (2, 3):
        fixture.reader.reached(n).addCallback(lambda _: reached.append(1))
    fixture.redis.answer(range(1, 4))
    assert len(reached) == 1
    fixture.clock.turn()
    assert len(reached) == 2


@pytest.mark.parametrize("turns", [0, 1])
def test_what_was_not_dispatched_is_read_again_on_the_next_connection(
    fixture: ReaderFixture, turns: int
) -> None:
    fixture.redis.answer(range(1, 6), b"10-0")
    for _ in range(turns):
        fixture.clock.turn()
    done = 2 + 2 * turns
    fixture.reader.down()
    redis = fixture.follow()
    assert redis.reads == [(b"%d-1" % done, b"0-0")]
    assert fixture.reader.seen == (done, 1)
    fixture.clock.turn()
    assert fixture.log == list(range(1, done + 1))
    redis.answer(range(done + 1, 6), b"10-0")
    for _ in range(3):
        fixture.clock.turn()
    assert fixture.log == [1, 2, 3, 4, 5, "10-0"]
    assert redis.reads[-1] == (b"5-1", b"10-0")


def test_what_waits_is_dropped_when_another_log_begins(fixture: ReaderFixture) -> None:
    fixture.redis.answer(range(1, 6))
    fixture.reader.begin("log", "inbox", 100)
    fixture.clock.turn()
    assert fixture.log == [1, 2]
    assert fixture.reader.position == 100
    fixture.redis.answer(range(101, 103))
    assert fixture.log == [1, 2, 101, 102]


def test_a_gap_is_noticed_where_the_entries_before_it_were_dispatched(
    fixture: ReaderFixture,
) -> None:
    fixture.redis.answer(range(1, 4))
    fixture.redis.answer(range(8, 9))
    fixture.clock.turn()
    fixture.clock.turn()
    assert fixture.log == [1, 2, 3, "gap", 8]


@pytest.mark.parametrize(
    "reply",
    [
        5,
        [1],
        [[b"log", [[b"1-1", None]]]],
        [[b"log", [[b"1-1", []]]]],
        [[b"log", [[b"x-1", [b"c", b"/a", b"j", b"{}"]]]]],
        [[b"log", [[b"1-1"]]]],
        [[b"inbox", [[None, [b"k", b"v"]]]]],
        [[b"inbox", [[b"1-1"]]]],
    ],
)
def test_an_invalid_reply_closes_the_connection(
    fixture: ReaderFixture, reply: Any
) -> None:
    assert fixture.redis.reading is not None
    with capturedLogs() as log:
        fixture.redis.reading.callback(reply)
    [rejected] = fixture.redis.rejected
    assert "invalid reply" in rejected
    assert log == []
    redis = fixture.follow()
    redis.answer(range(1, 3), b"10-0")
    fixture.finish()
    assert fixture.log == [1, 2, "10-0"]


def test_entries_of_others_are_logged_once_a_minute_and_at_the_stop(
    fixture: ReaderFixture,
) -> None:
    def read(entries: int) -> None:
        assert fixture.redis.reading is not None
        reading, fixture.redis.reading = fixture.redis.reading, None
        reading.callback([[b"log", [[b"1-0", [b"a", b"b"]]] * entries]])

    with capturedLogs() as log:
        for entries in (1, 2, 3):
            read(entries)
        fixture.clock.advance(LOG_INTERVAL)
        read(4)
        fixture.reader.stop()
        read(5)
    skipped = "Skipped entries in Redis that are broken, or not of this service"
    assert [formatEvent(event) for event in log] == [
        f"{skipped}: 1, 1 since the start",
        f"{skipped}: 5, 6 since the start",
        f"{skipped}: 4, 10 since the start",
    ]
    assert fixture.reader.foreign == 15
    assert fixture.clock.getDelayedCalls() == []
