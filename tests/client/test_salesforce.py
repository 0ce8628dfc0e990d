"""The client and the command against a server that behaves as Salesforce's."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.failures import none_logged
from txbayeux import BayeuxError, Client
from txbayeux.cli import options, run
from txbayeux.client import State
from txbayeux.extensions import ALL, NEW, Replay

from .bayeux_site import serving, until
from .salesforce import PATH, Salesforce

ROOT = Path(__file__).parent.parent.parent
CHANNEL = "/event/Order__e"


@pytest.fixture(autouse=True)
def no_failure_is_logged() -> Iterator[None]:
    with none_logged():
        yield


@pytest.fixture
def gateway() -> bool:
    return False


@pytest.fixture
def server(gateway: bool) -> Salesforce:
    return Salesforce(gateway=gateway)


@pytest.fixture
def url(server: Salesforce) -> Iterator[str]:
    with serving(server) as base:
        yield base + PATH


class Program:
    """A program that receives events, with a store that outlives it."""

    def __init__(
        self,
        url: str,
        store: dict[str, int],
        tokens: Iterator[str] | None = None,
        default: int = NEW,
    ) -> None:
        tokens = tokens or itertools.repeat("first")
        self.got: list[Any] = []
        self.client = Client(
            url,
            reactor=reactor,
            transports=["long-polling"],
            headers=lambda: {"Authorization": f"Bearer {next(tokens)}"},
            extensions=[Replay(store, default=default)],
        )
        self.subscription = self.client.subscribe(CHANNEL, self._received)

    def _received(self, message: Any) -> None:
        self.got.append(message["data"]["payload"])

    async def end(self) -> None:
        await self.client.disconnect()


def begins(server: Salesforce) -> list[int]:
    """Return the replay id that each subscription asked for."""
    sent = server.sent("/meta/subscribe")
    return [message["ext"]["replay"][CHANNEL] for message in sent]


@pytest_twisted.ensureDeferred
async def test_a_program_continues_where_the_last_run_ended(
    server: Salesforce, url: str
) -> None:
    store: dict[str, int] = {}
    server.publish(CHANNEL, "before")
    first = Program(url, store)
    await first.subscription.ready
    for number in (1, 2):
        server.publish(CHANNEL, number)
    await until(lambda: len(first.got) == 2)
    await first.end()
    for number in (3, 4):
        server.publish(CHANNEL, number)
    second = Program(url, store)
    await until(lambda: len(second.got) == 2)
    await second.end()
    assert (first.got, second.got) == ([1, 2], [3, 4])
    assert begins(server) == [NEW, 3]
    assert store == {CHANNEL: 5}


@pytest_twisted.ensureDeferred
async def test_a_session_is_tied_to_its_cookie(server: Salesforce, url: str) -> None:
    program = Program(url, {})
    await program.subscription.ready
    for number in range(5):
        server.publish(CHANNEL, number)
        await until(lambda: len(program.got) == number + 1)  # noqa: B023
    await program.end()
    assert len(server.sent("/meta/handshake")) == 1
    assert server.sessions == {}


@pytest.mark.parametrize("gateway", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_revoked_token_is_replaced_and_no_event_is_lost(
    server: Salesforce, url: str, gateway: bool
) -> None:
    tokens = itertools.chain(["first"], itertools.repeat("second"))
    program = Program(url, {}, tokens)
    await program.subscription.ready
    server.publish(CHANNEL, 1)
    await until(lambda: program.got == [1])
    # Otherwise the next event could come with the connect's refusal.
    await until(lambda: all(session.held for session in server.sessions.values()))
    server.tokens.add("second")
    server.revoke("first")
    server.publish(CHANNEL, 2)
    await until(lambda: len(program.got) > 1)
    server.publish(CHANNEL, 3)
    await until(lambda: len(program.got) > 2)
    await program.end()
    assert program.got == [1, 2, 3]
    assert len(server.sent("/meta/handshake")) == 2
    assert begins(server) == [NEW, 1]


@pytest.mark.parametrize(("gateway", "code"), [(False, 403), (True, 401)])
@pytest_twisted.ensureDeferred
async def test_without_a_valid_token_the_client_ends(
    url: str, gateway: bool, code: int
) -> None:
    program = Program(url, {}, itertools.repeat("stolen"))
    with pytest.raises(BayeuxError) as refused:
        await program.subscription.ready
    assert refused.value.code == code
    assert program.client.state is State.REFUSED
    await program.end()


@pytest_twisted.ensureDeferred
async def test_a_session_that_the_server_forgot_is_replaced(
    server: Salesforce, url: str
) -> None:
    program = Program(url, {})
    await program.subscription.ready
    server.publish(CHANNEL, 1)
    await until(lambda: program.got == [1])
    server.forget_sessions()  # 403::Unknown client, with advice
    server.publish(CHANNEL, 2)
    await until(lambda: len(program.got) > 1)
    await program.end()
    assert program.got == [1, 2]
    assert begins(server) == [NEW, 1]


@pytest_twisted.ensureDeferred
async def test_all_that_is_stored_comes_if_the_id_is_gone(
    server: Salesforce, url: str
) -> None:
    for number in range(1, 6):
        server.publish(CHANNEL, number)
    server.first_id = 4
    program = Program(url, {CHANNEL: 2})
    await until(lambda: len(program.got) == 2)
    await program.end()
    assert program.got == [4, 5]
    assert begins(server) == [2, ALL]


@pytest_twisted.ensureDeferred
async def test_a_denied_subscription_fails(server: Salesforce, url: str) -> None:
    server.denied.add(CHANNEL)
    program = Program(url, {})
    with pytest.raises(BayeuxError, match="create_denied") as refused:
        await program.subscription.ready
    assert refused.value.code == 403
    await program.end()


# The command.


async def subscribe(
    url: str, *arguments: str, output: io.BytesIO | None = None
) -> tuple[int, list[Any]]:
    """Run the command; return its exit code and the payloads that it printed."""
    output = output or io.BytesIO()
    given = ["subscribe", url, CHANNEL, "--transport", "long-polling", *arguments]
    running: Deferred[None] = run(reactor, options(given), io.BytesIO(), output)
    code: Any = 0
    try:
        await running
    except SystemExit as stopped:
        code = stopped.code
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    return code, [line["data"]["payload"] for line in lines]


FIRST = ("--header", "Authorization: Bearer first")


@pytest_twisted.ensureDeferred
async def test_the_command_continues_behind_what_it_has_printed(
    server: Salesforce, url: str, tmp_path: Path
) -> None:
    file = tmp_path / "ids"
    for number in range(1, 6):
        server.publish(CHANNEL, number)
    replay = (*FIRST, "--replay", str(file))
    # All five come with one response; the file has what was printed.
    first = await subscribe(url, *replay, "--replay-from", "all", "--count", "2")
    assert first == (0, [1, 2])
    assert json.loads(file.read_text()) == {CHANNEL: 2}
    assert await subscribe(url, *replay, "--count", "3") == (0, [3, 4, 5])
    assert begins(server) == [ALL, 2]
    assert list(tmp_path.iterdir()) == [file]


@pytest_twisted.ensureDeferred
async def test_what_could_not_be_printed_comes_again(
    server: Salesforce, url: str, tmp_path: Path
) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.getvalue():
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    for number in (1, 2, 3):
        server.publish(CHANNEL, number)
    replay = (*FIRST, "--replay", str(tmp_path / "ids"))
    first = await subscribe(url, *replay, "--since", "all", output=Full())
    assert first == (1, [1])
    assert await subscribe(url, *replay, "--count", "2") == (0, [2, 3])


@pytest.mark.parametrize("option", ["--since", "--replay-from"])
@pytest_twisted.ensureDeferred
async def test_the_command_begins_behind_an_id(
    server: Salesforce, url: str, option: str
) -> None:
    for number in range(1, 5):
        server.publish(CHANNEL, number)
    assert await subscribe(url, *FIRST, option, "2", "--count", "2") == (0, [3, 4])


@pytest_twisted.ensureDeferred
async def test_the_command_gets_a_token_when_one_is_revoked(
    server: Salesforce, url: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    server.publish(CHANNEL, 1)
    command = ("--token-command", f"cat '{token}'")
    running = Deferred.fromCoroutine(
        subscribe(url, *command, "--since", "all", "--count", "2")
    )
    await until(lambda: any(s.subscriptions for s in server.sessions.values()))
    token.write_text("second")
    server.tokens.add("second")
    server.revoke("first")
    server.publish(CHANNEL, 2)
    assert await running == (0, [1, 2])


@pytest_twisted.ensureDeferred
async def test_the_command_ends_with_an_error_if_the_file_cannot_be_written(
    server: Salesforce, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    replay = ("--replay", str(folder / "ids"))
    running = Deferred.fromCoroutine(subscribe(url, *FIRST, *replay))
    await until(lambda: any(s.subscriptions for s in server.sessions.values()))
    (folder / "ids").unlink()
    folder.rmdir()
    server.publish(CHANNEL, 1)
    assert await running == (1, [1])
    said = capsys.readouterr().err
    assert said.startswith("txbayeux: --replay: ")
    assert said.count("\n") == 1


@pytest_twisted.ensureDeferred
async def test_the_command_says_why_a_token_is_refused(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = ("--header", "Authorization: Bearer wrong")
    assert await subscribe(url, *wrong) == (1, [])
    said = capsys.readouterr().err
    assert said.startswith("txbayeux: 403::Handshake denied ")
    assert '{"failureReason":"401::Authentication invalid"}' in said
    assert said.count("\n") == 1


@pytest_twisted.ensureDeferred
async def test_the_command_says_once_that_it_lost_its_session(
    server: Salesforce, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (*FIRST, "--since", "all", "--count", "1")
    running = Deferred.fromCoroutine(subscribe(url, *arguments))
    await until(lambda: any(s.subscriptions for s in server.sessions.values()))
    server.forget_sessions()
    await until(lambda: any(s.subscriptions for s in server.sessions.values()))
    server.publish(CHANNEL, 1)
    assert await running == (0, [1])
    said = capsys.readouterr().err
    assert said == "txbayeux: trying again: 403::Unknown client\n"


# The example.


def example(url: str, token: str, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, ROOT / "examples/salesforce.py", CHANNEL],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "PYTHONUNBUFFERED": "1",
            "INSTANCE_URL": url.removesuffix(PATH),
            "ACCESS_TOKEN": token,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest_twisted.ensureDeferred
async def test_the_example_continues_where_it_ended(
    server: Salesforce, url: str, tmp_path: Path
) -> None:
    for number in (1, 2):
        process = example(url, "first", tmp_path)
        await until(lambda: any(s.subscriptions for s in server.sessions.values()))
        server.publish(CHANNEL, f"during run {number}")
        assert process.stdout is not None
        lines = [await deferToThread(process.stdout.readline)]
        if number == 2:
            lines.append(await deferToThread(process.stdout.readline))
        process.terminate()
        _, said = await deferToThread(process.communicate)
        assert (process.returncode, said) == (0, b"")
        server.publish(CHANNEL, f"after run {number}")
    texts = [re.findall(rb"(?:during|after) run .", line) for line in lines]
    assert texts == [[b"after run 1"], [b"during run 2"]]


@pytest.mark.parametrize(
    ("token", "last"),
    [
        ("wrong", b"Salesforce refused: 401::Authentication invalid"),
        ("first", b"Salesforce refused: 403:denied_by_security_policy:create_denied"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_example_says_why_it_is_refused(
    server: Salesforce, url: str, token: str, last: bytes, tmp_path: Path
) -> None:
    server.denied.add(CHANNEL)
    process = example(url, token, tmp_path)
    out, said = await deferToThread(process.communicate)
    assert (process.returncode, out) == (1, b"")
    assert said.splitlines()[-1] == last
