"""Listening: with room for a crowd, and with an error that one can read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from twisted.internet.error import CannotListenError

__all__ = ["BACKLOG", "CannotListen", "readable_errors", "with_backlog"]

BACKLOG: Final = 4096
"""Connections that may wait to be accepted: Twisted's 50 stalls a reconnect storm.

The kernel's bound (Linux: net.core.somaxconn) is 4096 too.
"""


class CannotListen(SystemExit, Exception):
    """Ends the command with a sentence instead of a traceback.

    It is an Exception, too: after those ``twistd`` tidies up, and a parent that
    waits for its daemon hears of them.
    """


@contextmanager
def readable_errors() -> Iterator[None]:
    """Say in words why a port cannot be listened on.

    :raises CannotListen: in place of what was raised.
    """
    try:
        yield
    except (CannotListenError, OSError, OverflowError, ValueError) as error:
        raise CannotListen(f"twistd bayeux: {error}") from error


def with_backlog(endpoint: str) -> str:
    """Ask for :data:`BACKLOG` where an endpoint string asks for none."""
    kind = endpoint.partition(":")[0]
    if (
        kind in ("tcp", "tcp6", "ssl", "unix", "haproxy")
        and ":backlog=" not in endpoint
    ):
        return f"{endpoint}:backlog={BACKLOG}"
    return endpoint
