"""The client's listeners: for states, failures and the first successful connect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred

from txbayeux.client.state import State
from txbayeux.registration import Registration, call_listener

__all__ = ["FailureListener", "Listeners", "StateListener"]

StateListener: TypeAlias = Callable[[State, State], Any]
"""Called with the new and the old state; may return a Deferred or a coroutine."""

FailureListener: TypeAlias = Callable[[Exception], Any]
"""Called with the error; may return a Deferred or a coroutine."""


class Listeners:
    """The installed listeners, called in the order of their installation."""

    def __init__(self) -> None:
        self._states: dict[Registration, StateListener] = {}
        self._failures: dict[Registration, FailureListener] = {}
        self._connecting: list[Deferred[None]] = []

    def add_state(self, listener: StateListener) -> Registration:
        """Call ``listener(new, old)`` after each change of state."""
        return _add(self._states, listener)

    def add_failure(self, listener: FailureListener) -> Registration:
        """Call ``listener(error)`` on each failure."""
        return _add(self._failures, listener)

    def connected(self) -> Deferred[None]:
        """Return a Deferred for the next successful connect."""
        waiting: Deferred[None] = Deferred(self._forget)
        self._connecting.append(waiting)
        return waiting

    def _forget(self, waiting: Deferred[None]) -> None:
        if waiting in self._connecting:
            self._connecting.remove(waiting)

    def take_connecting(self) -> list[Deferred[None]]:
        """Return the Deferreds of :meth:`connected`, to be fired, and forget them."""
        taken, self._connecting = self._connecting, []
        return taken

    def state_changed(self, new: State, old: State) -> None:
        """Call the listeners for states."""
        for listener in list(self._states.values()):
            call_listener("states", listener, new, old)

    def failed(self, error: Exception) -> None:
        """Call the listeners for failures."""
        for listener in list(self._failures.values()):
            call_listener("failures", listener, error)


def _add(listeners: dict[Registration, Any], listener: Any) -> Registration:
    registration = Registration(lambda: listeners.pop(registration))
    listeners[registration] = listener
    return registration
