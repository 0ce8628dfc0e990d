"""Events that come in great numbers have one log line a minute."""

from functools import partial
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, capturedLogs, formatEvent

from txbayeux.log_limit import LOG_INTERVAL, LogLimit


class Limited:
    """A limit on a clock, and what it logs."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.limit = LogLimit(self.clock, self.log)
        self.lines: list[tuple[int, str]] = []

    def log(self, count: int, name: str) -> None:
        self.lines.append((count, name))


@pytest.fixture
def limited() -> Limited:
    return Limited()


def test_the_first_event_is_logged_at_once_and_the_others_a_minute_later(
    limited: Limited,
) -> None:
    for name in "abc":
        limited.limit.add(name=name)
    limited.clock.advance(LOG_INTERVAL - 1)
    limited.limit.add(10, name="d")
    assert limited.lines == [(1, "a")]
    limited.clock.advance(1)
    assert limited.lines[1:] == [(12, "d")]


def test_there_is_a_minute_between_any_two_lines(limited: Limited) -> None:
    for second in range(150):
        limited.limit.add(name=f"at {second}")
        limited.clock.advance(1)
    assert limited.lines == [(1, "at 0"), (59, "at 59"), (60, "at 119")]


def test_after_a_minute_without_events_the_next_is_logged_at_once(
    limited: Limited,
) -> None:
    limited.limit.add(name="a")
    limited.clock.advance(LOG_INTERVAL)
    assert limited.lines == [(1, "a")]
    assert limited.clock.getDelayedCalls() == []
    limited.limit.add(2, name="b")
    assert limited.lines[1:] == [(2, "b")]


def test_a_stop_logs_what_is_left_and_leaves_nothing_in_the_reactor(
    limited: Limited,
) -> None:
    for name in "abc":
        limited.limit.add(name=name)
    limited.limit.stop()
    assert limited.lines == [(1, "a"), (2, "c")]
    assert limited.clock.getDelayedCalls() == []


def test_nothing_is_logged_after_a_stop(limited: Limited) -> None:
    limited.limit.add(name="a")
    limited.limit.stop()
    limited.limit.add(name="b")
    limited.limit.stop()
    assert limited.lines == [(1, "a")]
    assert limited.clock.getDelayedCalls() == []


def test_an_event_that_a_line_causes_waits_for_the_next_one() -> None:
    clock, counts = Clock(), []

    def log(count: int) -> None:
        counts.append(count)
        limit.add()

    limit = LogLimit(clock, log)
    limit.add()
    assert counts == [1]
    clock.advance(LOG_INTERVAL)
    assert counts == [1, 1]


def test_a_logger_gets_the_number_and_the_details() -> None:
    log: Any
    with capturedLogs() as log:
        limit = LogLimit(Clock(), partial(Logger().warn, "{count} refused: {why}"))
        limit.add(3, why="too many")
    assert [formatEvent(event) for event in log] == ["3 refused: too many"]
