"""CometD's acknowledgement with CometD's own clients and ours, as connections break.

A proxy drops connections at random, with fixed seeds.  Every message must come
exactly once and in order, in one session, from one server or from two that share it.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from . import servers, tools
from .client_program import DEADLINE
from .dropping import DroppingProxy
from .servers import Server

MESSAGES = 300
DROPS = 5


@pytest.fixture(params=["one", "two"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One server in memory, or two front-ends on Redis that take turns."""
    server = servers.txbayeux(tmp_path / "output", 3, [], shared=request.param == "two")
    server.start()
    yield server
    server.kill()


class Program:
    """A client's program, and what it printed."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self.lines: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(json.loads(line))

    def wait(self, wanted: dict[str, Any]) -> None:
        end = time.monotonic() + DEADLINE
        while wanted not in self.lines[-20:]:
            assert time.monotonic() < end, f"no {wanted} after {self.lines[-5:]}"
            time.sleep(0.05)

    @property
    def data(self) -> list[Any]:
        return [line["data"] for line in self.lines if "data" in line]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)
        self._thread.join(DEADLINE)
        assert self._process.stdout is not None
        self._process.stdout.close()


def publish(server: Server, data: object) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    body = json.dumps({"channel": "/ack/numbers", "data": data})
    connection.request("POST", "/bayeux", body, {"Content-Type": "application/json"})
    (reply,) = json.loads(connection.getresponse().read())
    connection.close()
    assert reply["successful"], reply


def node(url: str, transport: str) -> Program:
    folder = tools.node_programs()
    return Program(["node", "ack.js", url, transport, "/ack/*"], folder)


def java(url: str, transport: str) -> Program:
    command = tools.java_programs()
    return Program(
        [*command, "txbayeux.interop.Ack", url, transport, "/ack/*"], tools.JAVA
    )


def ours(url: str, transport: str) -> Program:
    folder = tools.HERE.parent.parent
    program = str(tools.HERE / "ours.py")
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    return Program([sys.executable, program, url, transport, "/ack/*"], folder, environ)


@pytest.mark.parametrize("transport", ["long-polling", "websocket"])
@pytest.mark.parametrize("client", [node, java, ours])
def test_every_message_comes_once_and_in_order(
    shared: Server, client: Any, transport: str
) -> None:
    proxy = DroppingProxy([shared.port], seed=7, rate=0.0)
    program = client(f"http://127.0.0.1:{proxy.port}/bayeux", transport)
    try:
        program.wait({"ready": True})
        proxy.rate = 0.05
        published = 0
        while published < MESSAGES or (proxy.dropped < DROPS and published < 1500):
            publish(shared, published)
            published += 1
            time.sleep(0.004)
        proxy.rate = 0.0
        publish(shared, "end")
        program.wait({"data": "end"})
        handshakes = [line for line in program.lines if "handshake" in line]
        print(f"\n{proxy.dropped} connections dropped, {len(program.data)} messages")
        assert handshakes == [{"handshake": True, "ack": True}]
        assert program.data == [*range(published), "end"]
        assert proxy.dropped >= DROPS
    finally:
        program.stop()
        proxy.close()
