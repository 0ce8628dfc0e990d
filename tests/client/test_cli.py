"""The ``txbayeux`` command against our own server, on a real socket."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Site

import txbayeux
from examples.auth import Auth
from tests.failures import none_logged
from txbayeux import Bayeux, BayeuxResource, MemoryEngine, Server
from txbayeux.__main__ import main as start
from txbayeux.cli import command, options, run
from txbayeux.client import Client
from txbayeux.extension import Extension
from txbayeux.testing import MemoryServer

from .bayeux_site import BayeuxSite, serving

COMMAND = [sys.executable, "-c", "from txbayeux.__main__ import main; main()"]


class Refusing(Extension):
    def incoming(self, message: Any, request: object) -> Any:
        if request is not None and request.headers.get("authorization") == "Bearer bad":
            message["error"] = "401::Token expired"
        if message["channel"] == "/forbidden":
            message["error"] = "403:/forbidden:No"
        if "/forbidden" in str(message.get("subscription")):
            message["error"] = "403:/forbidden:No"
        if message.get("ext") == {"token": "bad"}:
            message["error"] = "401::Who are you"
        if message.get("subscription") == "/silent":
            return None
        return message


@pytest.fixture(autouse=True)
def no_failure_is_logged() -> Generator[None]:
    """Each test shows that no failed Deferred is left that nobody waits for."""
    with none_logged():
        yield


@pytest.fixture
def engine() -> MemoryEngine:
    return MemoryEngine(reactor)


@pytest.fixture
def extension() -> Extension:
    return Refusing()


@pytest.fixture
def url(engine: MemoryEngine, extension: Extension) -> Generator[str]:
    server = Server(engine, extensions=[extension])
    server.start()
    root = Resource()
    root.putChild(b"bayeux", BayeuxResource(server, reactor))
    port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")  # type: ignore[attr-defined]
    yield f"http://127.0.0.1:{port.getHost().port}/bayeux"
    server.stop()
    pytest_twisted.blockon(maybeDeferred(port.stopListening))
    pytest_twisted.blockon(deferLater(reactor, 0.05, lambda: None))


async def subscribed(
    engine: MemoryEngine, listening: Deferred[int], count: int
) -> None:
    """Wait until the command has made this many subscriptions, or has ended."""
    while engine.statistics()["subscriptions"] < count and not listening.called:
        await deferLater(reactor, 0.01, lambda: None)  # type: ignore[arg-type]


async def code_of(
    arguments: Sequence[str],
    stdin: bytes = b"",
    stdout: BinaryIO | None = None,
) -> int:
    parsed = options([*arguments, "--timeout", "60"])
    running: Deferred[None] = run(
        reactor, parsed, io.BytesIO(stdin), stdout or io.BytesIO()
    )
    running.addTimeout(120, reactor)  # type: ignore[arg-type]
    code: object = 0
    try:
        await running
    except SystemExit as stopped:
        code = stopped.code
    assert isinstance(code, int)
    return code


@pytest_twisted.ensureDeferred
async def test_subscribe_prints_what_publish_sends(
    url: str, engine: MemoryEngine
) -> None:
    output = io.BytesIO()
    arguments = ["subscribe", url, "/a/*", "/b", "--count", "4"]
    listening = Deferred.fromCoroutine(code_of(arguments, stdout=output))
    await subscribed(engine, listening, 2)
    assert await code_of(["publish", url, "/a/b", '{"text": "ü"}']) == 0
    lines = b'1\n\n"two"\n  \n[3]\n'
    assert await code_of(["publish", url, "/b", "-"], stdin=lines) == 0
    assert await listening == 0
    printed = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [m["data"] for m in printed] == [{"text": "ü"}, 1, "two", [3]]
    assert [m["channel"] for m in printed] == ["/a/b", "/b", "/b", "/b"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["publish", "URL", "/forbidden", "1"],
        ["subscribe", "URL", "/forbidden"],
        ["subscribe", "URL", "/fine", "/forbidden"],
        ["publish", "URL", "/a", "1", "--ext", '{"token": "bad"}'],
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_refusal_has_exit_code_1(
    url: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await code_of([url if a == "URL" else a for a in arguments]) == 1
    said = capsys.readouterr().err
    assert said.startswith("txbayeux: 40")
    assert said.count("\n") == 1


@pytest_twisted.ensureDeferred
async def test_invalid_json_on_stdin_has_exit_code_2(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await code_of(["publish", url, "/a", "-"], stdin=b"1\nnope\n3\n") == 2
    assert "line 2 is not JSON" in capsys.readouterr().err


@pytest_twisted.ensureDeferred
async def test_no_server_has_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["publish", "http://127.0.0.1:1/", "/a", "1", "--timeout", "5"]
    with pytest.raises(SystemExit) as stopped:
        await run(reactor, options(arguments), io.BytesIO(), io.BytesIO())
    assert stopped.value.code == 3
    assert "refused" in capsys.readouterr().err


@pytest_twisted.ensureDeferred
async def test_a_closed_output_pipe_is_not_an_error(
    url: str, engine: MemoryEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    class Closed(io.BytesIO):
        def write(self, data: object) -> int:
            raise BrokenPipeError

    arguments = ["subscribe", url, "/a"]
    listening = Deferred.fromCoroutine(code_of(arguments, stdout=Closed()))
    await subscribed(engine, listening, 1)
    alice = Client(url, reactor=reactor)
    await alice.publish("/a", 1)
    await alice.disconnect()
    assert await listening == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest_twisted.ensureDeferred
async def test_an_interrupt_disconnects_and_has_exit_code_130(
    url: str, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [*COMMAND, "subscribe", url, "/a"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    alice = Client(url, reactor=reactor)
    assert process.stdout is not None
    printed = deferToThread(process.stdout.readline)
    while process.poll() is None and not printed.called:
        await alice.publish("/a", 1)
        await deferLater(reactor, 0.1, lambda: None)  # type: ignore[arg-type]
    process.send_signal(number)
    out, err = await deferToThread(process.communicate)
    await alice.disconnect()
    assert (process.returncode, err) == (130, b"")
    assert all(json.loads(line)["data"] == 1 for line in out.splitlines())


@pytest_twisted.ensureDeferred
async def test_further_interrupts_are_ignored(url: str) -> None:
    program = COMMAND[-1].replace(
        "main()",
        "\nimport os, signal, txbayeux.client\n"
        "disconnect = txbayeux.client.Client.disconnect\n"
        "def interrupted(client):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return disconnect(client)\n"
        "txbayeux.client.Client.disconnect = interrupted\n"
        "main()",
    )
    process = subprocess.Popen(
        [*COMMAND[:-1], program, "publish", url, "/a", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    alice = Client(url, reactor=reactor)
    came: Deferred[Any] = Deferred()
    await alice.subscribe("/a", came.callback).ready
    assert process.stdin is not None
    process.stdin.write(b"1\n")
    process.stdin.flush()
    await came
    process.send_signal(signal.SIGTERM)
    assert await ended(process) == (130, b"")
    await alice.disconnect()


def waiting_for_input(url: str, channel: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [*COMMAND, "publish", url, channel, "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdin is not None
    process.stdin.write(b"1\n")
    process.stdin.flush()
    return process


async def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Wait for a process whose standard input stays open."""
    await deferToThread(process.wait, 60)
    _, said = process.communicate()
    return process.returncode, said


@pytest_twisted.ensureDeferred
async def test_an_interrupt_does_not_wait_for_stdin(url: str) -> None:
    alice = Client(url, reactor=reactor)
    came: Deferred[Any] = Deferred()
    await alice.subscribe("/a", came.callback).ready
    process = waiting_for_input(url, "/a")
    await came
    process.send_signal(signal.SIGINT)
    assert await ended(process) == (130, b"")
    await alice.disconnect()


@pytest_twisted.ensureDeferred
async def test_a_refusal_does_not_wait_for_stdin(url: str) -> None:
    code, said = await ended(waiting_for_input(url, "/forbidden"))
    assert (code, said) == (1, b"txbayeux: 403:/forbidden:No\n")


@pytest.mark.parametrize("extension", [Auth()])
@pytest_twisted.ensureDeferred
async def test_ext_goes_with_subscriptions_and_publishes(
    url: str, extension: Extension
) -> None:
    output = io.BytesIO()
    channel, alice = "/users/alice/status", ["--ext", '{"token": "s3cret"}']
    arguments = ["subscribe", url, channel, "--count", "1", *alice]
    listening = Deferred.fromCoroutine(code_of(arguments, stdout=output))
    while not output.getvalue() and not listening.called:
        assert await code_of(["publish", url, channel, "1", *alice]) == 0
    assert await listening == 0
    assert json.loads(output.getvalue())["data"] == 1
    assert await code_of(["publish", url, channel, "1"]) == 1
    assert await code_of(["subscribe", url, channel]) == 1


@pytest_twisted.ensureDeferred
async def test_the_data_alone_is_printed(url: str) -> None:
    output = io.BytesIO()
    arguments = ["subscribe", url, "/a", "--count", "1", "--format", "data"]
    listening = Deferred.fromCoroutine(code_of(arguments, stdout=output))
    while not output.getvalue() and not listening.called:
        assert await code_of(["publish", url, "/a", '{"text": "ü"}']) == 0
    assert await listening == 0
    assert output.getvalue() == '{"text":"ü"}\n'.encode()


def test_a_subscription_without_an_answer_has_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server = MemoryServer(lambda clock: Bayeux(clock, extensions=[Refusing()]))
    monkeypatch.setattr(command, "client_of", lambda *_: server.new_client())
    # MemoryReactor does not have it.
    clock = server.clock
    monkeypatch.setattr(clock, "removeSystemEventTrigger", lambda *_: None)
    parsed = options(["subscribe", "http://x/", "/a", "/silent"])
    running = run(clock, parsed, io.BytesIO(), io.BytesIO())
    ended: list[Any] = []
    running.addErrback(lambda failure: ended.append(failure.value.code))
    server.advance(29)
    assert ended == []
    server.advance(10)
    assert ended == [3]
    *others, last = capsys.readouterr().err.splitlines()
    assert last == "txbayeux: not subscribed within 30 s: no reply within 10 s"
    assert set(others) == {"txbayeux: trying again: no reply within 10 s"}


@pytest.mark.parametrize("command", [COMMAND, [sys.executable, "-m", "txbayeux"]])
def test_the_version_is_that_of_the_package(command: list[str]) -> None:
    said = subprocess.check_output([*command, "--version"], text=True)
    assert said == f"txbayeux {txbayeux.__version__}\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_closed_standard_streams_have_exit_code_2(closed: str) -> None:
    line = f'"$@" publish http://127.0.0.1:1/ /a - {closed}'
    command = ["/bin/sh", "-c", line, "sh", *COMMAND]
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=20, check=False)
    assert done.returncode == 2
    assert b"must be open" in done.stderr


@pytest_twisted.ensureDeferred
async def test_a_failed_write_has_exit_code_1(
    url: str, engine: MemoryEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    class OutboxFull(io.BytesIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    arguments = ["subscribe", url, "/a"]
    listening = Deferred.fromCoroutine(code_of(arguments, stdout=OutboxFull()))
    await subscribed(engine, listening, 1)
    assert await code_of(["publish", url, "/a", "1"]) == 0
    assert await listening == 1
    assert "No space left" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["publish", "http://x/", "/a"],
        ["publish", "http://x/", "/a\x07", "1"],
        ["publish", "http://x/", "/meta/connect", "1"],
        ["publish", "http://x/", "/a", "nope"],
        ["subscribe", "http://x/"],
        ["subscribe", "http://x/", "a"],
        ["subscribe", "http://x/", "/a", "--count", "0"],
        ["subscribe", "http://x/", "/a", "--timeout", "-1"],
        ["subscribe", "http://x/", "/a", "--timeout", "nan"],
        ["subscribe", "http://x/", "/a", "--timeout", "soon"],
        ["subscribe", "http://x/", "/a", "--transport", "pigeon"],
        ["subscribe", "http://x/", "/a", "--header", "nothing"],
        ["subscribe", "http://x/", "/a", "--ext", "[]"],
        ["subscribe", "http://x/", "/a", "--ext", "{"],
        ["subscribe", "http://x/", "/a", "--format", "xml"],
        ["subscribe", "http://x/", "/a", "--replay-from", "yesterday"],
        ["subscribe", "http://x/", "/a", "--replay-from", "-3"],
        ["subscribe", "http://x/", "/a", "--replay-from", "\u0663"],
        ["subscribe", "http://x/", "/a", "--since", "9" * 20],
        ["publish", "http://x/", "/a", "1", "--replay-from", "1"],
    ],
)
def test_an_invalid_command_line_has_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        options(arguments)
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith("txbayeux")
    assert "_" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["subscribe", "ftp://x/", "/a"],
        ["subscribe", "http://x/", "/a", "--ca", "/nowhere"],
        ["subscribe", "http://x/", "/a", "--ca", __file__],
        ["subscribe", "http://x/", "/a", "--certificate", __file__],
        ["subscribe", "http://x/", "/a", "--proxy", "x:y"],
        ["subscribe", "http://x/", "/a", "--header", "X Y: z"],
        ["subscribe", "http://x_y/", "/a"],
        ["subscribe", "http://x/", "/a", "--replay", "/nowhere/ids"],
        ["subscribe", "http://x/", "/a", "--replay", __file__],
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_invalid_url_or_file_has_exit_code_2(arguments: list[str]) -> None:
    assert await code_of(arguments) == 2


def test_headers_are_parsed() -> None:
    parsed = options(["publish", "http://x/", "/a", "1", "--header", "A: b:c"])
    assert parsed.header == {"A": "b:c"}


@pytest.mark.parametrize(
    ("text", "replay_id"), [("7", 7), ("0", 0), ("all", -2), ("new", -1)]
)
@pytest.mark.parametrize("name", ["--replay-from", "--since"])
def test_replay_ids_are_parsed(name: str, text: str, replay_id: int) -> None:
    parsed = options(["subscribe", "http://x/", "/a", name, text])
    assert parsed.replay_from == replay_id


@pytest_twisted.ensureDeferred
async def test_the_token_command_is_run_again_for_a_token_that_expired(
    url: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("bad\n")
    command = f"cat '{token}'; echo good > '{token}'"
    assert await code_of(["publish", url, "/a", "1", "--token-command", command]) == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("echo bad", "401::Token expired"),
        ("echo 'no\n  login' >&2; exit 3", "--token-command: no login"),
        ("exit 3", "--token-command: exit status 3"),
        ("echo 'to\nken'", "--token-command: its output is not a token"),
        ("true", "--token-command: its output is not a token"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_token_that_cannot_be_had_has_exit_code_1(
    url: str, command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["publish", url, "/a", "1", "--token-command", command]
    assert await code_of(arguments) == 1
    assert capsys.readouterr().err == f"txbayeux: {said}\n"


@pytest_twisted.ensureDeferred
async def test_a_reader_that_ends_is_not_an_error(url: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "subscribe", url, "/a"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    printed = deferToThread(process.stdout.readline)
    alice = Client(url, reactor=reactor)
    while process.poll() is None:  # as head does, once it has a line
        await alice.publish("/a", 1)
        await deferLater(reactor, 0.1, lambda: None)  # type: ignore[arg-type]
        if printed.called:
            process.stdout.close()
    await alice.disconnect()
    assert process.stderr is not None
    with process.stderr:
        assert (process.returncode, process.stderr.read()) == (0, b"")


class RefusingAsFaye(BayeuxSite):
    """Advises another handshake with each refusal."""

    def refusal(self, message: Any, request: object) -> dict[str, Any]:
        return {
            "error": "401::No\x1b[2J\n",
            "ext": {"reason": "expired"},
            "advice": {"reconnect": "handshake", "interval": 0},
        }


@pytest.fixture
def faye() -> Generator[str]:
    with serving(RefusingAsFaye()) as url:
        yield url


@pytest.mark.parametrize("command", [["subscribe", "/a"], ["publish", "/a", "1"]])
@pytest_twisted.ensureDeferred
async def test_a_refused_handshake_ends_the_command_whatever_the_advice(
    faye: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    name, *rest = command
    assert await code_of([name, faye, *rest, "--transport", "long-polling"]) == 1
    said = 'txbayeux: 401::No [2J  {"reason":"expired"}\n'
    assert capsys.readouterr().err == said


def test_an_interrupt_while_the_command_is_imported_has_exit_code_130(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Importing(ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "txbayeux.cli", Importing("txbayeux.cli"))
    with pytest.raises(SystemExit) as stopped:
        start()
    assert stopped.value.code == 130
