"""What the kernel knows of connections whose end nobody has read yet.

A client that has gone should be given nothing more: what waits for it waits for its
next connection.  The reactor hears of an end when it reads it, which may be after
messages for that client have come.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from twisted.protocols.policies import ProtocolWrapper

__all__ = ["ClosingWatch", "Watched", "has_closed"]

_PEEK: Final = socket.MSG_PEEK | socket.MSG_DONTWAIT

_FRESH: Final = 0.002
"""Seconds that an answer of the kernel's holds while one turn's messages go out."""


def has_closed(transport: Any) -> bool:
    """Ask the kernel whether the peer has closed a TCP or Unix connection.

    It costs 3 µs.  What cannot be asked (a transport in memory) has not closed.
    """
    handle = _socket_of(transport)
    if handle is None:
        return False
    try:
        return handle.recv(1, _PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _socket_of(transport: Any) -> socket.socket | None:
    while isinstance(transport, ProtocolWrapper):  # TLS, PROXY protocol
        transport = transport.transport
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    return handle if isinstance(handle, socket.socket) else None


class Watched:
    """A connection of which the kernel tells when its peer closes it."""

    __slots__ = ("closed", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = False


class ClosingWatch:
    """Asks for many connections at once: a system call saved is 2.5 µs of a poll's 30.

    :param seconds: gives the time.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._watched: dict[int, Watched] = {}
        self._epoll: Any = None
        self._turn: int | None = None
        self._asked = 0.0

    def add(self, transport: Any) -> Watched | None:
        """Watch a connection; None if that is impossible, here or now."""
        handle = _socket_of(transport)
        if handle is None or not hasattr(select, "epoll"):
            return None
        watched = Watched(handle.fileno())
        try:
            if self._epoll is None:
                self._epoll = select.epoll()
            self._epoll.register(watched.number, select.EPOLLRDHUP | select.EPOLLET)
        except OSError:  # as many files are open as may be
            return None
        self._watched[watched.number] = watched
        return watched

    def remove(self, watched: Watched) -> None:
        """Watch it no more; the connection may be gone already."""
        if self._watched.get(watched.number) is not watched:
            return  # the number is somebody else's by now
        del self._watched[watched.number]
        with suppress(OSError):  # closed, with which the kernel has forgotten it
            self._epoll.unregister(watched.number)
        if not self._watched:
            self._epoll.close()
            self._epoll = None

    def has_closed(self, watched: Watched, turn: int | None) -> bool:
        """Tell whether the peer has closed it.

        What was there before a ``turn`` began to hand messages over is known; what
        comes while it does, after 2 ms.  Without a turn the kernel is asked now.
        """
        now = self._seconds()
        if turn is None or turn != self._turn or now - self._asked > _FRESH:
            self._turn, self._asked = turn, now
            for number, _ in self._epoll.poll(0, len(self._watched)):
                if number in self._watched:
                    self._watched[number].closed = True
        return watched.closed
