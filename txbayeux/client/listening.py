"""How listeners of any kind are called."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["tell"]

_log: Final = Logger()


def tell(whose: str, listener: Callable[..., Any], *arguments: Any) -> None:
    """Call a listener; it may give a Deferred, or be a coroutine function.

    Nobody waits for it, and what it raises is logged as a failure of ``whose``.
    """

    def failed(failure: Failure) -> None:
        _log.failure("A listener to {whose} failed", failure, whose=whose)

    try:
        outcome = listener(*arguments)
        if isinstance(outcome, Coroutine):
            outcome = Deferred.fromCoroutine(outcome)
    except Exception:
        failed(Failure())
        return
    if isinstance(outcome, Deferred):
        outcome.addErrback(failed)
