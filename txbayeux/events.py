"""What happened in the service, for whoever listens.

An event is made only when somebody listens to its kind; a listener that
raises is logged, and the others are still served.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from twisted.logger import Logger

from txbayeux.interfaces import Request

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


class Reason(enum.Enum):
    """Why a session ended."""

    CLIENT = "client"
    """It sent ``/meta/disconnect``."""
    TIMEOUT = "timeout"
    """It did not connect again in time."""
    KICKED = "kicked"
    """The server ended it: by request of its operator, or past a limit."""
    SHUTDOWN = "shutdown"
    """The service stopped, and its sessions live in its memory only."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to the session ``session_id``."""

    session_id: str


@dataclass(frozen=True, slots=True)
class Handshaken(Event):
    """A session was made; ``request`` is None for one made in the process."""

    request: Request | None


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """A ``/meta/connect`` was accepted."""

    request: Request | None


@dataclass(frozen=True, slots=True)
class Subscribed(Event):
    """A session was subscribed to ``channel``, which it was not before."""

    channel: str


@dataclass(frozen=True, slots=True)
class Unsubscribed(Event):
    """A session asked to be, and is, no longer subscribed to ``channel``."""

    channel: str


@dataclass(frozen=True, slots=True)
class Published:
    """A message was accepted; ``session_id`` is None if it came without one."""

    session_id: str | None
    channel: str
    data: Any


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    """A session ended."""

    reason: Reason


E = TypeVar("E")
_log = Logger()


class Events:
    """The listeners of one server, by kind of event."""

    def __init__(self) -> None:
        self._listeners: dict[type[Any], list[Callable[[Any], None]]] = {}

    def listen(self, kind: type[E], listener: Callable[[E], None]) -> None:
        """Call ``listener`` with each event of exactly this kind."""
        self._listeners.setdefault(kind, []).append(listener)

    def unlisten(self, kind: type[E], listener: Callable[[E], None]) -> None:
        """Undo one :meth:`listen`.

        :raises ValueError: if ``listener`` does not listen to ``kind``.
        """
        listeners = self._listeners.get(kind, [])
        listeners.remove(listener)
        if not listeners:
            self._listeners.pop(kind, None)

    def heard(self, kind: type[Any]) -> bool:
        """Tell whether anybody listens to ``kind``."""
        return kind in self._listeners

    def emit(self, event: object) -> None:
        """Hand ``event`` to its listeners, in the order they came."""
        for listener in tuple(self._listeners.get(cast(Any, type(event)), ())):
            try:
                listener(event)
            except Exception:
                _log.failure("A listener to {kind} failed", kind=type(event).__name__)
