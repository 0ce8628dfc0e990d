"""``txbayeux subscribe --transport eventsource --ack``: messages come at once.

They come with replies to connects, which this server holds for ten minutes.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from . import servers
from .client_program import DEADLINE
from .servers import Server

HOLD = 600


@pytest.fixture(params=["one", "two"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One server in memory, or two front-ends on Redis that take turns."""
    server = servers.txbayeux(
        tmp_path / "output",
        HOLD,
        [],
        shared=request.param == "two",
        more=[f"--session-timeout={2 * HOLD}"],
    )
    server.start()
    yield server
    server.kill()


class Subscriber:
    """The command, and the data of the messages that it printed."""

    def __init__(self, url: str) -> None:
        command = "from txbayeux.cli import main; main()"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", command, "subscribe", url, "/a"),
                *("--transport", "eventsource", "--ack"),
            ],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self.data: list[object] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.data.append(json.loads(line)["data"])

    def received(self, data: object, seconds: float) -> bool:
        """Wait for a message for at most so long; return whether it came."""
        end = time.monotonic() + seconds
        while data not in self.data:
            assert self._process.poll() is None, "the command ended"
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)
        self._thread.join(DEADLINE)
        assert self._process.stdout is not None
        self._process.stdout.close()


def publish(server: Server, data: object) -> None:
    body = json.dumps({"channel": "/a", "data": data}).encode()
    request = Request(server.url, body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=DEADLINE) as response:
        (reply,) = json.load(response)
    assert reply["successful"], reply


def test_messages_come_at_once(shared: Server) -> None:
    subscriber = Subscriber(shared.url)
    try:
        end = time.monotonic() + DEADLINE
        publish(shared, "first")
        while not subscriber.received("first", 0.5):
            assert time.monotonic() < end, "it has not subscribed"
            publish(shared, "first")
        for number in range(3):
            publish(shared, number)
            assert subscriber.received(number, DEADLINE)
        assert [data for data in subscriber.data if data != "first"] == [0, 1, 2]
    finally:
        subscriber.stop()
