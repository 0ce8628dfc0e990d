"""The feed: what Redis sends to a node, in order, without gaps, some in each turn."""

from collections.abc import Coroutine, Sequence
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs, formatEvent

from txbayeux.engine.hub import TURN_WORK
from txbayeux.engine.redis.feed import Feed
from txbayeux.engine.redis.log import Logged, Mark, parse
from txbayeux.engine.redis.window import LogGap
from txbayeux.log_limit import LOG_INTERVAL
from txbayeux.message import Entry

from .hub_fixture import HubFixture

SESSIONS = TURN_WORK // 2
"""Two entries for them are as many deliveries as a turn has."""

MESSAGE = (b"c", b"/a", b"j", b'{"channel":"/a"}')


def joined(*values: object) -> bytes:
    texts = [v if isinstance(v, bytes) else str(v).encode() for v in values]
    return b"\0".join(texts)


def publication(previous: int, *positions: int, epoch: str = "e") -> bytes:
    """Return entries as ``publish.lua`` sends them."""
    entries = [value for n in positions for value in ("", f"{n}-7", *MESSAGE)]
    return joined(epoch, positions[-1], previous, *entries)


def notice(number: int, *fields: object) -> bytes:
    return joined("e", "notice", number, "", *fields)


class FakeConnection:
    on_message: Any = None
    paused = aborted = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def abort(self) -> None:
        self.aborted = True


class FakeWindow:
    """The log: messages at these positions."""

    def __init__(self) -> None:
        self.positions: Sequence[int] = range(0)
        self.reads: list[tuple[int, int]] = []

    def read(self, first: int, last: int) -> Deferred[list[Logged]]:
        self.reads.append((first, last))
        if first not in self.positions:
            raise LogGap
        entries = [
            parse(b"%d-7" % n, MESSAGE) for n in self.positions if first <= n <= last
        ]
        return succeed([entry for entry in entries if entry is not None])


class FeedFixture(HubFixture):
    """A feed, and a hub with many sessions."""

    def __init__(self) -> None:
        super().__init__()
        self.sessions(SESSIONS)
        self.log: list[int | str] = []
        self.missed = 0
        self.missed_notices: list[int] = []
        self.window = FakeWindow()
        self.feed = Feed(
            self.clock,
            hub=self.hub,
            window=cast(Any, self.window),
            dispatch=self.dispatched,
            take_notice=lambda found: self.log.append(found["k"]),
            advance=lambda position: None,
            gap=lambda: self.log.append("gap"),
            missed=self.count_missed,
            missed_notices=self.missed_notices.append,
        )
        self.feed.begin("e", Mark(0, None, 0))
        self.connection: Any = self.connect_feed()
        self.feed.follow(Mark(0, None, 0))
        self.missed_notices.clear()

    def count_missed(self) -> None:
        self.missed += 1

    def dispatched(self, item: Logged) -> None:
        assert isinstance(item, Entry)
        self.log.append(item.position)
        self.hub.dispatch(item)

    def connect_feed(self) -> FakeConnection:
        connection: Any = FakeConnection()
        self.feed.connected(connection)
        return connection  # type: ignore[no-any-return]

    def catch_up(self, mark: Mark, *, whole: bool = False) -> None:
        work: Coroutine[Any, Any, Any] = self.feed.catch_up(mark, whole=whole)
        caught_up = Deferred.fromCoroutine(work)
        for _ in range(100):
            self.clock.turn()
        assert caught_up.result is None


@pytest.fixture
def fixture() -> FeedFixture:
    return FeedFixture()


def test_a_turn_dispatches_a_bounded_number_of_entries_in_order(
    fixture: FeedFixture,
) -> None:
    fixture.connection.on_message(publication(0, 1, 2, 3, 5, 9))
    fixture.connection.on_message(notice(1, "k", "v"))
    for seen in ([1, 2], [1, 2, 3, 5]):
        assert fixture.log == seen
        assert fixture.feed.position == fixture.feed.sent == seen[-1]
        fixture.clock.turn()
    assert fixture.log == [1, 2, 3, 5, 9, "v"]


def test_what_waits_for_a_position_goes_on_when_it_is_dispatched(
    fixture: FeedFixture,
) -> None:
    reached: list[int] = []
    for n in (2, 3):
        fixture.feed.reached(n).addCallback(lambda _: reached.append(1))
    fixture.connection.on_message(publication(0, 1, 2, 3))
    assert len(reached) == 1
    fixture.clock.turn()
    assert len(reached) == 2


def test_the_position_follows_a_mark_once_what_was_sent_before_is_dispatched(
    fixture: FeedFixture,
) -> None:
    fixture.feed.advance(Mark(50, 9, 3))
    behind = [fixture.feed.behind]
    fixture.connection.on_message(publication(0, 1, 2, 3))
    assert fixture.feed.position == 2
    fixture.clock.turn()
    assert (fixture.feed.position, fixture.feed.sent) == (50, 3)
    assert fixture.feed.seen == (50, 9)
    assert [*behind, fixture.feed.behind] == [True, False]
    fixture.feed.advance(Mark(40, 8, 3))  # one of before, late
    assert fixture.feed.position == 50


def test_the_position_has_come_to_a_mark_though_a_later_one_was_noted(
    fixture: FeedFixture,
) -> None:
    positions: list[int] = []
    waiting = fixture.feed.wait_for(Mark(5, 7, 1))
    waiting.addCallback(lambda _: positions.append(fixture.feed.position))
    fixture.feed.advance(Mark(20, 7, 9))
    fixture.connection.on_message(publication(0, 1))
    assert positions == [5]


@pytest.mark.parametrize("turns", [0, 1])
def test_what_was_not_dispatched_is_read_from_the_log_on_the_next_connection(
    fixture: FeedFixture, turns: int
) -> None:
    fixture.connection.on_message(publication(0, 1, 2, 3, 4, 5))
    fixture.connection.on_message(notice(1, "k", "v"))
    for _ in range(turns):
        fixture.clock.turn()
    done = 2 + 2 * turns
    fixture.feed.down()
    connection = fixture.connect_feed()
    connection.on_message(publication(5, 8))
    fixture.window.positions = range(1, 8)
    mark = Mark(7, 7, 5)
    fixture.catch_up(mark)
    fixture.feed.follow(mark)
    assert fixture.window.reads[0][0] == done + 1
    assert fixture.missed_notices == [0]
    fixture.feed.take_inbox([(b"1-0", (b"k", b"v"))])
    fixture.finish()
    assert fixture.log == [1, 2, 3, 4, 5, 6, 7, 8, "v"]
    assert fixture.feed.sent == 8


def test_nothing_is_read_if_nothing_was_sent_meanwhile(fixture: FeedFixture) -> None:
    fixture.connection.on_message(publication(0, 1))
    fixture.feed.down()
    fixture.connect_feed()
    fixture.catch_up(Mark(1000, 7, 1))
    fixture.feed.follow(Mark(1000, 7, 1))
    assert fixture.window.reads == []
    assert fixture.feed.position == 1000


def test_a_missing_publication_is_read_from_the_log_and_nothing_comes_twice(
    fixture: FeedFixture,
) -> None:
    fixture.connection.on_message(publication(0, 1))
    fixture.connection.on_message(publication(2, 3))
    fixture.connection.on_message(publication(3, 4))
    assert fixture.missed == 1
    assert fixture.log == [1]
    fixture.window.positions = range(1, 4)
    fixture.catch_up(Mark(3, 7, 3))
    fixture.feed.follow(Mark(3, 7, 3))
    fixture.connection.on_message(publication(3, 4))
    fixture.finish()
    assert fixture.log == [1, 2, 3, 4]
    assert fixture.missed == 1


def test_a_mark_that_comes_while_the_log_is_read_waits(fixture: FeedFixture) -> None:
    # Redis did not know what this node wants: it sent nothing, and all is needed.
    fixture.feed.unfollow()
    fixture.window.positions = range(1, 5)
    work = fixture.feed.catch_up(Mark(4, 7, 0), whole=True)
    catching_up = Deferred.fromCoroutine(work)
    fixture.feed.advance(Mark(9, 7, 0))
    fixture.feed.take_inbox([])
    assert fixture.log == [1, 2]
    assert fixture.feed.position == 2
    fixture.finish()
    assert catching_up.called
    assert fixture.log == [1, 2, 3, 4]


def test_what_is_not_in_the_log_any_more_is_a_gap(fixture: FeedFixture) -> None:
    fixture.feed.down()
    fixture.connect_feed()
    fixture.window.positions = range(50, 60)
    fixture.catch_up(Mark(59, 7, 55))
    fixture.feed.follow(Mark(59, 7, 55))
    assert fixture.log == ["gap"]
    assert fixture.feed.position == 59


def test_what_waits_is_dropped_when_another_log_begins(fixture: FeedFixture) -> None:
    fixture.connection.on_message(publication(0, 1, 2, 3))
    fixture.feed.begin("f", Mark(100, None, 100))
    fixture.clock.turn()
    fixture.feed.follow(Mark(100, None, 100))
    fixture.connection.on_message(publication(100, 101, epoch="e"))
    assert fixture.log == [1, 2]
    fixture.connection.on_message(publication(100, 101, epoch="f"))
    assert fixture.log == [1, 2, 101]


def test_missing_notices_are_read_from_the_inbox(fixture: FeedFixture) -> None:
    fixture.connection.on_message(notice(1, "k", "one"))
    fixture.connection.on_message(notice(3, "k", "three"))
    assert fixture.missed_notices == [1]
    found = [(b"%d-0" % n, (b"k", b"%d" % n)) for n in (2, 3)]
    assert fixture.feed.take_inbox(found)
    fixture.connection.on_message(notice(3, "k", "three"))
    assert fixture.log == ["one", "2", "3"]
    assert not fixture.feed.take_inbox([(b"9-0", (b"k", b"nine"))])


def test_no_notice_comes_twice_after_a_reply_that_is_older(
    fixture: FeedFixture,
) -> None:
    fixture.connection.on_message(notice(1, "k", "one"))
    fixture.connection.on_message(notice(2, "k", "two"))
    fixture.feed.sent_notices(1)  # the reply to a registration before the second
    fixture.connection.on_message(notice(3, "k", "three"))
    assert fixture.missed_notices == []
    assert fixture.log == ["one", "two", "three"]


def test_notices_that_are_counted_anew_are_taken(fixture: FeedFixture) -> None:
    fixture.connection.on_message(notice(1, "k", "one"))
    fixture.connection.on_message(notice(2, "k", "two"))
    fixture.feed.down()
    fixture.connect_feed()
    fixture.feed.sent_notices(0)
    fixture.connection.on_message(notice(1, "k", "again"))
    fixture.feed.follow(Mark(0, None, 0))
    assert fixture.log == ["one", "two", "again"]


def test_the_connection_is_not_read_while_too_much_waits(fixture: FeedFixture) -> None:
    large = (b"c", b"/a", b"j", b'{"data":"%b"}' % (b"x" * 3_000_000))
    for n in range(1, 7):
        fixture.connection.on_message(joined("e", n, n - 1, "", f"{n}-7", *large))
    assert fixture.connection.paused
    fixture.finish()
    assert not fixture.connection.paused
    assert fixture.log == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"+OK\r\n",
        joined("e", 5),
        joined("e", 5, 0),
        joined("e", 5, 0, ""),
        joined("e", 5, 0, 0, "", "1-7", *MESSAGE),
        joined("e", "x", 0, "", "1-7", *MESSAGE),
        joined("e", 1, "x", "", "1-7", *MESSAGE),
        joined("e", 1, 0, "", "1-7", "a", "b"),
        joined("e", 1, 0, "", "x-7", *MESSAGE),
        joined("e", 1, 0, "", "1", *MESSAGE),
        joined("e", 1, 0, "", "1-7", *MESSAGE, ""),
        joined("e", "notice", "x", ""),
        publication(0, 1) + b"*",
    ],
)
def test_what_others_publish_is_skipped_and_counted(
    fixture: FeedFixture, payload: bytes
) -> None:
    with capturedLogs():
        fixture.connection.on_message(payload)
    assert fixture.feed.foreign == 1
    fixture.connection.on_message(publication(0, 1))
    assert fixture.log == [1]


def test_what_others_publish_is_logged_once_a_minute_and_at_the_stop(
    fixture: FeedFixture,
) -> None:
    with capturedLogs() as log:
        for count in (1, 2, 3):
            for _ in range(count):
                fixture.connection.on_message(b"+x\r\n")
        fixture.clock.advance(LOG_INTERVAL)
        fixture.feed.removed_foreign(4)
        fixture.feed.stop()
    skipped = "Skipped entries in Redis that are broken, or not of this service"
    assert [formatEvent(event) for event in log] == [
        f"{skipped}: 1, 1 since the start",
        f"{skipped}: 5, 6 since the start",
        f"{skipped}: 4, 10 since the start",
    ]
    assert fixture.clock.getDelayedCalls() == []
