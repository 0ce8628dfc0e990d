"""Cancelling a registration removes its listener; failures of listeners are logged."""

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import fail
from twisted.logger import LogEvent, globalLogPublisher

from txbayeux.registration import Registration, call_listener


def test_cancel_removes_the_listener_once() -> None:
    listeners = ["alice"]
    registration = Registration(lambda: listeners.remove("alice"))
    assert registration.active
    registration.cancel()
    registration.cancel()
    assert not registration.active
    assert listeners == []


def raises(message: str) -> None:
    raise RuntimeError(message)


async def raises_later(message: str) -> None:
    raise RuntimeError(message)


def returns_a_failure(message: str) -> Any:
    return fail(RuntimeError(message))


@pytest.mark.parametrize("listener", [raises, raises_later, returns_a_failure])
def test_a_failure_is_logged_and_goes_no_further(
    listener: Callable[[str], Any],
) -> None:
    logged: list[LogEvent] = []
    globalLogPublisher.addObserver(logged.append)
    try:
        call_listener("/chat", listener, "the listener's own fault")
    finally:
        globalLogPublisher.removeObserver(logged.append)
    [event] = logged
    assert "/chat" in event["log_format"].format(**event)
    assert "own fault" in event["log_failure"].getErrorMessage()
