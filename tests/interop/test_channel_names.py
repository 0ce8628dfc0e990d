"""``--channel-names cometd`` with CometD's JavaScript client."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import servers, tools
from .client_program import DEADLINE
from .servers import Server
from .test_ack import Program

NAMES = ["/news.v2/a b", "/{x}/#1+2", "/chat/"]


@pytest.fixture(params=["one", "two"])
def wide(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """One server in memory, or two front-ends on Redis that take turns."""
    server = servers.txbayeux(
        tmp_path / "output",
        10,
        [],
        shared=request.param == "two",
        more=["--channel-names=cometd"],
    )
    server.start()
    yield server
    server.kill()


def publish(server: Server, channel: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
    body = json.dumps({"channel": channel, "data": channel})
    connection.request("POST", "/bayeux", body, {"Content-Type": "application/json"})
    (reply,) = json.loads(connection.getresponse().read())
    connection.close()
    assert reply["successful"], reply


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        *((name, [name]) for name in NAMES),
        ("/news.v2/*", ["/news.v2/a b", "/news.v2/:"]),
    ],
)
def test_messages_come_on_channels_with_such_names(
    wide: Server, channel: str, expected: list[str]
) -> None:
    command = ["node", "ack.js", wide.url, "long-polling", channel]
    program = Program(command, tools.node_programs())
    try:
        program.wait({"ready": True})
        for name in (*NAMES, "/news.v2", "/chat"):
            if name != expected[-1]:
                publish(wide, name)
        publish(wide, expected[-1])
        program.wait({"data": expected[-1]})
        assert program.data == expected
    finally:
        program.stop()
