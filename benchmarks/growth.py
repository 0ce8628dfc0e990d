"""How the cost of a delivery, a publish and a session depends on their number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.generator import Failed, collect_metrics, start_load
from benchmarks.peers import PEERS, Process
from benchmarks.scenarios import WEBSOCKET
from benchmarks.suite import progress

_LIMIT: Final = 120.0
_TXBAYEUX: Final = next(peer for peer in PEERS if peer.name == "txbayeux")
_PAIRS: Final = {"clients": 100, "channels": 100, "publishers": 100, "window": 100}


@dataclass(frozen=True)
class Series:
    """Figures of one kind under different loads."""

    title: str
    unit: str
    values: dict[str, float]


def measure(program: Path, seconds: float) -> list[Series]:
    """Measure all of these for txbayeux."""
    series = []
    for name, step in (
        ("fan-out", _fan_out),
        ("publishing", _publishing),
        ("memory", _memory),
    ):
        progress(f"   growth: {name}")
        try:
            series.append(step(program, seconds))
        except Failed as failure:
            progress(f"   failed: {failure}")
    return series


def markdown(series: list[Series]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = ["| | | |", "|---|---|---:|"]
    for one in series:
        for name, value in one.values.items():
            lines.append(f"| {one.title} | {name} | {value:.2f} {one.unit} |")
    return lines


def _run(program: Path, server: Process, **load: Any) -> dict[str, Any]:
    options = {"transport": WEBSOCKET, **load}
    return collect_metrics(
        start_load(program, server.port, server.pids, options), _LIMIT
    )


def _fan_out(program: Path, seconds: float) -> Series:
    values = {}
    server = Process(_TXBAYEUX)
    try:
        for subscribers in (10, 100, 1000, 10_000):
            measured = _run(program, server, clients=subscribers, seconds=seconds)
            values[f"{subscribers:,} subscribers"] = measured["delivery_us"]
    finally:
        server.stop()
    return Series("server CPU per delivery, ten in flight", "µs", values)


def _publishing(program: Path, seconds: float) -> Series:
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
    return Series("server CPU per publish to one subscriber", "µs", values)


def _memory(program: Path, seconds: float) -> Series:
    values = {}
    for sessions in (1000, 5000, 10_000):
        server = Process(_TXBAYEUX)
        try:
            load = {"clients": sessions, "publishers": 0, "seconds": 0}
            measured = _run(program, server, **load)
        finally:
            server.stop()
        values[f"{sessions:,} sessions"] = measured["session_kib"]
    return Series("memory per idle WebSocket session", "KiB", values)
