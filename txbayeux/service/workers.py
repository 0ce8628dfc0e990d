"""Several processes on one port: as many cores with one command.

The parent opens the port and hands it to each worker as systemd would (``LISTEN_FDS``,
see sd_listen_fds(3)), so a worker is an ordinary ``twist bayeux``; the kernel gives
each connection to one of them.  The parent serves nothing itself: it starts a worker
again that has ended, and ends them all.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.service.service import BACKLOG

__all__ = ["Workers", "without"]

_AGAIN: Final = 1.0
"""Seconds until a worker that ended is started again."""

_PATIENCE: Final = 15.0
"""Seconds that workers are given to stop."""

_FIRST_FD: Final = 3

# The process that reads LISTEN_PID must be the one that it names.
_SHELL: Final = 'export LISTEN_PID=$$; exec "$@"'

_log: Final = Logger()


def without(arguments: Sequence[str], *names: str) -> list[str]:
    """Leave options out that take a value, however they were written.

    :param names: long names, and the single letters that stand for them.
    """
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, _ = argument.lstrip("-").partition("=")
        if argument.startswith("--") and any(
            name and full.startswith(name) for full in names
        ):
            if not equals:
                next(rest, None)
        elif argument.startswith("-") and argument[1:2] in names:
            if len(argument) == 2:
                next(rest, None)
        else:
            kept.append(argument)
    return kept


class Workers(Service):
    """The parent of ``count`` workers.

    :param reactor: Twisted's.
    :param port: TCP port, on all interfaces.
    :param arguments: of ``twist bayeux``, without those that say where to listen.
    """

    def __init__(
        self, reactor: Any, port: int, count: int, arguments: Sequence[str]
    ) -> None:
        self._reactor = reactor
        self._port = port
        self._count = count
        self._arguments = arguments
        self._socket: socket.socket | None = None
        self._running: set[_Worker] = set()
        self._calls: list[Any] = []

    def privilegedStartService(self) -> None:
        """Open the port, while it may be opened."""
        self._socket = socket.create_server(("", self._port), backlog=BACKLOG)

    def startService(self) -> None:
        """Start the workers."""
        self.running = 1
        for _ in range(self._count):
            self._start()

    def stopService(self) -> Deferred[Any]:
        """Ask the workers to stop; fires when they have."""
        self.running = 0
        for call in self._calls:
            if call.active():
                call.cancel()
        if self._socket is not None:
            self._socket.close()
        return gatherResults([worker.stop(self._reactor) for worker in self._running])

    def ended(self, worker: _Worker, reason: str) -> None:
        """Hear that a worker is gone."""
        self._running.discard(worker)
        if self.running:
            _log.error("A worker ended and is started again: {reason}", reason=reason)
            self._calls.append(self._reactor.callLater(_AGAIN, self._start))

    def _start(self) -> None:
        self._calls = [call for call in self._calls if call.active()]
        if self._socket is None:
            return
        command = [
            *(sys.executable, "-m", "twisted", "--log-format=text", "bayeux"),
            *(*self._arguments, "--listen=systemd:domain=INET:index=0"),
        ]
        worker = _Worker(self)
        self._running.add(worker)
        self._reactor.spawnProcess(
            worker,
            "/bin/sh",
            ["sh", "-c", _SHELL, "sh", *command],
            env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "port"},
            childFDs={0: 0, 1: 1, 2: 2, _FIRST_FD: self._socket.fileno()},
        )


class _Worker(ProcessProtocol):
    def __init__(self, parent: Workers) -> None:
        self._parent = parent
        self._gone: Deferred[None] = Deferred()

    def stop(self, reactor: Any) -> Deferred[None]:
        """Ask it to end; it is killed if it does not."""
        self._signal("TERM")
        call = reactor.callLater(_PATIENCE, self._signal, "KILL")
        return self._gone.addCallback(lambda _: call.active() and call.cancel())

    def _signal(self, name: str) -> None:
        try:
            transport: Any = self.transport
            transport.signalProcess(name)
        except ProcessExitedAlready:
            _log.debug("A worker had ended when it was to get SIG{name}", name=name)

    def processEnded(self, reason: Failure) -> None:
        self._parent.ended(self, reason.getErrorMessage())
        self._gone.callback(None)
