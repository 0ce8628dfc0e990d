"""A Redis and some nodes, each a process that can be killed or frozen."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM

from tests.engine.redis_server import RedisServer
from tests.ports import free_port

ROOT = Path(__file__).parent.parent.parent


class Node:
    """One ``twistd bayeux``.

    :param url: of Redis; None for the engine in memory.
    """

    options: tuple[str, ...] = ()

    def __init__(self, folder: Path, url: str | None) -> None:
        self.port = free_port()
        self._folder = folder
        self._url = url
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self._folder / f"node-{self.port}.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        command = [
            *(Path(sys.executable).with_name("twistd"), "-n", "--pidfile=", "bayeux"),
            *("--listen", f"tcp:{self.port}:interface=127.0.0.1"),
            *(() if self._url is None else ("--redis", self._url)),
            *("--timeout", "4", "--session-timeout", "30"),
            *self.options,
        ]
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=log, stderr=log, env=environ
            )

    def wait(self, health: str = "200") -> None:
        """Wait until its health check answers with this status."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                    probe.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                    if f" {health} ".encode() in probe.recv(100):
                        return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"no node on {self.port}: {self.log.read_text()}")

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the process until the context ends."""
        assert self._process is not None
        self._process.send_signal(SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(SIGCONT)

    def freeze(self, seconds: float) -> None:
        """Freeze the process for this time."""
        with self.frozen():
            time.sleep(seconds)

    def terminate(self) -> None:
        """Send SIGTERM, and do not wait for the end of the process."""
        assert self._process is not None
        self._process.send_signal(SIGTERM)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(SIGKILL)
            self._process.wait(20)
            self._process = None


class Deployment:
    """Some nodes on one Redis, which writes every command to disk at once."""

    def __init__(self, folder: Path, size: int, kind: type[Node] = Node) -> None:
        self.redis = RedisServer(
            folder, "--appendonly", "yes", "--appendfsync", "always"
        )
        self.redis.start()
        self.nodes = [kind(folder, self.redis.url) for _ in range(size)]
        self.kills = 0
        try:
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                node.wait()
        except BaseException:
            self.stop()
            raise

    @property
    def ports(self) -> list[int]:
        return [node.port for node in self.nodes]

    def freeze_redis(self, seconds: float) -> None:
        with self.redis.frozen():
            time.sleep(seconds)

    def restart_redis(self, seconds: float) -> None:
        self.redis.stop()
        time.sleep(seconds)
        self.redis.start()

    def empty_redis(self, seconds: float) -> None:
        """Restart Redis without its data."""
        self.redis.stop()
        for name in ("appendonly.aof", "appendonlydir"):  # of Redis 6 and 7
            path = self.redis.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        time.sleep(seconds)
        self.redis.start()

    def restart_node(self, number: int, seconds: float) -> None:
        self.nodes[number].kill()
        self.kills += 1
        time.sleep(seconds)
        self.nodes[number].start()
        self.nodes[number].wait()

    def stop(self) -> None:
        for node in self.nodes:
            node.kill()
        self.redis.stop()
