"""Listeners: how each kind of them is called, and the one way to remove one."""

from __future__ import annotations

from collections.abc import Callable
from types import CoroutineType
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

__all__ = ["Registration", "call_listener"]

_log: Final = Logger()


class Registration:
    """A listener that is installed until :meth:`cancel` is called.

    :param remove: removes the listener; called at most once.
    """

    __slots__ = ("_remove",)

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove: Callable[[], None] | None = remove

    @property
    def active(self) -> bool:
        """Whether the listener is still installed."""
        return self._remove is not None

    def cancel(self) -> None:
        """Remove the listener.  Calling it again changes nothing."""
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()


def call_listener(
    purpose: str, listener: Callable[..., Any], *arguments: Any
) -> Deferred[Any] | None:
    """Call a listener, which may return a Deferred or be a coroutine function.

    What the listener raises, or its Deferred fails with, is logged with ``purpose``
    and goes no further.  Return its Deferred, which then does not fail, or None.
    """

    def log(failure: Failure) -> None:
        _log.failure("A listener for {purpose} failed", failure, purpose=purpose)

    try:
        result = listener(*arguments)
        if isinstance(result, CoroutineType):
            result = Deferred.fromCoroutine(result)
    except Exception:
        log(Failure())
        return None
    return result.addErrback(log) if isinstance(result, Deferred) else None
