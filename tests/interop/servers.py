"""The servers that the tests run against: ours, Faye's and CometD's."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.ports import free_port

from .client_program import DEADLINE
from .refusing import REFUSED

_HERE: Final = Path(__file__).parent
_ROOT: Final = str(_HERE.parent.parent)


@dataclass(kw_only=True)
class Server:
    """A server process, on a port that it keeps when it is restarted."""

    command: Sequence[str]
    directory: Path
    output: Path
    """The file that its output is appended to."""
    port: int
    refusal: str = REFUSED
    """The beginning of the error that its extension sets."""
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The Bayeux URL."""
        return f"http://127.0.0.1:{self.port}/bayeux"

    @property
    def alive(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + DEADLINE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                assert self.alive, f"The server ended:\n{self.log()}"
                assert time.monotonic() < end, f"It does not listen:\n{self.log()}"
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """Terminate it, and wait until it has ended."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE)

    def kill(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        """Return the end of its output."""
        return self.output.read_text(errors="replace")[-8000:]


def txbayeux(
    output: Path,
    timeout: int,
    origins: Sequence[str],
    *,
    shared: bool = False,
    more: Sequence[str] = (),
) -> Server:
    """Return our server.

    :param timeout: seconds for which it holds a connect.
    :param origins: other origins that are allowed.
    :param shared: two front-ends on Redis, behind a proxy that alternates.
    :param more: options of ``twistd bayeux``.
    """
    port = free_port()
    options = [
        "--mount=/bayeux",
        f"--timeout={timeout}",
        "--extension=refusing:factory",
        *(f"--allow-origin={origin}" for origin in origins),
        *more,
    ]
    if shared:
        command = [sys.executable, str(_HERE / "round_robin.py"), str(port), *options]
    else:
        twistd = str(Path(sys.executable).with_name("twistd"))
        command = [twistd, "--nodaemon", "--pidfile=", "bayeux", f"--port={port}"]
        command += options
    path = os.pathsep.join(
        filter(None, [str(_HERE), _ROOT, os.environ.get("PYTHONPATH")])
    )
    return Server(
        command=command,
        directory=output.parent,
        output=output,
        port=port,
        environment={"PYTHONPATH": path},
    )


def faye(output: Path, timeout: int, programs: Path) -> Server:
    """Return Faye's server for Node.

    :param programs: the directory node/, installed.
    """
    port = free_port()
    return Server(
        command=["node", "peers/faye.js", str(port), str(timeout)],
        directory=programs,
        output=output,
        port=port,
    )


def cometd_node(output: Path, timeout: int, programs: Path) -> Server:
    """Return CometD's server for Node.

    :param programs: the directory node/, installed.
    """
    port = free_port()
    return Server(
        command=["node", "peers/cometd.js", str(port), str(timeout)],
        directory=programs,
        output=output,
        port=port,
        refusal="403:",
    )


def cometd_java(output: Path, timeout: int, java: Sequence[str]) -> Server:
    """Return CometD's Java server.

    :param java: the command that runs a class of java/.
    """
    port = free_port()
    return Server(
        command=[*java, "txbayeux.interop.CometDServer", str(port), str(timeout)],
        directory=output.parent,
        output=output,
        port=port,
        refusal="403:",
    )
