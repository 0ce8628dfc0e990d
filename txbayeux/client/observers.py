"""Who hears of the client's states and failures; what they raise is logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred

from txbayeux import channel as channels
from txbayeux.client.errors import Closed
from txbayeux.client.listening import tell
from txbayeux.client.state import State

__all__ = ["Observers", "StateListener"]

StateListener: TypeAlias = Callable[[State, State], Any]
"""Gets the new state and the one before; it may give a Deferred or a coroutine."""


class Observers:
    """The listeners, in the order in which they came."""

    def __init__(self) -> None:
        self._states: list[StateListener] = []
        self._failures: list[Callable[[Exception], Any]] = []
        self._connecting: list[Deferred[None]] = []

    def states(self, listener: StateListener) -> Callable[[], None]:
        """Call ``listener(new, old)`` after each change; give what ends that."""
        self._states.append(listener)
        return lambda: _remove(self._states, listener)

    def up(self, listener: Callable[[], Any]) -> Callable[[], None]:
        """Call ``listener()`` when connects begin to succeed; give what ends that."""

        def changed(new: State, old: State) -> Any:
            return listener() if new is State.CONNECTED else None

        return self.states(changed)

    def down(self, listener: Callable[[], Any]) -> Callable[[], None]:
        """Call ``listener()`` when that ends."""

        def changed(new: State, old: State) -> Any:
            return listener() if old is State.CONNECTED else None

        return self.states(changed)

    def failures(self, listener: Callable[[Exception], Any]) -> Callable[[], None]:
        """Call ``listener(error)`` for each failure; give what ends that."""
        self._failures.append(listener)
        return lambda: _remove(self._failures, listener)

    def connected(self) -> Deferred[None]:
        """Give what fires when connects succeed, and fails when none ever will."""
        waiting: Deferred[None] = Deferred(
            lambda deferred: _remove(self._connecting, deferred)
        )
        self._connecting.append(waiting)
        return waiting

    # What the client tells.

    def changed(self, new: State, old: State) -> None:
        """Hear of a change."""
        if new is State.CONNECTED:
            for waiting in self.take():
                waiting.callback(None)
        elif new is State.DISCONNECTING:
            for waiting in self.take():
                waiting.errback(Closed(channels.CONNECT))
        for listener in list(self._states):
            tell("states", listener, new, old)

    def failed(self, error: Exception) -> None:
        """Hear of a failure."""
        for listener in list(self._failures):
            tell("failures", listener, error)

    def take(self) -> list[Deferred[None]]:
        """Forget those who wait for a connect to succeed; give them, to be told."""
        taken, self._connecting = self._connecting, []
        return taken


def _remove(listeners: list[Any], listener: Any) -> None:
    if listener in listeners:
        listeners.remove(listener)
