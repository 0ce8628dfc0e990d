"""Latency of two clients while 10,000 others connect, stay idle and disconnect."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any, Final

from benchmarks.generator import Failed, await_sessions, collect_metrics, start_load
from benchmarks.growth import Series
from benchmarks.peers import PEERS, Process
from benchmarks.scenarios import POLLING, WEBSOCKET
from benchmarks.suite import progress

_LIMIT: Final = 120.0
_TXBAYEUX: Final = next(peer for peer in PEERS if peer.name == "txbayeux")
_SESSIONS: Final = 10_000
_TIMEOUT: Final = 4
_SESSION_TIMEOUT: Final = 8
# Short, so that expiry of all sessions is measured too.
_TIMES: Final = (f"--timeout={_TIMEOUT}", f"--session-timeout={_SESSION_TIMEOUT}")


def measure(program: Path) -> list[Series]:
    """Measure each scenario on a new server."""
    progress("   pauses")
    series: list[Series] = []
    for scenario, transport in (
        (_PauseScenario.connect_and_close, WEBSOCKET),
        (_PauseScenario.disconnect_in_turn, WEBSOCKET),
        (_PauseScenario.disconnect_at_once, WEBSOCKET),
        (_PauseScenario.connect_and_close, POLLING),
    ):
        server = _server()
        try:
            scenario(_PauseScenario(program, server, series, transport))
        except Failed as failure:
            progress(f"   failed: {failure}")
        finally:
            server.stop()
    return series


def _server() -> Process:
    command = _TXBAYEUX.command
    return Process(
        replace(_TXBAYEUX, command=lambda *ports: [*command(*ports), *_TIMES])
    )


class _PauseScenario:
    """Many idle sessions on one server, and two clients that exchange messages."""

    def __init__(
        self, program: Path, server: Process, series: list[Series], transport: str
    ) -> None:
        self._program = program
        self._server = server
        self._series = series
        self._transport = transport

    def connect_and_close(self) -> None:
        """All connect, stay idle, close their connections at once, and expire."""
        sessions = self._watch(
            "connect", 6, lambda: self._start_sessions(keep_open=True)
        )
        self._watch(
            "have their held connects answered, and connect again", _TIMEOUT + 2
        )
        self._watch(
            "close their connections at the same moment", 3, self._end, sessions
        )
        self._watch("expire", _TIMEOUT + _SESSION_TIMEOUT)

    def disconnect_in_turn(self) -> None:
        """All send /meta/disconnect, 64 at a time."""
        sessions = self._start_sessions()
        self._watch("send /meta/disconnect, 64 at a time", 4, self._end, sessions)

    def disconnect_at_once(self) -> None:
        """All send /meta/disconnect at the same moment."""
        sessions = self._start_sessions(closing=_SESSIONS)
        self._watch(
            "send /meta/disconnect, all at the same moment", 4, self._end, sessions
        )

    def _watch(
        self, title: str, seconds: float, act: Callable[..., Any] = int, *arguments: Any
    ) -> Any:
        """Measure the two clients' latency while ``act`` runs; return its result."""
        load = {"clients": 1, "rate": 200, "seconds": seconds, "warm_up": 0}
        probe = self._start(**load)
        time.sleep(0.5)  # until they have connected
        result = act(*arguments)
        measured = collect_metrics(probe, _LIMIT)
        values = {"p50": "p50_ms", "p99": "p99_ms", "longest": "max_ms"}
        self._series.append(
            Series(
                f"latency of two clients while {_SESSIONS:,} over"
                f" {self._transport} {title}",
                "ms",
                {name: measured[metric] for name, metric in values.items()},
            )
        )
        return result

    def _start_sessions(self, **options: Any) -> Popen[str]:
        """Start the idle sessions, and wait until all are connected."""
        size = {"clients": _SESSIONS, "publishers": 0, "seconds": 0}
        options["transport"] = self._transport
        sessions = self._start(**size, hold=True, **options)
        await_sessions(sessions)
        return sessions

    def _end(self, sessions: Popen[str]) -> None:
        collect_metrics(sessions, _LIMIT)

    def _start(self, **load: Any) -> Popen[str]:
        options = {"transport": WEBSOCKET, **load}
        return start_load(self._program, self._server.port, (), options)
