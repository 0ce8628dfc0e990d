"""The service under test, as processes, and what they hold."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.request import Request, urlopen

from tests.chaos.deployment import Node
from tests.engine.redis_server import RedisServer
from tests.leaks.census import CHANNEL
from tests.leaks.peer import Peer
from tests.ports import free_port

DATA: Final = "x" * 100_000
"""What is published to those that do not read: more than the kernel takes for them."""

LIFETIME: Final = 0.6
"""Seconds after which the token buckets of a peer that does nothing are forgotten."""

_OPTIONS: Final = (
    *("--extension", "tests.leaks.census:Census"),
    *("--trusted-proxy", "127.0.0.1"),
    # All rates have buckets that are full again after half a second.
    *("--peer-handshakes", "2000:1000", "--peer-requests", "10000:5000"),
    *("--peer-bytes", "16777216:8388608", "--peer-publishes", "2000:1000"),
    *("--session-messages", "2000:1000", "--session-publishes", "2000:1000"),
    *("--session-bytes", "16777216:8388608"),
)
_REDIS_OPTIONS: Final = ("--redis-log-bytes", "4194304")

_PRIMING: Final = 340
"""Requests that fill what keeps the last 10,000 entries or 32 MiB: each node's memory.

They have as many messages, of the same kinds and sizes, as the visitors send.
"""

_EMPTY: Final = (
    *("sessions", "subscriptions", "held", "streams"),
    *("queued_messages", "queued_bytes", "backlog_bytes"),
)


@dataclass(frozen=True)
class Measurement:
    """What the processes hold together."""

    rss: int
    """Bytes of memory that are resident."""
    files: int
    objects: Counter[str]
    """Those that the garbage collector knows, by type."""
    garbage: int
    """Objects that it found in cycles."""
    keys: int = 0
    """Keys in Redis."""
    entries: int = 0
    """Entries of the log in Redis."""
    redis_bytes: int = 0
    """Bytes that Redis uses."""

    @property
    def known(self) -> int:
        return sum(self.objects.values())


class MeasuredNode(Node):
    """One process, with an admin port."""

    def __init__(self, folder: Path, redis: RedisServer | None, *options: str) -> None:
        super().__init__(folder, redis and redis.url)
        self.admin = free_port()
        admin = f"tcp:{self.admin}:interface=127.0.0.1"
        self.options = (*_OPTIONS, *options, "--admin", admin)
        if redis is not None:
            self.options += _REDIS_OPTIONS

    @property
    def rss(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    @property
    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def metrics(self) -> dict[str, int]:
        with urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.split() for line in lines if not line.startswith("#"))
        return {name.removeprefix("txbayeux_"): int(n) for name, n in pairs}

    def census(self) -> dict[str, Any]:
        """Return what the extension counts."""
        message = json.dumps([{"channel": CHANNEL, "data": None}]).encode()
        headers = {"Content-Type": "application/json"}
        url = f"http://127.0.0.1:{self.port}/bayeux"
        with urlopen(Request(url, message, headers), timeout=60) as answer:
            counted: dict[str, Any] = json.load(answer)[0]["ext"]
        return counted


class Service:
    """Processes of one service: one without Redis, or two with it."""

    def __init__(self, folder: Path, *options: str, redis: bool) -> None:
        self.redis = RedisServer(folder) if redis else None
        self.nodes = [
            MeasuredNode(folder, self.redis, *options) for _ in range(2 if redis else 1)
        ]
        self._visits = count()

    def start(self) -> None:
        if self.redis is not None:
            self.redis.start()
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait()

    def prime(self) -> None:
        """Fill what processes on Redis keep, so that it grows no more."""
        if self.redis is None:
            return
        peer = Peer(self.nodes[0].port)
        peer.handshake()
        changes = [
            {
                "channel": f"/meta/{change}",
                "clientId": peer.session,
                "subscription": ["/leaks/quiet", f"/leaks/own/{peer.session}", "/q/**"],
            }
            for change in ("subscribe", "unsubscribe")
        ]
        connect = {
            "channel": "/meta/connect",
            "clientId": peer.session,
            "connectionType": "long-polling",
        }
        published = {"channel": "/leaks/nobody", "data": DATA}
        for _ in range(_PRIMING):
            peer.ask_all(*changes * 15, published, connect)
        peer.ask("/meta/disconnect")
        peer.close()

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()
        if self.redis is not None:
            self.redis.stop()

    def settle(self) -> None:
        """Wait until all sessions are gone, and what is known of peers is forgotten."""
        until(self._is_empty, "the end of all sessions", self._occupied)
        for _ in range(3):  # What is forgotten is dropped when others come.
            time.sleep(LIFETIME)
            for node in self.nodes:
                _visit(node.port, f"192.0.2.{next(self._visits) % 256}")
        until(self._is_empty, "the end of all sessions", self._occupied)

    def _occupied(self) -> list[dict[str, int]]:
        """Return, for each process, what is not 0 and should be."""
        all_metrics = [node.metrics() for node in self.nodes]
        return [
            {name: metrics[name] for name in _EMPTY if metrics[name]}
            for metrics in all_metrics
        ]

    def _is_empty(self) -> bool:
        return not any(self._occupied())

    def measure(self) -> Measurement:
        censuses = [node.census() for node in self.nodes]
        objects: Counter[str] = Counter()
        for census in censuses:
            objects.update(census["objects"])
        measured = {
            "rss": sum(node.rss for node in self.nodes),
            "files": sum(node.files for node in self.nodes),
            "garbage": sum(census["garbage"] for census in censuses),
        }
        if self.redis is not None:
            measured |= self._measure_redis()
        return Measurement(objects=objects, **measured)

    def _measure_redis(self) -> dict[str, int]:
        assert self.redis is not None
        with self.redis.client as client:
            logs = list(client.scan_iter("*:log"))
            return {
                "keys": client.dbsize(),
                "entries": sum(client.xlen(log) for log in logs),
                "redis_bytes": client.info("memory")["used_memory"],
            }


def _visit(port: int, address: str) -> None:
    """Do everything once that is counted for a peer, and disconnect."""
    peer = Peer(port, address=address)
    peer.handshake()
    peer.subscribe("/leaks/visit")
    peer.ask("/leaks/other", data=1)
    peer.ask("/meta/disconnect")
    peer.close()


def until(
    done: Callable[[], bool], what: str, state: Callable[[], object], limit: float = 90
) -> None:
    """Wait for a condition."""
    end = time.monotonic() + limit
    while not done():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come in {limit} s: {state()}")
        time.sleep(0.2)


@contextmanager
def running(folder: Path, *options: str, redis: bool) -> Iterator[Service]:
    """Run a service."""
    service = Service(folder, *options, redis=redis)
    try:
        service.start()
        yield service
    finally:
        service.stop()
