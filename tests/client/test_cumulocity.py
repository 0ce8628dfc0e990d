"""The client and the command against a server that behaves as Cumulocity's."""

from __future__ import annotations

import base64
import io
import itertools
import json
import os
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

from .bayeux_site import serving, until
from .cumulocity import PATH, Cumulocity

ROOT = Path(__file__).parent.parent.parent
CHANNEL = "/alarms/12345"


@pytest.fixture(autouse=True)
def no_failure_is_logged() -> Iterator[None]:
    with none_logged():
        yield


@pytest.fixture
def server() -> Cumulocity:
    return Cumulocity()


@pytest.fixture
def url(server: Cumulocity) -> Iterator[str]:
    with serving(server) as base:
        yield base + PATH


def authn(token: str) -> dict[str, Any]:
    return {"com.cumulocity.authn": {"token": token}}


CREDENTIALS: dict[str, dict[str, Any]] = {
    "websocket": {"ext": authn("first"), "transports": ["websocket"]},
    "basic": {
        "headers": {
            "Authorization": "Basic " + base64.b64encode(b"t1/alice:s3cret").decode()
        },
        "transports": ["long-polling"],
    },
    "oauth": {
        "cookies": {"authorization": "first"},
        "headers": {"X-XSRF-TOKEN": "xsrf"},
        "transports": ["long-polling"],
    },
}


@pytest.mark.parametrize("how", CREDENTIALS)
@pytest_twisted.ensureDeferred
async def test_notifications_arrive(server: Cumulocity, url: str, how: str) -> None:
    client = Client(url, reactor=reactor, **CREDENTIALS[how])
    got: list[Any] = []
    subscription = client.subscribe(CHANNEL, lambda m: got.append(m["data"]))
    await subscription.ready
    for number in range(5):
        server.publish(CHANNEL, {"realtimeAction": "CREATE", "data": number})
        await until(lambda: len(got) > number)  # noqa: B023
    await client.disconnect()
    assert [notification["data"] for notification in got] == list(range(5))
    assert len(server.sent("/meta/handshake")) == 1
    assert server.sessions == {}
    if how == "oauth":
        assert {headers["X-XSRF-TOKEN"] for headers in server.headers} == {"xsrf"}


@pytest.mark.parametrize("transport", ["websocket", "long-polling"])
@pytest_twisted.ensureDeferred
async def test_a_token_that_expires_is_replaced(
    server: Cumulocity, url: str, transport: str
) -> None:
    tokens = itertools.chain(["first"], itertools.repeat("second"))

    def fresh() -> dict[str, Any]:
        token = next(tokens)
        return authn(token) if transport == "websocket" else {"authorization": token}

    kind = "ext" if transport == "websocket" else "cookies"
    source: dict[str, Any] = {kind: fresh}
    client = Client(url, reactor=reactor, transports=[transport], **source)
    got: list[Any] = []
    await client.subscribe(CHANNEL, lambda m: got.append(m["data"])).ready
    server.tokens = {"second"}
    forgotten, server.sessions = server.sessions, {}
    for session in forgotten.values():
        session.answer()
    await until(lambda: any(s.subscriptions for s in server.sessions.values()))
    server.publish(CHANNEL, 1)
    await until(lambda: got)
    await client.disconnect()
    assert got == [1]


@pytest_twisted.ensureDeferred
async def test_a_wrong_token_ends_the_client(server: Cumulocity, url: str) -> None:
    ext = authn("stolen")
    client = Client(url, reactor=reactor, transports=["websocket"], ext=ext)
    with pytest.raises(BayeuxError) as refused:
        await client.subscribe(CHANNEL, print).ready
    assert refused.value.code == 403
    assert client.state is State.REFUSED
    assert len(server.sent("/meta/handshake")) == 1
    await client.disconnect()


@pytest_twisted.ensureDeferred
async def test_the_command_prints_notifications(server: Cumulocity, url: str) -> None:
    output = io.BytesIO()
    given = ["subscribe", url, CHANNEL, "--count", "1", "--format", "data"]
    parsed = options([*given, "--ext", json.dumps(authn("first"))])
    running: Deferred[None] = run(reactor, parsed, io.BytesIO(), output)
    await until(lambda: any(s.subscriptions for s in server.sessions.values()))
    server.publish(CHANNEL, {"realtimeAction": "CREATE"})
    await running
    assert json.loads(output.getvalue()) == {"realtimeAction": "CREATE"}


@pytest.mark.parametrize("password", ["s3cret", "wrong"])
@pytest_twisted.ensureDeferred
async def test_the_example_prints_notifications_or_why_not(
    server: Cumulocity, url: str, password: str
) -> None:
    server.tokens = {base64.b64encode(b"t1/alice:s3cret").decode()}
    process = subprocess.Popen(
        [sys.executable, ROOT / "examples/cumulocity.py", CHANNEL],
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "PYTHONUNBUFFERED": "1",
            "C8Y_URL": url.removesuffix(PATH),
            "C8Y_USER": "t1/alice",
            "C8Y_PASSWORD": password,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    printed = deferToThread(process.stdout.readline)
    if password == "s3cret":
        await until(lambda: any(s.subscriptions for s in server.sessions.values()))
        server.publish(CHANNEL, {"realtimeAction": "CREATE"})
        assert await printed == b"/alarms/12345 {'realtimeAction': 'CREATE'}\n"
        process.terminate()
    _, said = await deferToThread(process.communicate)
    await printed
    *_, last = [b"", *said.splitlines()]
    refused = (1, b"Cumulocity refused: 403::Handshake denied")
    expected = (0, b"") if password == "s3cret" else refused
    assert (process.returncode, last) == expected
