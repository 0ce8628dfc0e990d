"""CometD's JavaScript client calls functions of the server, and asks for its time."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import servers, tools
from .client_program import DEADLINE
from .servers import Server


@pytest.fixture(params=["one", "two"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One server in memory, or two front-ends on Redis that take turns."""
    server = servers.txbayeux(
        tmp_path / "output",
        10,
        [],
        shared=request.param == "two",
        more=[
            "--extension=examples.calls:Calls",
            "--extension=txbayeux.extensions:ServerTimeSync",
        ],
    )
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("transport", ["long-polling", "websocket"])
def test_remote_calls_are_answered_and_the_clock_is_compared(
    shared: Server, transport: str
) -> None:
    done = subprocess.run(
        ["node", "call.js", shared.url, transport],
        cwd=tools.node_programs(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=2 * DEADLINE,
    )
    assert done.returncode == 0, done.stderr + shared.log()
    answers: list[dict[str, Any]] = [
        json.loads(line) for line in done.stdout.splitlines()
    ]
    times = answers.pop()
    nobody = answers.pop()
    words = [(answer["successful"], answer["data"]) for answer in answers]
    assert words[:2] == [
        (True, {"words": 6}),
        (False, {"message": "text must be a string"}),
    ]
    # Sent at once, so two front-ends may answer them in any order.
    counts = sorted(data["words"] for _, data in words[2:])
    assert counts == [1, 2, 3]
    assert nobody == {"call": "/nobody", "successful": False, "error": "406::timeout"}
    assert times["handshake"].keys() == {"tc", "ts", "p", "a"}
    # Both have the same clock; what is left is how long the messages took.
    assert abs(times["offset"]) <= 1000 * DEADLINE
