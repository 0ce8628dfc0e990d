"""The client's states and every transition between them, in one table.

A connection to a Bayeux server is a loop: handshake, connect, connect, ...,
with a wait before each step where the server advised an interval or where
something failed.  Whatever happens is one :class:`Input`; what it leads to is
one look into :data:`TRANSITIONS`; a pair that is not there is a bug of ours,
and :class:`IllegalTransition` names both.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["TRANSITIONS", "IllegalTransition", "Input", "Machine", "State"]


class State(enum.Enum):
    """Where the client stands."""

    IDLE = "idle"
    """Nothing was asked of it yet."""
    HANDSHAKING = "handshaking"
    """A handshake is in flight: one, whatever else happens."""
    WAITING = "waiting"
    """There is no session; the next handshake comes when the timer fires."""
    CONNECTING = "connecting"
    """There is a session; whether its connects are answered is not known yet."""
    CONNECTED = "connected"
    """The last connect succeeded; the next is in flight or due."""
    BROKEN = "broken"
    """A connect failed; the session may live, the next connect is due."""
    REFUSED = "refused"
    """The server said that there is no use in trying: nothing more is sent."""
    DISCONNECTING = "disconnecting"
    """The session and the connections are being closed."""
    DISCONNECTED = "disconnected"
    """Closed for good; nothing of the client is left in the reactor."""


class Input(enum.Enum):
    """What happens to the client."""

    START = "start"
    """Something was asked that needs a session."""
    HANDSHAKEN = "handshaken"
    """The server accepted a handshake."""
    HANDSHAKE_FAILED = "handshake failed"
    """It did not, or nothing was heard from it, and trying again makes sense."""
    CONNECTED = "connect answered"
    """A connect succeeded."""
    CONNECT_FAILED = "connect failed"
    """A connect did not, or the connection that carries it is gone."""
    SESSION_LOST = "session lost"
    """The server does not know the session, or advises a handshake."""
    TIMER = "timer"
    """The one timer of the loop fired."""
    REFUSE = "refuse"
    """The server refused for good."""
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
    """The current state, and who wants to hear of the next.

    ``changed(new, old)`` is called after each change, not for a transition
    that leads to the state it came from.
    """

    __slots__ = ("_changed", "state")

    def __init__(self, changed: Callable[[State, State], None]) -> None:
        self.state = State.IDLE
        self._changed = changed

    def feed(self, event: Input) -> State:
        """Take one step; give the new state.

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
        """Tell whether ``event`` is legal now."""
        return (self.state, event) in TRANSITIONS
