"""Two front-ends on one Redis: its work per publish, and the time that one takes."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.generator import Failed, figures, start_load
from benchmarks.growth import Point
from benchmarks.peers import PEERS, Process
from benchmarks.scenarios import WEBSOCKET
from benchmarks.suite import say

_REDIS: Final = next(peer for peer in PEERS if peer.name == "txbayeux-redis")
_LIMIT: Final = 120.0
_CALL: Final = re.compile(r"cmdstat_(\w+):calls=(\d+),usec=(\d+)")
_LONG: Final = {"warm_up": 3}


def measure(program: Path, seconds: float) -> list[Point]:
    """Take both figures; one that fails is left out."""
    points = []
    for step in (_work, _latency):
        say("   sharing: Redis")
        try:
            points.append(step(program, seconds))
        except Failed as failure:
            say(f"   failed: {failure}")
    return points


def _work(program: Path, seconds: float) -> Point:
    """Measure what a publish costs Redis, however many are subscribed."""
    values = {}
    for subscribers in (10, 100, 1000):
        server = Process(_REDIS)
        try:
            load: dict[str, Any] = {"clients": subscribers, "rate": 50, **_LONG}
            options = {"transport": WEBSOCKET, "seconds": seconds * 4, **load}
            running = start_load(program, server.port, server.pids, options)
            # In the middle of it, when all have come up and nobody leaves.
            time.sleep(seconds * 2 + 2)
            before = _statistics(server.redis_port)
            time.sleep(seconds)
            after = _statistics(server.redis_port)
            figures(running, _LIMIT)
        finally:
            server.stop()
        done = {
            name: [
                one - other
                for one, other in zip(after[name], before[name], strict=True)
            ]
            for name in ("evalsha", "xread", "xadd")
        }
        published = done["xadd"][0]
        calls = (done["evalsha"][0] + done["xread"][0]) / published
        spent = (done["evalsha"][1] + done["xread"][1]) / published
        values[f"{subscribers:,} subscribers: calls per publish"] = calls
        values[f"{subscribers:,} subscribers: µs of Redis per publish"] = spent
    return Point("two front-ends on Redis, by its own command statistics", "", values)


def _latency(program: Path, seconds: float) -> Point:
    """Publish at a steady rate; one core bears both front-ends and Redis.

    200 publishes a second to 1,000 subscribers are 200,000 deliveries, which take
    that core whole; with half as many it shows what the way itself takes.
    """
    values = {}
    for subscribers, rate in ((10, 200), (100, 200), (1000, 100), (1000, 200)):
        server = Process(_REDIS)
        what = f"{subscribers:,} subscribers, {rate} publishes/s"
        try:
            load: dict[str, Any] = {"clients": subscribers, "rate": rate, **_LONG}
            measured = _run(program, server, seconds=seconds * 4, **load)
        except Failed as failure:
            say(f"   {what}: {failure}")
            continue
        finally:
            server.stop()
        values[f"{what}: p50"] = measured["p50_ms"]
        values[f"{what}: p99"] = measured["p99_ms"]
    return Point("publish to delivery, two front-ends on Redis", "ms", values)


def _run(program: Path, server: Process, **load: Any) -> dict[str, Any]:
    options = {"transport": WEBSOCKET, **load}
    return figures(start_load(program, server.port, server.pids, options), _LIMIT)


def _statistics(port: int) -> dict[str, tuple[int, int]]:
    """Return calls and microseconds of each command."""
    text = b""
    with socket.create_connection(("127.0.0.1", port), 5) as redis:
        redis.sendall(b"INFO commandstats\r\nQUIT\r\n")
        while part := redis.recv(65536):
            text += part
    found = _CALL.findall(text.decode())
    return {name: (int(calls), int(usec)) for name, calls, usec in found}
