"""The failures that Twisted logs, among them Deferreds that nobody waited for."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

__all__ = ["none_logged"]


@contextmanager
def none_logged() -> Iterator[None]:
    """Fail if a failure is logged, or a failed Deferred is left, in the block."""
    logged: list[str] = []

    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            logged.append(
                f"{formatEvent(event)}\n{event['log_failure'].getTraceback()}"
            )

    gc.collect()  # what others left
    globalLogPublisher.addObserver(observe)
    try:
        yield
        gc.collect()  # a failed Deferred is logged when it is deleted
    finally:
        globalLogPublisher.removeObserver(observe)
    assert logged == [], "\n".join(logged)
