"""A TCP proxy that drops connections at random and alternates between ports."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress

from tests.resets import reset_on_close


class DroppingProxy:
    """Closes or resets connections at random.

    :param ports: the ports that connections are forwarded to, alternating.
    :param seed: of the random numbers.
    :param rate: probability for each chunk of data that the connection is dropped
        before it, in its middle, or after it.
    """

    def __init__(self, ports: list[int], *, seed: int, rate: float) -> None:
        self._ports = ports
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._turn = 0
        self.rate = rate
        self.dropped = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for one in tuple(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                port = self._ports[self._turn % len(self._ports)]
                self._turn += 1
            try:
                server = socket.create_connection(("127.0.0.1", port), 5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = _Pair(client, server)
            self._open |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(
                    target=self._pump, args=(pair, source, target), daemon=True
                ).start()

    def _pump(self, pair: _Pair, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                with self._lock:
                    drops = self._random.random() < self.rate
                    part = self._random.choice([0, len(data) // 2, len(data)])
                    resets = self._random.random() < 0.5
                    self.dropped += drops
                if drops:
                    target.sendall(data[:part])
                    pair.end(reset=resets)
                    return
                target.sendall(data)
        pair.end(reset=False)
        self._open -= {source, target}


class _Pair:
    """The two sides of a connection, closed when both directions have ended."""

    def __init__(self, *sockets: socket.socket) -> None:
        self._sockets = sockets
        self._left = 2
        self._lock = threading.Lock()

    def end(self, *, reset: bool) -> None:
        for one in self._sockets:
            with suppress(OSError):
                if reset:
                    reset_on_close(one)
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._left -= 1
            if self._left == 0:
                for one in self._sockets:
                    one.close()
