"""However many sessions the hub closes or refuses, the log has a line a minute."""

from typing import Any

from twisted.logger import capturedLogs, formatEvent

from txbayeux.engine.backlog import ENTRY_BYTES, REFERENCE_BYTES
from txbayeux.engine.queue_limits import CLOSED_AT_ONCE
from txbayeux.log_limit import LOG_INTERVAL

from .hub_fixture import HubFixture

CLOSED = "Session closed - too many messages waited"


def lines(log: Any) -> list[str]:
    return [str(formatEvent(event)) for event in log]


def test_sessions_that_are_closed_together_have_two_lines() -> None:
    fixture = HubFixture(queue_messages=2)
    fixture.sessions(3 * CLOSED_AT_ONCE)
    log: Any
    with capturedLogs() as log:
        for json in (b"{}", b"{}", b"[1]"):
            fixture.dispatch("/a", json)
        fixture.finish()
        assert len(fixture.ended) == 3 * CLOSED_AT_ONCE
        assert lines(log) == [f"{CLOSED} (<Session 0>: 3 messages, 7 bytes)"]
        fixture.clock.advance(LOG_INTERVAL)
    assert lines(log)[1:] == [
        f"299 sessions closed, the last: {CLOSED} (<Session 299>: 3 messages, 7 bytes)"
    ]
    assert fixture.hub.statistics()["overflowed_total"] == 3 * CLOSED_AT_ONCE


def test_the_sessions_with_the_largest_queues_have_two_lines() -> None:
    fixture = HubFixture(queued_bytes=1)
    fixture.sessions(3 * CLOSED_AT_ONCE)
    log: Any
    with capturedLogs() as log:
        fixture.dispatch()
        fixture.finish()
        assert len(fixture.ended) == 3 * CLOSED_AT_ONCE
        fixture.clock.advance(LOG_INTERVAL)
    size = ENTRY_BYTES + len(b"{}")
    first, later = 3 * CLOSED_AT_ONCE, CLOSED_AT_ONCE
    what = "sessions with the largest queues closed"
    assert lines(log) == [
        f"100 {what}: {size + first * REFERENCE_BYTES} bytes waited in all, "
        "at most 1 may",
        f"200 {what}: {size + later * REFERENCE_BYTES} bytes waited in all, "
        "at most 1 may",
    ]


def test_sessions_that_are_refused_have_a_line_a_minute() -> None:
    fixture = HubFixture(sessions=2)
    for session in fixture.sessions(2):
        fixture.connect(session, hold=10 * LOG_INTERVAL)
    log: Any
    with capturedLogs() as log:
        for _ in range(3):
            for _ in range(10):
                assert not fixture.hub.has_room()
            fixture.clock.advance(LOG_INTERVAL)
    assert lines(log) == [
        "Sessions refused: 1, 1 since the start; there are 2",
        "Sessions refused: 9, 10 since the start; there are 2",
        "Sessions refused: 10, 20 since the start; there are 2",
        "Sessions refused: 10, 30 since the start; there are 2",
    ]
    assert fixture.hub.statistics()["refused_total"] == 30


def test_a_stop_logs_the_others_and_leaves_nothing_in_the_reactor() -> None:
    fixture = HubFixture(sessions=4, queue_messages=1, queued_bytes=100_000)
    fixture.sessions(4)
    log: Any
    with capturedLogs() as log:
        for _ in range(3):
            assert not fixture.hub.has_room()
        fixture.dispatch()
        fixture.dispatch()
        for name in "xy":
            fixture.session(name, "/large")
            fixture.dispatch("/large", b"x" * 100_000)
            fixture.finish()
        before = len(log)
        fixture.hub.stop()
    kinds = ("3 sessions closed", "1 sessions with the largest", "Sessions refused: 2")
    after = lines(log)[before:]
    assert before == len(after) == len(kinds)
    assert all(map(str.startswith, after, kinds)), after
    assert fixture.clock.getDelayedCalls() == []
