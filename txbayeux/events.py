"""Events of a server, and their listeners.

Events are created only for kinds that have listeners.  An exception from a listener
is logged, and the other listeners are still called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar, cast

from txbayeux.interfaces import Reason, Request
from txbayeux.registration import Registration, call_listener

__all__ = [
    "Connected",
    "Disconnected",
    "Event",
    "Events",
    "Handshaken",
    "Published",
    "Reason",
    "Subscribed",
    "Unsubscribed",
]


@dataclass(frozen=True, slots=True)
class Event:
    """An event of the session ``session_id``."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Handshaken(Event):
    """A session was created; ``request`` is None for a client in this process."""

    request: Request | None


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """A ``/meta/connect`` was accepted."""

    request: Request | None


@dataclass(frozen=True, slots=True)
class Subscribed(Event):
    """A session subscribed to ``channel`` (not sent for a repetition)."""

    channel: str


@dataclass(frozen=True, slots=True)
class Unsubscribed(Event):
    """A session unsubscribed from ``channel``, or was, by the server or by its end.

    When a session ends, this comes for each of its channels, before ``Disconnected``.
    """

    channel: str


@dataclass(frozen=True, slots=True)
class Published:
    """A message was accepted; ``session_id`` is None for one without session."""

    session_id: str | None
    channel: str
    data: Any


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    """A session ended."""

    reason: Reason


E = TypeVar("E")


class Events:
    """The listeners of one server, by kind of event."""

    def __init__(self) -> None:
        self._listeners: dict[type[Any], list[Callable[[Any], object]]] = {}

    def listen(self, kind: type[E], listener: Callable[[E], object]) -> Registration:
        """Call ``listener`` with each event of exactly this kind.

        Listeners are called in the order in which they were added.  One may return a
        Deferred or be a coroutine function; a failure is logged.
        """
        self._listeners.setdefault(kind, []).append(listener)
        return Registration(partial(self._remove, kind, listener))

    def _remove(self, kind: type[Any], listener: Callable[[Any], object]) -> None:
        listeners = self._listeners[kind]
        listeners.remove(listener)
        if not listeners:
            del self._listeners[kind]

    def has_listeners(self, kind: type[Any]) -> bool:
        """Return whether anything listens to ``kind``."""
        return kind in self._listeners

    def emit(self, event: object) -> None:
        """Call the listeners with ``event``."""
        for listener in tuple(self._listeners.get(cast(Any, type(event)), ())):
            call_listener(f"{type(event).__name__} events", listener, event)
