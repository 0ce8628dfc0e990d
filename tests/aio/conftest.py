"""A Bayeux server in a process of its own, and programs that use it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SECONDS = 120
"""In which a program must end, on the slowest machine."""


@dataclass
class Server:
    """Where the server is, and the file with its certificate."""

    url: str
    tls_url: str
    certificate: Path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Start a Bayeux server."""
    certificate = tmp_path_factory.mktemp("server") / "certificate.pem"
    with subprocess.Popen(
        [sys.executable, "-m", "tests.aio.server", str(certificate)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        http, https = map(int, process.stdout.readline().split())
        yield Server(
            f"http://localhost:{http}/bayeux",
            f"https://127.0.0.1:{https}/bayeux",
            certificate,
        )
        process.kill()


@pytest.fixture
def url(server: Server) -> str:
    """Return the URL of the server."""
    return server.url


@pytest.fixture
def run() -> Callable[..., str]:
    """Run Python with warnings as errors; return what it printed.

    It must end without errors, and print none: nobody waits for an exception that is
    raised while the interpreter frees what a program left behind.
    """

    def run(*arguments: str, folder: Path = ROOT) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return run
