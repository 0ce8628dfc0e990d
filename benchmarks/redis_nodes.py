"""Two nodes on one Redis: the work of Redis per publish, and latency."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.generator import Failed, collect_metrics, start_load
from benchmarks.growth import Series
from benchmarks.peers import PEERS, Process
from benchmarks.scenarios import WEBSOCKET
from benchmarks.suite import progress

_REDIS: Final = next(peer for peer in PEERS if peer.name == "txbayeux-redis")
_LIMIT: Final = 120.0
_CALL: Final = re.compile(r"cmdstat_(\w+):calls=(\d+),usec=(\d+)")
_LONG: Final = {"warm_up": 3}


def measure(program: Path, seconds: float) -> list[Series]:
    """Measure both; one that fails is left out."""
    series = []
    for step in (_work, _latency):
        progress("   Redis")
        try:
            series.append(step(program, seconds))
        except Failed as failure:
            progress(f"   failed: {failure}")
    return series


def _work(program: Path, seconds: float) -> Series:
    """Return calls and time per publish, from the command statistics of Redis."""
    values = {}
    for subscribers in (10, 100, 1000):
        server = Process(_REDIS)
        try:
            load: dict[str, Any] = {"clients": subscribers, "rate": 50, **_LONG}
            options = {"transport": WEBSOCKET, "seconds": seconds * 4, **load}
            running = start_load(program, server.port, server.pids, options)
            # Measured while all clients are connected and none connects or leaves.
            time.sleep(seconds * 2 + 2)
            before = _statistics(server.redis_port)
            time.sleep(seconds)
            after = _statistics(server.redis_port)
            collect_metrics(running, _LIMIT)
        finally:
            server.stop()
        done = {
            name: [
                one - other
                for one, other in zip(after[name], before[name], strict=True)
            ]
            for name in ("evalsha", "publish", "xadd")
        }
        published = done["xadd"][0]
        what = f"{subscribers:,} subscribers"
        values[f"{what}: calls per publish"] = done["evalsha"][0] / published
        values[f"{what}: publications on feeds"] = done["publish"][0] / published
        values[f"{what}: µs of Redis CPU per publish"] = done["evalsha"][1] / published
    return Series("two nodes on Redis, from its command statistics", "", values)


def _latency(program: Path, seconds: float) -> Series:
    """Return the latency of publishes at a fixed rate.

    Both nodes and Redis share one core.  200 publishes a second to 1,000 subscribers
    are 200,000 deliveries, which keep that core fully busy; the lower rate shows the
    latency without queueing.
    """
    values = {}
    for subscribers, rate in ((10, 200), (100, 200), (1000, 100), (1000, 200)):
        server = Process(_REDIS)
        what = f"{subscribers:,} subscribers, {rate} publishes/s"
        try:
            load: dict[str, Any] = {"clients": subscribers, "rate": rate, **_LONG}
            measured = _run(program, server, seconds=seconds * 4, **load)
        except Failed as failure:
            progress(f"   {what}: {failure}")
            continue
        finally:
            server.stop()
        values[f"{what}: p50"] = measured["p50_ms"]
        values[f"{what}: p99"] = measured["p99_ms"]
    return Series("latency from publish to delivery, two nodes on Redis", "ms", values)


def _run(program: Path, server: Process, **load: Any) -> dict[str, Any]:
    options = {"transport": WEBSOCKET, **load}
    return collect_metrics(
        start_load(program, server.port, server.pids, options), _LIMIT
    )


def _statistics(port: int) -> dict[str, tuple[int, int]]:
    """Return number of calls and microseconds of each command."""
    text = b""
    with socket.create_connection(("127.0.0.1", port), 5) as redis:
        redis.sendall(b"INFO commandstats\r\nQUIT\r\n")
        while part := redis.recv(65536):
            text += part
    found = _CALL.findall(text.decode())
    return {name: (int(calls), int(usec)) for name, calls, usec in found}
