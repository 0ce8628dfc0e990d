"""100,000 channels with one subscriber each: memory, and recovery from failures.

Node A has the publisher of a probe; node B has all sessions, and the subscriber of the
probe.  Each failure is watched from outside: by the probe, by requests for B's
``/health``, and by Redis's log of slow commands.
"""

from __future__ import annotations

import http.client
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import Popen
from typing import Any, Final, Self

import hiredis

from benchmarks.generator import Failed, await_sessions, collect_metrics, start_load
from benchmarks.growth import Series
from benchmarks.peers import PEERS, Process
from benchmarks.scenarios import PROCESSES, WEBSOCKET
from benchmarks.suite import progress
from txbayeux.engine.redis.scripts import NAMES, load

_PEER: Final = next(peer for peer in PEERS if peer.name == "txbayeux-redis")
_SESSIONS: Final = 10_000
_SUBSCRIPTIONS: Final = 10
_LIMIT: Final = 120.0
_WATCHED: Final = 8.0  # seconds: longer than any recovery
_SLOW: Final = ("--slowlog-log-slower-than", "100", "--slowlog-max-len", "10000")
_A, _B = 0, 1
_SCRIPTS: Final = {load(name).sha: name for name in NAMES}


def measure(program: Path) -> list[Series]:
    """Measure each; one that fails is left out."""
    series: list[Series] = []
    for step in (_memory, _failures, _dead_node):
        progress(f"   many channels: {step.__name__.strip('_').replace('_', ' ')}")
        try:
            series += step(program)
        except Failed as failure:
            progress(f"   failed: {failure}")
    return series


class _Service:
    """Two nodes on one Redis, and sessions on node B."""

    def __init__(self, program: Path, folder: str = ".") -> None:
        self._program = program
        self.process = Process(_PEER, redis_options=("--dir", folder, *_SLOW))
        self._prefer_redis()
        self.sessions: Popen[str] | None = None

    def _prefer_redis(self) -> None:
        """Raise the priority of Redis, if permitted: its log has elapsed time."""
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, self.process.pids[0], -20)

    def restart_redis(self) -> None:
        """Start Redis again after a shutdown; return when it has its data."""
        self.process.restart_redis()
        self._prefer_redis()
        while self.ask("PING") != "PONG":
            time.sleep(0.01)

    def start_sessions(self, subscriptions: int) -> None:
        """Start the sessions, with this many channels each that no other one has."""
        self.sessions = self._load(
            clients=_SESSIONS,
            channels=_SESSIONS * subscriptions,
            subscriptions=subscriptions,
            publishers=0,
            seconds=0,
            hold=True,
            rejoin=True,
            keep_open=True,
            subscriber_port=self.process.ports[_B],
        )
        await_sessions(self.sessions)
        time.sleep(2)  # until nothing is being written

    def start_probe(self, seconds: float) -> Popen[str]:
        """Start a publisher on A and a subscriber on B, 100 messages a second."""
        probe = self._load(
            clients=1,
            rate=100,
            warm_up=0,
            seconds=seconds,
            publisher_port=self.process.ports[_A],
            subscriber_port=self.process.ports[_B],
        )
        time.sleep(1)  # until both are connected
        return probe

    def _load(self, **options: Any) -> Popen[str]:
        options["transport"] = WEBSOCKET
        return start_load(self._program, self.process.port, (), options)

    def ask(self, *arguments: str) -> Any:
        """Return Redis's reply to a command; None if it closes the connection."""
        reader = hiredis.Reader(encoding="utf-8", errors="replace")
        command = [f"*{len(arguments)}\r\n"]
        command += [f"${len(one.encode())}\r\n{one}\r\n" for one in arguments]
        where = ("127.0.0.1", self.process.redis_port)
        with socket.create_connection(where, _LIMIT) as redis:
            redis.sendall("".join(command).encode())
            reply: Any = False
            while reply is False and (part := redis.recv(65536)):
                reader.feed(part)
                reply = reader.gets()
        return None if reply is False else reply

    def key(self, name: str) -> str:
        """Return the only key of this kind."""
        found: str = self.ask("KEYS", f"*:{name}")[0]
        return found

    def memory(self) -> tuple[float, float]:
        """Return the bytes that Redis and B use."""
        used = self.ask("INFO", "memory").partition("used_memory:")[2]
        pages = int(Path(f"/proc/{self.process.pids[2]}/statm").read_text().split()[1])
        return float(used.split()[0]), float(pages * os.sysconf("SC_PAGE_SIZE"))

    def cpu(self) -> dict[int, float]:
        """Return the CPU seconds of each process since its start."""
        # The clock of a process, as in clock_getcpuclockid(3).
        return {pid: time.clock_gettime((~pid << 3) | 2) for pid in self.process.pids}

    def longest_script(self) -> tuple[str, float]:
        """Return name and milliseconds of the longest script in Redis's log."""
        longest = ("none", 0.0)
        for _, _, duration, arguments, *_ in self.ask("SLOWLOG", "GET", "-1"):
            if arguments[0] in ("EVAL", "EVALSHA") and duration / 1000 > longest[1]:
                # EVAL, with the source, is the first use of a script on a connection.
                longest = _SCRIPTS.get(arguments[1], "first use"), duration / 1000
        return longest

    def stop(self) -> None:
        if self.sessions is not None:
            self.sessions.kill()
            self.sessions.communicate()
        self.process.stop()


def _memory(program: Path) -> list[Series]:
    """Return memory per session with one channel, and per further subscription."""
    used: list[tuple[float, ...]] = []
    for subscriptions in (1, _SUBSCRIPTIONS):
        service = _Service(program)
        try:
            before = service.memory()
            service.start_sessions(subscriptions)
            pairs = zip(service.memory(), before, strict=True)
            used.append(tuple(after - earlier for after, earlier in pairs))
        finally:
            service.stop()
    one, many = used
    further = _SESSIONS * (_SUBSCRIPTIONS - 1)
    return [
        Series(
            f"memory with {_SESSIONS:,} WebSocket sessions, a subscriber per channel",
            "bytes",
            {
                f"{where}, per {what}": value
                for place, where in enumerate(("Redis", "node"))
                for what, value in (
                    ("session with one channel", one[place] / _SESSIONS),
                    ("further subscription", (many[place] - one[place]) / further),
                )
            },
        )
    ]


class _Health:
    """Requests a node's ``/health`` again and again: how long do answers take?"""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.longest = self.unavailable = 0.0
        """Seconds: of the longest answer, and until the last one that was not 200."""

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, 30)
        while not self._ended.wait(0.005):
            start = time.monotonic()
            connection.request("GET", "/health")
            response = connection.getresponse()
            response.read()
            now = time.monotonic()
            self.longest = max(self.longest, now - start)
            if response.status != 200:
                self.unavailable = now - self._started


class _Failures:
    """Causes failures of one service, and watches what follows."""

    def __init__(self, service: _Service, folder: str) -> None:
        self._service = service
        self._folder = folder
        self._quiet: Mapping[str, float] = {}

    def nothing(self) -> None:
        """Do nothing, for comparison."""

    def lose_feed(self) -> None:
        """Close the connection of B's feed."""
        lines = self._service.ask("CLIENT", "LIST", "TYPE", "pubsub").splitlines()
        last = max(int(line.split()[0].partition("=")[2]) for line in lines)
        self._service.ask("CLIENT", "KILL", "ID", str(last))  # A's is older

    def lose_interest(self) -> None:
        """Remove the interest of all nodes from Redis."""
        self._service.ask("UNLINK", self._service.key("interest"))

    def restart_with_data(self) -> None:
        """Restart Redis, which saves and loads its data."""
        self._service.ask("SHUTDOWN", "SAVE")
        self._service.restart_redis()

    def restart_empty(self) -> None:
        """Restart Redis without its data, and wait until all sessions are back."""
        self._service.ask("SHUTDOWN", "NOSAVE")
        for file in Path(self._folder).iterdir():
            file.unlink()
        self._service.restart_redis()
        assert self._service.sessions is not None
        await_sessions(self._service.sessions)

    def watch(
        self, title: str, act: Callable[[], None], *, probe: bool = True
    ) -> Series:
        """Return what was seen from outside during ``act`` and after it.

        CPU time is that in addition to what it takes without a failure.

        :param probe: whether messages are sent meanwhile: their sessions must not end.
        """
        service = self._service
        running = service.start_probe(_WATCHED) if probe else None
        service.ask("SLOWLOG", "RESET")
        before = service.cpu()
        with _Health(service.process.ports[_B]) as health:
            started = time.monotonic()
            act()
            took = time.monotonic() - started
            measured = collect_metrics(running, _LIMIT) if running else {}
            time.sleep(max(0, started + _WATCHED - time.monotonic()))
        name, longest = service.longest_script()
        values = {
            "this took": took * 1000,
            "B's /health: the last answer that was not 200": health.unavailable * 1000,
            "B's /health: longest answer": health.longest * 1000,
            f"longest script in Redis ({name})": longest,
        }
        if running is not None:
            values["longest time of a message from A to B"] = measured["max_ms"]
        lasted = time.monotonic() - started
        spent = {
            process: (seconds - before.get(pid, 0.0)) / lasted
            for process, (pid, seconds) in zip(
                PROCESSES, service.cpu().items(), strict=False
            )
        }
        for process, busy in spent.items():
            # With the probe, a part of it is not due to the failure.
            others = self._quiet.get(process, 0.0) if probe else 0.0
            values[f"CPU of {process}"] = 1000 * lasted * (busy - others)
        self._quiet = self._quiet or spent
        return Series(title, "ms", values)


def _failures(program: Path) -> list[Series]:
    with tempfile.TemporaryDirectory() as folder:
        service = _Service(program, folder)
        try:
            service.start_sessions(_SUBSCRIPTIONS)
            failures = _Failures(service, folder)
            return [
                failures.watch("no failure", failures.nothing),
                failures.watch("the feed's connection is lost", failures.lose_feed),
                failures.watch(
                    "interest is lost, and registered anew", failures.lose_interest
                ),
                failures.watch(
                    "Redis restarts with its data", failures.restart_with_data
                ),
                failures.watch(
                    "Redis restarts empty, and all sessions come back",
                    failures.restart_empty,
                    probe=False,
                ),
            ]
        finally:
            service.stop()


def _dead_node(program: Path) -> list[Series]:
    """Kill B, and see how fast what it wanted is removed from Redis."""
    service = _Service(program)
    try:
        service.start_sessions(_SUBSCRIPTIONS)
        nodes, interest = service.key("nodes"), service.key("interest")
        service.process.kill(2)
        start = time.monotonic()
        while service.ask("HLEN", nodes) > 1:
            if time.monotonic() - start > _LIMIT:
                raise Failed("the dead node was not removed")
            time.sleep(0.5)
        removed = time.monotonic() - start
        service.ask("SLOWLOG", "RESET")
        before = service.ask("HLEN", interest)
        time.sleep(10)
        name, longest = service.longest_script()
        rate = (before - service.ask("HLEN", interest)) / 10
        return [
            Series(
                f"a dead node, with {_SESSIONS * _SUBSCRIPTIONS:,} subscriptions",
                "s",
                {
                    "until Redis sends nothing to it": removed,
                    "until its interest is removed, from the rate of 10 s": (
                        removed + before / max(rate, 1)
                    ),
                    f"longest script in Redis ({name})": longest / 1000,
                },
            )
        ]
    finally:
        service.stop()
