"""How our own cost grows: per delivery, per publish, per session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.generator import Failed, figures, start_load
from benchmarks.peers import PEERS, Process
from benchmarks.scenarios import WEBSOCKET
from benchmarks.suite import say

_LIMIT: Final = 120.0
_TXBAYEUX: Final = next(peer for peer in PEERS if peer.name == "txbayeux")
_PAIRS: Final = {"clients": 100, "channels": 100, "publishers": 100, "window": 100}


@dataclass(frozen=True)
class Point:
    """One line of the report."""

    what: str
    unit: str
    values: dict[str, float]


def measure(program: Path, seconds: float) -> list[Point]:
    """Measure all of it, on servers of our own only."""
    points = []
    for name, step in (
        ("fan-out", _fan_out),
        ("publishing", _publishing),
        ("memory", _memory),
    ):
        say(f"   growth: {name}")
        try:
            points.append(step(program, seconds))
        except Failed as failure:
            say(f"   failed: {failure}")
    return points


def table(points: list[Point]) -> list[str]:
    """Write it as Markdown."""
    lines = ["| | | |", "|---|---|---:|"]
    for point in points:
        for name, value in point.values.items():
            lines.append(f"| {point.what} | {name} | {value:.2f} {point.unit} |")
    return lines


def _run(program: Path, server: Process, **load: Any) -> dict[str, Any]:
    options = {"transport": WEBSOCKET, **load}
    return figures(start_load(program, server.port, server.pids, options), _LIMIT)


def _fan_out(program: Path, seconds: float) -> Point:
    values = {}
    server = Process(_TXBAYEUX)
    try:
        for subscribers in (10, 100, 1000, 10_000):
            measured = _run(program, server, clients=subscribers, seconds=seconds)
            values[f"{subscribers:,} subscribers"] = measured["delivery_us"]
    finally:
        server.stop()
    return Point("server CPU per delivery, ten in flight", "µs", values)


def _publishing(program: Path, seconds: float) -> Point:
    loads: dict[str, dict[str, Any]] = {
        "100 sessions, 100 subscriptions": {},
        "100 sessions, 100,000 subscriptions": {"unrelated": 999},
        "5,000 sessions on 5,000 channels": {"clients": 5000, "channels": 5000},
    }
    values = {}
    server = Process(_TXBAYEUX)
    try:
        for name, load in loads.items():
            measured = _run(program, server, **{**_PAIRS, **load}, seconds=seconds)
            values[name] = measured["publish_us"]
    finally:
        server.stop()
    return Point("server CPU per publish to one subscriber", "µs", values)


def _memory(program: Path, seconds: float) -> Point:
    values = {}
    for sessions in (1000, 5000, 10_000):
        server = Process(_TXBAYEUX)
        try:
            load = {"clients": sessions, "publishers": 0, "seconds": 0}
            measured = _run(program, server, **load)
        finally:
            server.stop()
        values[f"{sessions:,} sessions"] = measured["session_kib"]
    return Point("memory per idle WebSocket session", "KiB", values)
