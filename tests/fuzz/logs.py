"""What must not be logged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent

__all__ = ["nothing_fails"]


@contextmanager
def nothing_fails() -> Iterator[None]:
    """Raise AssertionError if a traceback, or a critical event, is logged meanwhile.

    Those of Deferreds whose failure nobody handles are among them.
    """
    with capturedLogs() as events:
        yield
    found = [
        f"{formatEvent(event)}\n{_traceback(event)}"
        for event in events
        if event["log_level"] is LogLevel.critical or "log_failure" in event
    ]
    assert not found, "\n".join(found)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return "" if failure is None else str(failure.getTraceback())
