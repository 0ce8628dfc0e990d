"""Ports for servers that tests start as processes."""

import secrets
import socket
from typing import Final

_FIRST: Final = 11_000
_COUNT: Final = 11_000
"""Below the ports that Linux gives to clients: a client could get one before the server
listens.  So are those 10,000 above, for the bus of a Redis Cluster."""


def free_port(*distances: int) -> int:
    """Return a port on which nothing listens, nor at these distances above it."""
    while True:
        port = _FIRST + secrets.randbelow(_COUNT)
        if all(_is_free(port + distance) for distance in (0, *distances)):
            return port


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
