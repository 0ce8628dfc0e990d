"""Where asyncio is used: the examples, notebooks, test suites, other event loops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.aio.conftest import ROOT, SECONDS, Server

Run = Callable[..., str]


@contextmanager
def example(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, "-W", "error", f"examples/{name}.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with started:
        try:
            yield started
        finally:
            started.kill()


def test_aio_greets_and_prints_until_it_is_interrupted(url: str) -> None:
    with example("aio", url) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "Good morning!\n"
        program.send_signal(signal.SIGINT)
        output, errors = program.communicate(timeout=SECONDS)
        assert (program.returncode, output, errors) == (0, "", "")


@pytest.mark.parametrize("name", ["aio", "threads"])
def test_a_refusal_is_one_sentence(name: str, url: str) -> None:
    with example(name, url, "/forbidden") as program:
        output, errors = program.communicate("hello\n", timeout=SECONDS)
        assert (program.returncode, output) == (1, "")
        assert errors == "refused: 403:/forbidden:Forbidden channel\n"


def test_threads_says_each_line_of_its_input_and_prints_it(url: str) -> None:
    with example("threads", url) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for line in ("hello\n", "you\n"):
            program.stdin.write(line)
            program.stdin.flush()
            assert program.stdout.readline() == line
        output, errors = program.communicate(timeout=SECONDS)
        assert (program.returncode, output, errors) == (0, "", "")


FAILING_LISTENER = """
import sys, threading
from examples.threads import ThreadedClient

def fail(message):
    failed.set()
    raise LookupError("listener")

url = sys.argv[1]
failed = threading.Event()
try:
    with ThreadedClient(url) as client:
        client.subscribe("/x", fail)
        client.publish("/x", 1)
        failed.wait(60)
        client.publish("/x", 2)
except LookupError as error:
    print(error)
"""


def test_threads_raises_at_the_end_what_a_listener_raised(url: str, run: Run) -> None:
    assert run("-c", FAILING_LISTENER, url) == "listener\n"


FASTAPI = """
import os, sys, warnings
os.environ["BAYEUX_URL"] = sys.argv[1]
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the test client
    from fastapi.testclient import TestClient
from examples.fastapi_app import app, said

for _ in range(2):
    said.clear()
    with TestClient(app) as browser:
        while not browser.get("/said").json():
            assert browser.post("/said", json={"text": "hello"}).status_code == 200
        print(browser.get("/said").json()[0])
"""


def test_fastapi_publishes_and_listens(url: str, run: Run) -> None:
    assert run("-c", FASTAPI, url) == "hello\nhello\n"


FASTAPI_ALONE = (
    FASTAPI.partition("for _")[0]
    + """
with TestClient(app) as browser:
    print(browser.post("/said", json={"text": "hello"}).status_code)
"""
)


def test_fastapi_starts_and_ends_without_a_bayeux_server(run: Run) -> None:
    assert run("-c", FASTAPI_ALONE, "http://127.0.0.1:1/") == "503\n"


DJANGO = """
import signal, sys, threading
from django.conf import settings
settings.configure()
from django.core.management import CommandError, call_command
from examples.django_command import Command
from examples.threads import ThreadedClient

class Interrupted(Command):
    def save(self, data):
        super().save(data)
        ended.set()
        signal.raise_signal(signal.SIGINT)

def publish():
    with ThreadedClient(url) as client:
        while not ended.is_set():
            client.publish("/django", "hello")

url = sys.argv[1]
ended = threading.Event()
try:
    call_command(Command(), url, "/forbidden")
except CommandError as error:
    print(error)
publishing = threading.Thread(target=publish)
publishing.start()
call_command(Interrupted(), url, "/django")
publishing.join()
"""


def test_the_command_of_django_prints_until_it_is_interrupted(
    url: str, run: Run
) -> None:
    refused, *said = run("-c", DJANGO, url).splitlines()
    assert refused == "refused: 403:/forbidden:Forbidden channel"
    assert said[0] == "hello"


CELLS = [
    "from txbayeux.aio import Client\nclient = Client(url)",
    "messages = client.subscribe('/notebook')\nawait messages.ready()",
    "await client.publish('/notebook', 1)",
    "(await anext(messages))['data']",
    "async with Client(url) as other:\n    await other.publish('/notebook', 2)",
    "async for message in messages:\n    break\nmessage['data']",
    "await client.disconnect()",
]

NOTEBOOK = """
import ast, asyncio, inspect, sys, types

def compiled(code, kind):
    return compile(code, "cell", kind, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

async def run(code, names):
    # As IPython does: statements, then the value of the last expression.
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    value = None
    for part, kind in ((tree, "exec"), (last and ast.Expression(last.value), "eval")):
        if part is not None:
            value = eval(compiled(part, kind), names)
            if inspect.iscoroutine(value):
                value = await value
    if not isinstance(value, (dict, types.NoneType)):
        print(value)

async def main(url, *cells):
    names = {"url": url}
    for cell in cells:
        await asyncio.create_task(run(cell, names))  # a task for each

asyncio.run(main(*sys.argv[1:]))
"""


def test_cells_of_a_notebook_may_await(url: str, run: Run) -> None:
    assert run("-c", NOTEBOOK, url, *CELLS) == "1\n2\n"


def test_pytest_asyncio_has_a_loop_for_each_test(
    url: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAYEUX_URL", url)
    output = run(
        *("-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(ROOT)),
        *("-p", "no:twisted", "-p", "no:cacheprovider", "-W", "error"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
        "examples/aio_test.py",
    )
    assert "2 passed" in output


UVLOOP = """
import asyncio, sys, uvloop
from tests.aio import scenarios

url, *names = sys.argv[1:]
for name in names:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(getattr(scenarios, name)(url))
assert "twisted.internet.reactor" not in sys.modules
"""


def test_uvloop_does_the_same(url: str, run: Run) -> None:
    run(
        *("-c", UVLOOP, url),
        "messages_come_in_order_on_each_transport",
        "credentials_may_be_coroutine_functions",
        "a_cancelled_reader_loses_no_message",
        "a_cancelled_program_disconnects",
        "a_client_that_nobody_keeps_goes_on",
    )


TLS = """
import asyncio, sys
from pathlib import Path
from txbayeux.aio import Client
from txbayeux.transport.tls import TLSPolicy

async def main(url, certificate, *transports):
    tls = TLSPolicy.from_pem(Path(certificate).read_bytes())
    for kind in transports:
        async with Client(url, tls=tls, transports=[kind]) as client:
            async with client.subscribe("/x") as messages:
                await client.publish("/x", kind)
                print((await anext(messages))["data"])

asyncio.run(main(*sys.argv[1:]))
assert "twisted.internet.reactor" not in sys.modules
"""


def test_tls_needs_no_global_reactor(server: Server, run: Run) -> None:
    kinds = ("websocket", "eventsource", "long-polling")
    # Twisted passes pyOpenSSL arguments that pyOpenSSL has begun to deprecate.
    quiet = ("-W", "ignore:Passing pyOpenSSL:DeprecationWarning")
    output = run(*quiet, "-c", TLS, server.tls_url, str(server.certificate), *kinds)
    assert output.split() == list(kinds)


IMPORT = """
import asyncio, sys, threading
loop = asyncio.new_event_loop()
import txbayeux.aio
txbayeux.aio.Client("http://localhost/")
assert "twisted.internet.reactor" not in sys.modules
assert threading.active_count() == 1
asyncio.set_event_loop(loop)
loop.close()
"""


def test_nothing_happens_before_a_client_is_used(run: Run) -> None:
    run("-c", IMPORT)
