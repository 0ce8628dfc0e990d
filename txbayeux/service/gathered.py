"""``--admin`` with ``--workers``: the health and the metrics of all of them.

Each worker serves its own on a Unix socket, in a folder that nobody else can
enter; whoever asks the parent is told what all of them answer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from treq import collect
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint, quoteStringArgument
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent
from twisted.web.http import INTERNAL_SERVER_ERROR, OK
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Request
from zope.interface import implementer

from txbayeux.service.admin import METRICS_TYPE, health

__all__ = ["PATIENCE", "AdminSockets", "gathered", "with_labels"]

PATIENCE: Final = 2.0
"""Seconds that a worker has to answer; one that does not is left out."""

_LONGEST_PATH: Final = 95
"""Bytes: of 107 that a socket's path may have, room for a number."""

_log: Final = Logger()


class AdminSockets:
    """Where each worker serves its health and its metrics."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._folder: TemporaryDirectory[str] | None = None
        self._path = Path()
        self._made = 0
        self._paths: dict[int, Path] = {}

    def open(self) -> None:
        """Make the folder.

        :raises OSError: if it cannot be had.
        :raises ValueError: if its path is too long for Unix sockets.
        """
        folder = TemporaryDirectory(prefix="txbayeux-")
        if len(os.fsencode(folder.name)) > _LONGEST_PATH:
            folder.cleanup()
            raise ValueError(
                "--admin with --workers needs a folder with a shorter path than "
                f"{folder.name}: set TMPDIR"
            )
        self._folder, self._path = folder, Path(folder.name)

    def add(self, number: int) -> str:
        """Give the endpoint string for a worker that is about to be started."""
        # A worker that is killed leaves its socket behind.
        self._made += 1
        self._paths[number] = path = self._path / str(self._made)
        return f"unix:address={quoteStringArgument(str(path))}"

    def remove(self, number: int) -> None:
        """Hear that a worker is gone."""
        path = self._paths.pop(number, None)
        if path is not None:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder."""
        if self._folder is not None:
            self._folder.cleanup()

    def ask(self, page: str) -> Deferred[Mapping[int, tuple[int, bytes]]]:
        """Ask all workers; fires with status and body of each that answers."""
        answers: dict[int, tuple[int, bytes]] = {}

        async def one(number: int, path: Path) -> None:
            agent = Agent.usingEndpointFactory(
                self._reactor, _WebSocketConnection(self._reactor, str(path))
            )
            response = await agent.request(b"GET", b"http://worker/" + page.encode())
            parts: list[bytes] = []
            # readBody() warns of what an agent hands on, which cannot be aborted.
            await collect(response, parts.append)
            answers[number] = (response.code, b"".join(parts))

        def left_out(failure: Failure, number: int) -> None:
            _log.warn(
                "worker {number} does not say how it is: {error}",
                number=number,
                error=failure.value,
            )

        asked = [
            Deferred.fromCoroutine(one(number, path))
            .addTimeout(PATIENCE, self._reactor)
            .addErrback(left_out, number)
            for number, path in sorted(self._paths.items())
        ]
        return gatherResults(asked).addCallback(lambda _: dict(sorted(answers.items())))


@implementer(IAgentEndpointFactory)
class _WebSocketConnection:
    """Leads an agent to a Unix socket, whatever the URL says."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._path = path

    def endpointForURI(self, uri: URI) -> UNIXClientEndpoint:
        return UNIXClientEndpoint(self._reactor, self._path, timeout=PATIENCE)


def gathered(sockets: AdminSockets, count: int) -> IResource:
    """Give the pages; ``count`` is how many workers there should be."""
    root = Resource()
    root.putChild(b"health", _Health(sockets, count))
    root.putChild(b"metrics", _Metrics(sockets, count))
    return root


class _Gathered(Resource):
    isLeaf = True
    page = ""

    def __init__(self, sockets: AdminSockets, count: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sockets = sockets
        self._count = count

    def render_GET(self, request: Request) -> int:
        gone: list[Failure] = []
        request.notifyFinish().addErrback(gone.append)

        def answered(answers: Mapping[int, tuple[int, bytes]]) -> bytes:
            return self.answer(request, answers)

        def failed(failure: Failure) -> bytes:
            _log.failure("Answering for the workers failed", failure)
            request.setResponseCode(INTERNAL_SERVER_ERROR)
            return b"The workers answer strangely\n"

        def write(body: bytes) -> None:
            if not gone:
                request.write(body)
                request.finish()

        asked = self._sockets.ask(self.page).addCallback(answered)
        asked.addErrback(failed).addCallback(write)
        return NOT_DONE_YET

    def answer(
        self, request: Request, answers: Mapping[int, tuple[int, bytes]]
    ) -> bytes:
        raise NotImplementedError


class _Health(_Gathered):
    """``/health``: 200 when every worker's is, else 503."""

    page = "health"

    def answer(
        self, request: Request, answers: Mapping[int, tuple[int, bytes]]
    ) -> bytes:
        ready, count = sum(status == OK for status, _ in answers.values()), self._count
        return health(request, well=ready == count, workers=count, ready=ready)


class _Metrics(_Gathered):
    """``/metrics``: those of each worker, labelled with its number."""

    page = "metrics"

    def answer(
        self, request: Request, answers: Mapping[int, tuple[int, bytes]]
    ) -> bytes:
        request.setHeader(b"Content-Type", METRICS_TYPE)
        return with_labels(
            {number: body for number, (status, body) in answers.items() if status == OK}
        )


def with_labels(texts: Mapping[int, bytes]) -> bytes:
    """Make one of what workers say in Prometheus' text format.

    ``txbayeux_held 2`` of worker 1 is ``txbayeux_held{worker="1"} 2``; lines about one
    metric stand together, as the format wants it.
    """
    metrics: dict[str, dict[str, None]] = {}
    for number, text in texts.items():
        for line in text.decode().splitlines():
            if line.startswith("#"):
                name, said = line.split(" ")[2], line
            else:
                name, _, value = line.partition(" ")
                said = f'{name}{{worker="{number}"}} {value}'
            metrics.setdefault(name, {})[said] = None
    return "".join(f"{line}\n" for lines in metrics.values() for line in lines).encode()
