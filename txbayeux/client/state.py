"""The client's states and every transition between them, in one table.

A connection to a Bayeux server is a loop: handshake, connect, connect, ...,
with a wait before each step where the server advised an interval or where
something failed.  Whatever happens is one :class:`Input`, and what it leads to is
one look-up in :data:`TRANSITIONS`.  A pair that is not in the table is a bug of the
client; :class:`IllegalTransition` names it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["TRANSITIONS", "IllegalTransition", "Input", "Machine", "State"]


class State(enum.Enum):
    """The state of a client."""

    IDLE = "idle"
    """The client has not been used yet."""
    HANDSHAKING = "handshaking"
    """A handshake is in flight, never more than one."""
    WAITING = "waiting"
    """There is no session; the next handshake is sent when the timer fires."""
    CONNECTING = "connecting"
    """There is a session; its first connect has not been answered yet."""
    CONNECTED = "connected"
    """The last connect succeeded; the next is in flight or due."""
    BROKEN = "broken"
    """A connect failed; the session may still exist, and the next connect is due."""
    REFUSED = "refused"
    """The server refused for good, or no more attempts are allowed: nothing is sent."""
    DISCONNECTING = "disconnecting"
    """The session and the connections are being closed."""
    DISCONNECTED = "disconnected"
    """Final: nothing of the client is left in the reactor."""


class Input(enum.Enum):
    """What happens to the client."""

    START = "start"
    """Something needs a session."""
    HANDSHAKEN = "handshaken"
    """The server accepted a handshake."""
    HANDSHAKE_FAILED = "handshake failed"
    """The handshake was refused or not answered, and can be repeated."""
    CONNECTED = "connect answered"
    """A connect succeeded."""
    CONNECT_FAILED = "connect failed"
    """A connect failed, or the connection that carries it is gone."""
    SESSION_LOST = "session lost"
    """The server does not know the session, or advises a handshake."""
    TIMER = "timer"
    """The one timer of the loop fired."""
    REFUSE = "refuse"
    """The server refused for good, or no more attempts are allowed."""
    STOP = "stop"
    """The user disconnects."""
    STOPPED = "stopped"
    """Everything is closed."""


def _table() -> dict[tuple[State, Input], State]:
    s, i = State, Input
    table = {
        (s.IDLE, i.START): s.HANDSHAKING,
        (s.REFUSED, i.START): s.HANDSHAKING,
        (s.WAITING, i.TIMER): s.HANDSHAKING,
        (s.WAITING, i.REFUSE): s.REFUSED,
        (s.HANDSHAKING, i.HANDSHAKEN): s.CONNECTING,
        (s.HANDSHAKING, i.HANDSHAKE_FAILED): s.WAITING,
        (s.HANDSHAKING, i.REFUSE): s.REFUSED,
        (s.CONNECTED, i.TIMER): s.CONNECTED,
        (s.BROKEN, i.TIMER): s.CONNECTING,
        (s.BROKEN, i.SESSION_LOST): s.WAITING,
        (s.BROKEN, i.REFUSE): s.REFUSED,
        (s.DISCONNECTING, i.STOP): s.DISCONNECTING,
        (s.DISCONNECTING, i.STOPPED): s.DISCONNECTED,
        (s.DISCONNECTED, i.STOP): s.DISCONNECTED,
    }
    for state in (s.CONNECTING, s.CONNECTED):
        table[state, i.CONNECTED] = s.CONNECTED
        table[state, i.CONNECT_FAILED] = s.BROKEN
        table[state, i.SESSION_LOST] = s.WAITING
        table[state, i.REFUSE] = s.REFUSED
    under_way = (s.HANDSHAKING, s.WAITING, s.CONNECTING, s.CONNECTED, s.BROKEN)
    for state in under_way:
        table[state, i.START] = state
    for state in (s.IDLE, s.REFUSED, *under_way):
        table[state, i.STOP] = s.DISCONNECTING
    return table


TRANSITIONS: Final[Mapping[tuple[State, Input], State]] = MappingProxyType(_table())
"""Every legal transition; precedent: h11's ``_state.py``."""


class IllegalTransition(RuntimeError):
    """An input came in a state that has no transition for it."""

    def __init__(self, state: State, event: Input) -> None:
        super().__init__(f"{event.value!r} is illegal while {state.value}")
        self.state = state
        self.event = event


class Machine:
    """The current state.

    :param changed: is called with the new state and the old one after each change, but
        not for a transition from a state to itself.
    """

    __slots__ = ("_changed", "state")

    def __init__(self, changed: Callable[[State, State], None]) -> None:
        self.state = State.IDLE
        self._changed = changed

    def feed(self, event: Input) -> State:
        """Make the transition for ``event``; return the new state.

        :raises IllegalTransition: if the table has none for it.
        """
        old = self.state
        try:
            new = TRANSITIONS[old, event]
        except KeyError:
            raise IllegalTransition(old, event) from None
        self.state = new
        if new is not old:
            self._changed(new, old)
        return new

    def accepts(self, event: Input) -> bool:
        """Return whether ``event`` is legal now."""
        return (self.state, event) in TRANSITIONS
