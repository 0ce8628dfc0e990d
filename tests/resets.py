"""Connections that end with a TCP reset."""

import socket
import struct


def reset_on_close(connection: socket.socket) -> None:
    """Send the peer a reset when ``connection`` is closed."""
    linger = struct.pack("ii", 1, 0)  # on, for 0 seconds
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
