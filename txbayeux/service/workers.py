"""``--workers N``: one command, N processes on the same ports.

This process opens the ports and serves nobody; each worker is handed the open
sockets and accepts from them, so the kernel shares connections out.  What makes
them one service is Redis.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.application.strports import service as port_service
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.runtime import platform

from txbayeux.adapter.site import BoundedSite
from txbayeux.limits import Limits
from txbayeux.service.gathered import AdminSockets, gathered
from txbayeux.service.ports import readable_errors

__all__ = ["RESTART_DELAY", "STOP_TIMEOUT", "ParentWatch", "Workers", "listen"]

RESTART_DELAY: Final = 1.0
"""Seconds between the end of a worker that was to go on, and its successor."""

STOP_TIMEOUT: Final = 10.0
"""Seconds that a worker has to answer its clients and end; then it is killed."""

_FIRST_SOCKET: Final = 3
# Which needs epoll.
_REACTOR: Final = ("--reactor=txbayeux",) if platform.isLinux() else ()

_log: Final = Logger()


def listen(endpoint: str, backlog: int) -> socket.socket:
    """Open the port of a ``tcp:`` endpoint string.

    :raises ValueError: for an endpoint of another kind, which cannot be shared.
    :raises OSError: for a port that cannot be had.
    """
    kind, *parts = endpoint.split(":")
    named = dict(part.split("=", 1) for part in parts if "=" in part)
    plain = [part for part in parts if "=" not in part]
    port = named.get("port", plain[0] if plain else "")
    if kind != "tcp" or not port.isdecimal():
        raise ValueError(f"workers can share tcp:PORT only, not {endpoint}")
    return socket.create_server(
        (named.get("interface", ""), int(port)),
        backlog=int(named.get("backlog", backlog)),
    )


class ParentWatch(FileDescriptor):
    """Stops the reactor when standard input ends: this process's parent is gone."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        self.startReading()

    def fileno(self) -> int:
        """Give standard input's."""
        return 0

    def doRead(self) -> Exception | None:
        """Read what there is, which nobody should have written."""
        return None if os.read(0, 4096) else CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        """Hear of the end."""
        self._reactor.stop()


class _Worker(ProcessProtocol):
    """One process; what it says is logged here."""

    transport: Any

    def __init__(self, workers: Workers, number: int) -> None:
        self._workers = workers
        self._number = number
        self._rest = b""
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        """Log what the worker logs."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace")
            _log.info("worker {number}: {text}", number=self._number, text=text)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """Hear that it is gone."""
        self._workers.ended(self._number, reason)
        self.ended.callback(None)


class Workers(MultiService):
    """Keeps ``count`` workers running on the ports of ``endpoints``.

    :param arguments: of ``twistd bayeux``, for each of them.
    :param admin: endpoint string for the health and the metrics of all.
    """

    def __init__(
        self,
        reactor: Any,
        count: int,
        endpoints: Sequence[str],
        arguments: Sequence[str],
        *,
        backlog: int,
        admin: str | None = None,
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._count = count
        self._endpoints = endpoints
        self._arguments = arguments
        self._backlog = backlog
        self._sockets: list[socket.socket] = []
        self._workers: dict[int, _Worker] = {}
        self._restarts: dict[int, Any] = {}
        self._admin: AdminSockets | None = None
        if admin is not None:
            self._admin = AdminSockets(reactor)
            pages = BoundedSite(gathered(self._admin, count), reactor, limits=Limits())
            port_service(admin, pages, reactor).setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Open the ports, while that is allowed below 1024."""
        with readable_errors():
            self._sockets = [
                listen(endpoint, self._backlog) for endpoint in self._endpoints
            ]
            super().privilegedStartService()

    def startService(self) -> None:
        """Start the workers."""
        if not self._sockets:
            # twist has no privileges to drop, and skips that step.  A worker that is
            # given no sockets would start workers of its own.
            self.privilegedStartService()
        with readable_errors():
            if self._admin is not None:
                self._admin.open()
            super().startService()
        for number in range(1, self._count + 1):
            self._spawn(number)

    def stopService(self) -> Deferred[Any]:
        """Ask the workers to end; fires when they have."""
        stopped = super().stopService()
        for restart in self._restarts.values():
            restart.cancel()
        self._restarts.clear()
        for opened in self._sockets:
            opened.close()
        workers = tuple(self._workers.values())
        for worker in workers:
            worker.transport.signalProcess("TERM")
        late = self._reactor.callLater(STOP_TIMEOUT, self._kill)

        def done(result: object) -> None:
            if late.active():
                late.cancel()
            if self._admin is not None:
                self._admin.close()

        return DeferredList(
            [stopped, *(worker.ended for worker in workers)]
        ).addCallback(done)

    def ended(self, number: int, reason: Failure) -> None:
        """Hear that a worker is gone; another takes its place, in a moment."""
        del self._workers[number]
        if self._admin is not None:
            self._admin.remove(number)
        if self.running:
            _log.error(
                "worker {number} ended ({why}); another follows",
                number=number,
                why=reason.getErrorMessage(),
            )
            self._restarts[number] = self._reactor.callLater(
                RESTART_DELAY, self._spawn, number
            )

    def _spawn(self, number: int) -> None:
        self._restarts.pop(number, None)
        sockets = {
            number: opened.fileno()
            for number, opened in enumerate(self._sockets, _FIRST_SOCKET)
        }
        adopt = [word for number in sockets for word in ("--adopt", str(number))]
        admin = ["--admin", self._admin.add(number)] if self._admin is not None else []
        command = [sys.executable, "-m", "twisted", "--log-format=text", *_REACTOR]
        worker = _Worker(self, number)
        self._workers[number] = worker
        self._reactor.spawnProcess(
            worker,
            sys.executable,
            [*command, "bayeux", *self._arguments, *admin, *adopt, "--end-with-input"],
            env=None,
            childFDs={0: "w", 1: "r", 2: "r", **sockets},
        )

    def _kill(self) -> None:
        for worker in self._workers.values():
            worker.transport.signalProcess("KILL")
