"""The command and the clients' examples end at the first signal, and ignore others."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
SECONDS = 120
"""How long to wait for what must happen."""

EXAMPLES = [["listen.py", "URL"], ["salesforce.py", "/event/A"]]
COMMANDS = [["subscribe", "URL", "/a"], ["publish", "URL", "/a", "-"]]


class SlowToEnd(http.server.ThreadingHTTPServer):
    """Holds connects, and the reply to a disconnect until the test releases it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.held = threading.Event()
        """Set when a connect is held: the client is up."""
        self.disconnecting = threading.Event()
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that has ended


class Handler(http.server.BaseHTTPRequestHandler):
    server: SlowToEnd
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        replies = [self.reply(message) for message in json.loads(body)]
        text = json.dumps(replies).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def reply(self, message: Any) -> Any:
        reply = {key: message[key] for key in ("channel", "id")} | {"successful": True}
        if "subscription" in message:
            reply["subscription"] = message["subscription"]
        if message["channel"] == "/meta/handshake":
            types = ["long-polling"]
            reply |= {"clientId": "x", "supportedConnectionTypes": types}
            reply |= {"version": "1.0"}
        at_once = message.get("advice", {}).get("timeout") == 0
        if message["channel"] == "/meta/connect" and not at_once:
            self.server.held.set()
            self.server.released.wait(SECONDS)
        if message["channel"] == "/meta/disconnect":
            self.server.disconnecting.set()
            self.server.released.wait(SECONDS)
        return reply

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[SlowToEnd]:
    server = SlowToEnd()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def start(
    server: SlowToEnd, program: list[str], folder: Path
) -> subprocess.Popen[bytes]:
    words = [word.replace("URL", server.url) for word in program]
    example = [sys.executable, str(ROOT / "examples" / words[0]), *words[1:]]
    command = [sys.executable, "-m", "txbayeux", *words]
    return subprocess.Popen(
        example if program in EXAMPLES else command,
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "INSTANCE_URL": server.url,
            "ACCESS_TOKEN": "x",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


EARLY = """
import os, signal, sys
from txbayeux.cli import command

def interrupted(*arguments):
    os.kill(os.getpid(), signal.SIGINT)
    return make(*arguments)

make, command.client_of = command.client_of, interrupted
command.main(sys.argv[1:])
"""


@pytest.mark.parametrize("program", COMMANDS, ids=lambda program: program[0])
def test_an_interrupt_before_anything_was_sent_ends_it(program: list[str]) -> None:
    words = [word.replace("URL", "http://127.0.0.1:1/") for word in program]
    ended = subprocess.run(
        [sys.executable, "-c", EARLY, *words],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, b"")


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)],
    ids=["SIGTERM", "SIGINT"],
)
@pytest.mark.parametrize(
    "program", [*EXAMPLES, *COMMANDS], ids=lambda program: program[0]
)
def test_a_second_signal_is_ignored(
    server: SlowToEnd,
    program: list[str],
    signals: tuple[signal.Signals, signal.Signals],
    tmp_path: Path,
) -> None:
    first, second = signals
    process = start(server, program, tmp_path)
    try:
        assert server.held.wait(SECONDS)
        process.send_signal(first)
        assert server.disconnecting.wait(SECONDS)
        process.send_signal(second)
        server.released.set()
        process.wait(SECONDS)
    finally:
        process.kill()
        _, said = process.communicate()
    # No traceback; examples say that this server has no WebSocket.
    assert [x for x in said.splitlines() if not x.startswith(b"trying again: ")] == []
    assert process.returncode == (0 if program in EXAMPLES else 130)
