"""Autobahn's state of a connection, kept once for all connections while at rest.

For each connection Autobahn copies 30 options and sets 40 attributes, makes a
queue, statistics, a validator and two Deferreds, and pretty-prints the options
for a debug line, logged or not: 2.8 KiB and 150 µs.  Here they are attributes
of a class, and a connection has of its own what has changed.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Final

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

__all__ = ["NobodyWaits", "Silence", "copy_own", "lean_class"]

_IMMUTABLE: Final = (type(None), bool, int, float, str, bytes, tuple)

# What is made for each connection and can be shared after all.
_SHARED: Final[dict[str, Any]] = {
    # For writes in slices, which are never asked for.
    "send_queue": (),
    # For checks frame by frame, which are off: the codec checks the whole message.
    "utf8validator": None,
}
_STATISTICS: Final = "trafficStats"  # whose sum over all is as good


class Silence:
    """In place of Autobahn's logger, which reports each broken peer."""

    def debug(self, *args: object, **kwargs: object) -> None:
        """Say nothing."""

    info = warn = error = failure = debug


class NobodyWaits:
    """In place of Autobahn's Deferreds of each connection, for which nobody asks."""

    def callback(self, result: object) -> None:
        """Drop it."""


def lean_class(
    base: type[WebSocketServerProtocol], factory: WebSocketServerFactory
) -> type[Any]:
    """Derive a class whose instances begin open, with ``factory``'s options."""
    pattern: Any = base.__new__(base)
    pattern.factory = factory
    WebSocketServerProtocol._connectionMade(pattern)
    state = {**vars(pattern), **_SHARED}
    del state["factory"]
    # What a later Autobahn may add is copied to each connection, if it can change.
    own = {
        name: value
        for name, value in state.items()
        if not isinstance(value, _IMMUTABLE)
        and name != _STATISTICS
        and value is not getattr(factory, name, None)
    }
    shared = {
        name: staticmethod(value) if callable(value) else value
        for name, value in state.items()
        if name not in own
    }
    opened = {
        "state": base.STATE_OPEN,
        "websocket_version": 13,
        "inside_message": False,
        "current_frame": None,
    }
    return type(base.__name__, (base,), {**shared, **opened, "_own": own})


def copy_own(connection: Any) -> None:
    """Give a new connection its copies of what cannot be shared."""
    for name, value in connection._own.items():
        setattr(connection, name, copy(value))
