"""What a pair of clients notices while ten thousand others come, idle and leave."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from typing import Any, Final

from benchmarks.generator import Failed, await_sessions, figures, start_load
from benchmarks.growth import Point
from benchmarks.peers import PEERS, Process
from benchmarks.scenarios import POLLING, WEBSOCKET
from benchmarks.suite import say

_LIMIT: Final = 120.0
_TXBAYEUX: Final = next(peer for peer in PEERS if peer.name == "txbayeux")
_CROWD: Final = 10_000
_HOLD: Final = 4
_LIFE: Final = 8
# Short times, so that the sweeps of all sessions are seen too.
_TIMES: Final = (f"--timeout={_HOLD}", f"--session-timeout={_LIFE}")


def measure(program: Path) -> list[Point]:
    """Measure each, on a server of its own."""
    say("   pauses")
    points: list[Point] = []
    for scene, transport in (
        (_Scene.come_and_close, WEBSOCKET),
        (_Scene.take_turns, WEBSOCKET),
        (_Scene.leave_at_once, WEBSOCKET),
        (_Scene.come_and_close, POLLING),
    ):
        server = _server()
        try:
            scene(_Scene(program, server, points, transport))
        except Failed as failure:
            say(f"   failed: {failure}")
        finally:
            server.stop()
    return points


def _server() -> Process:
    command = _TXBAYEUX.command
    return Process(
        replace(_TXBAYEUX, command=lambda *ports: [*command(*ports), *_TIMES])
    )


class _Scene:
    """A crowd on one server, and the pair beside it."""

    def __init__(
        self, program: Path, server: Process, points: list[Point], transport: str
    ) -> None:
        self._program = program
        self._server = server
        self._points = points
        self._transport = transport

    def come_and_close(self) -> None:
        """Come up, idle, close all connections in the same instant, and expire."""
        crowd = self._watch("come up", 6, lambda: self._crowd(stay=True))
        self._watch("have their connects answered, and connect again", _HOLD + 2)
        self._watch("close their connections in the same instant", 3, self._part, crowd)
        self._watch("expire", _HOLD + _LIFE)

    def take_turns(self) -> None:
        """Leave by a message, each on its word that another has left."""
        crowd = self._crowd()
        self._watch("leave by a message, 64 at a time", 4, self._part, crowd)

    def leave_at_once(self) -> None:
        """Leave by a message that all send without waiting for anybody."""
        crowd = self._crowd(leaving=_CROWD)
        self._watch("leave by a message, all in the same instant", 4, self._part, crowd)

    def _watch(
        self, what: str, seconds: float, act: Callable[..., Any] = int, *arguments: Any
    ) -> Any:
        """Measure the pair while ``act`` runs, and return its result."""
        probe = {"clients": 1, "rate": 200, "seconds": seconds, "warm_up": 0}
        pair = self._start(**probe)
        time.sleep(0.5)  # for it to begin
        result = act(*arguments)
        measured = figures(pair, _LIMIT)
        values = {"p50": "p50_ms", "p99": "p99_ms", "longest": "max_ms"}
        self._points.append(
            Point(
                f"a pair's latency while {_CROWD:,} over {self._transport} {what}",
                "ms",
                {name: measured[figure] for name, figure in values.items()},
            )
        )
        return result

    def _crowd(self, **options: Any) -> Popen[str]:
        """Start the crowd, and wait for its sessions."""
        size = {"clients": _CROWD, "publishers": 0, "seconds": 0}
        options["transport"] = self._transport
        crowd = self._start(**size, ask=True, **options)
        await_sessions(crowd)
        return crowd

    def _part(self, crowd: Popen[str]) -> None:
        figures(crowd, _LIMIT)

    def _start(self, **load: Any) -> Popen[str]:
        options = {"transport": WEBSOCKET, **load}
        return start_load(self._program, self._server.port, (), options)
