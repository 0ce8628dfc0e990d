"""``--workers N``: one command, N processes on the same ports.

The parent opens the ports and serves nobody.  Each worker inherits the open sockets
and accepts from them, so the kernel distributes the connections.  Redis makes the
workers one service.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from txbayeux.service.ports import readable_errors
from txbayeux.service.service import Configuration
from txbayeux.service.urls import announcement, base_url

__all__ = [
    "RESTART_DELAY",
    "STOP_TIMEOUT",
    "ParentWatch",
    "Workers",
    "admin_endpoint",
    "listen",
]

RESTART_DELAY: Final = 1.0
"""Seconds between the unexpected end of a worker and the start of the next."""

STOP_TIMEOUT: Final = 10.0
"""Seconds that a worker has to answer its clients and end; then it is killed."""

_FIRST_SOCKET: Final = 3

_log: Final = Logger()


def _tcp_port(endpoint: str) -> tuple[int, dict[str, str]]:
    """Return the port and the other arguments of a ``tcp:`` endpoint string.

    :raises ValueError: for any other endpoint.
    """
    kind, *parts = endpoint.split(":")
    named = dict(part.split("=", 1) for part in parts if "=" in part)
    plain = [part for part in parts if "=" not in part]
    port = named.pop("port", plain[0] if plain else "")
    if kind != "tcp" or not port.isdecimal():
        raise ValueError(f"with --workers an endpoint must be tcp:PORT, not {endpoint}")
    return int(port), named


def _is_proxied(endpoint: str) -> bool:
    return endpoint.startswith("haproxy:")


def listen(endpoint: str, backlog: int) -> socket.socket:
    """Open the port of a ``tcp:`` or ``haproxy:tcp:`` endpoint string.

    :raises ValueError: for any other endpoint, which cannot be shared.
    :raises OSError: if the port cannot be opened.
    """
    port, named = _tcp_port(endpoint.removeprefix("haproxy:"))
    return socket.create_server(
        (named.get("interface", ""), port), backlog=int(named.get("backlog", backlog))
    )


def admin_endpoint(endpoint: str, worker: int) -> str:
    """Return the admin endpoint of one worker: consecutive ports, from the given one.

    :param endpoint: the value of ``--admin``.
    :param worker: its number, 1 or more.
    :raises ValueError: unless it is ``tcp:PORT``, with room for the number.
    """
    first, named = _tcp_port(endpoint)
    port = first + worker - 1 if first else 0
    if port > 65535:
        raise ValueError(f"--admin {endpoint}: worker {worker} would have port {port}")
    return ":".join(
        ["tcp", str(port), *(f"{name}={value}" for name, value in named.items())]
    )


class ParentWatch(FileDescriptor):
    """Call ``stop`` when standard input ends: the parent process is gone."""

    def __init__(self, reactor: Any, stop: Callable[[], None]) -> None:
        super().__init__(reactor)
        self._stop = stop
        self.startReading()

    def fileno(self) -> int:
        """Return the descriptor of standard input."""
        return 0

    def doRead(self) -> Exception | None:
        """Called when standard input is readable; discards what there is."""
        return None if os.read(0, 4096) else CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        """Called at the end of standard input, and when the reactor stops."""
        self._stop()


class _Worker(ProcessProtocol):
    """One worker process, whose output is logged."""

    transport: Any

    def __init__(self, workers: Workers, number: int) -> None:
        self._workers = workers
        self._number = number
        self._rest = b""
        self.ended: Deferred[None] = Deferred()

    def signal(self, name: str) -> None:
        """Send a signal such as ``TERM``, unless the process has ended."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(name)

    def outReceived(self, data: bytes) -> None:
        """Called with output of the worker."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace")
            _log.info("worker {number}: {text}", number=self._number, text=text)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """Called when the process has ended."""
        self._workers.ended(self._number, reason)
        self.ended.callback(None)


class Workers(Service):
    """Keep a number of workers running on shared ports.

    :param configuration: of each worker; its endpoints must be ``tcp:``.
    :param count: how many workers to run.
    :param arguments: of ``twistd bayeux``, for each worker.
    :param backlog: connections that may wait to be accepted on each port.
    """

    def __init__(
        self,
        reactor: Any,
        configuration: Configuration,
        *,
        count: int,
        arguments: Sequence[str],
        backlog: int,
    ) -> None:
        self._reactor = reactor
        self._configuration = configuration
        self._numbers = range(1, count + 1)
        self._arguments = arguments
        self._backlog = backlog
        self._sockets: list[socket.socket] = []
        self._admin: dict[int, str] = {}
        self._workers: dict[int, _Worker] = {}
        self._restarts: dict[int, Any] = {}

    def privilegedStartService(self) -> None:
        """Open the ports, while that is allowed below 1024."""
        with readable_errors():
            if self._configuration.admin is not None:
                self._admin = {
                    number: admin_endpoint(self._configuration.admin, number)
                    for number in self._numbers
                }
            for endpoint in self._admin.values():
                # A worker that could not listen would be started again and again.
                listen(endpoint, self._backlog).close()
            self._sockets = [
                listen(endpoint, self._backlog)
                for endpoint in self._configuration.endpoints
            ]
        super().privilegedStartService()

    def startService(self) -> None:
        """Start the workers."""
        if not self._sockets:
            # twist has no privileges to drop, and skips that step.  A worker without
            # inherited sockets would start workers of its own.
            self.privilegedStartService()
        super().startService()
        _log.info(
            "{urls}; {count} workers", urls=self._urls(), count=len(self._numbers)
        )
        for number in self._numbers:
            self._spawn(number)

    def stopService(self) -> Deferred[Any]:
        """Stop the workers; fires when all have ended."""
        super().stopService()
        for restart in self._restarts.values():
            restart.cancel()
        self._restarts.clear()
        for opened in self._sockets:
            opened.close()
        workers = tuple(self._workers.values())
        for worker in workers:
            worker.signal("TERM")
        late = self._reactor.callLater(STOP_TIMEOUT, self._kill)

        def done(result: object) -> None:
            if late.active():
                late.cancel()

        return DeferredList([worker.ended for worker in workers]).addCallback(done)

    def ended(self, number: int, reason: Failure) -> None:
        """Called when a worker has ended; another is started after a delay."""
        del self._workers[number]
        if self.running:
            _log.error(
                "worker {number} ended ({why}); starting another",
                number=number,
                why=reason.getErrorMessage(),
            )
            self._restarts[number] = self._reactor.callLater(
                RESTART_DELAY, self._spawn, number
            )

    def _urls(self) -> str:
        configuration = self._configuration
        return announcement(
            [
                base_url(endpoint, IPv4Address("TCP", *opened.getsockname()))
                for endpoint, opened in zip(
                    configuration.endpoints, self._sockets, strict=True
                )
            ],
            mount=configuration.mount,
            page=configuration.page,
        )

    def _spawn(self, number: int) -> None:
        self._restarts.pop(number, None)
        sockets = {
            descriptor: opened.fileno()
            for descriptor, opened in enumerate(self._sockets, _FIRST_SOCKET)
        }
        adopt = [
            word
            for descriptor, endpoint in zip(
                sockets, self._configuration.endpoints, strict=True
            )
            for word in (
                "--adopt-proxied" if _is_proxied(endpoint) else "--adopt",
                str(descriptor),
            )
        ]
        admin = ["--admin", self._admin[number]] if number in self._admin else []
        worker = _Worker(self, number)
        self._workers[number] = worker
        self._reactor.spawnProcess(
            worker,
            sys.executable,
            [
                # -P: -m alone would import modules from the current folder.
                *(sys.executable, "-P", "-m", "twisted", "--log-format=text"),
                "bayeux",
                *self._arguments,
                *admin,
                *adopt,
                "--end-with-input",
            ],
            env=None,
            childFDs={0: "w", 1: "r", 2: "r", **sockets},
        )

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.signal("KILL")
