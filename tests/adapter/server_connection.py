"""A connection of Twisted's own kind, with a socket."""

import socket
from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Server
from twisted.internet.testing import MemoryReactor


class ServerConnection:
    """A connection of Twisted's own kind, whose reactor never turns."""

    def __init__(self) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        listener: Any = type("Port", (), {"_realPortNumber": 1})
        reactor: Any = MemoryReactor()
        self.transport = Server(
            ours, Protocol(), ("127.0.0.1", 1), listener, 1, reactor
        )

    def read(self) -> bytes:
        try:
            return self.peer.recv(1 << 20)
        except BlockingIOError:
            return b""

    def is_waiting_to_write(self) -> bool:
        return self.transport in self.transport.reactor.getWriters()

    def close(self) -> None:
        self.transport.socket.close()
        self.peer.close()
