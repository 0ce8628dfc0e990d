"""The examples of servers do what their first lines say."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from examples import chat, clock, shared
from examples.auth import Auth
from examples.calls import Calls
from examples.echo import Echo
from tests.ports import free_port
from tests.web import HANDSHAKE, Browser, connect, get
from txbayeux import Bayeux, Extension

ROOT = Path(__file__).parent.parent


def running(
    main: Callable[..., Coroutine[Any, Any, Any]],
) -> tuple[MemoryReactorClock, Browser]:
    """Run an example's main function in memory; return a browser of its site."""
    reactor = MemoryReactorClock()
    Deferred.fromCoroutine(main(reactor))
    return reactor, Browser(reactor.tcpServers[0][1])


def with_extension(extension: Extension) -> Browser:
    reactor = MemoryReactorClock()
    bayeux = Bayeux(reactor, extensions=[extension])
    bayeux.start()
    return Browser(bayeux.site())


def subscribed(browser: Browser, channel: str) -> str:
    session_id = browser.handshake()
    assert browser.subscribe(session_id, channel)["successful"]
    return session_id


def test_chat_serves_its_page_and_what_is_said() -> None:
    _, browser = running(chat.main)
    assert b"<title>Chat</title>" in browser.ask(get("/"))
    assert b" 200 OK" in browser.ask(get("/bayeux/client.js"))
    alice = subscribed(browser, "/chat")
    browser.post({"channel": "/chat", "data": "hello"})
    assert browser.poll(alice) == ["hello"]


def test_clock_publishes_every_second() -> None:
    reactor, browser = running(clock.main)
    assert b"<title>Clock</title>" in browser.ask(get("/"))
    session_id = subscribed(browser, "/clock")
    reactor.pump([1, 1])
    data = browser.poll(session_id)
    assert [item["seconds"] for item in data] == [1, 2]


def test_shared_answers_503_while_redis_is_away() -> None:
    reactor = MemoryReactorClock()
    Deferred.fromCoroutine(shared.main(reactor))
    browser = Browser(reactor.tcpServers[0][1])
    connection = browser.send({"channel": "/a", "data": 1})
    reactor.advance(60)
    (reply,) = connection.replies()
    assert reply["error"].startswith("503:")


@pytest.mark.parametrize(
    ("channel", "ext", "allowed"),
    [
        ("/users/alice/status", {"token": "s3cret"}, True),
        ("/users/alice/status", {"token": "pa55"}, False),
        ("/users/alice/status", {"token": ["s3cret"]}, False),
        ("/users/alice/status", 5, False),
        ("/users/None/status", None, False),
        ("/users/None/status", {"token": "unknown"}, False),
        ("/news", {"token": "s3cret"}, False),
    ],
)
def test_auth_lets_users_publish_on_their_own_channels(
    channel: str, ext: Any, allowed: bool
) -> None:
    browser = with_extension(Auth())
    (reply,) = browser.post({"channel": channel, "data": "hi", "ext": ext})
    assert reply["successful"] is allowed


def test_auth_lets_everybody_read_the_news_and_users_the_rest() -> None:
    browser = with_extension(Auth())
    session_id = subscribed(browser, "/news")
    spying = {"clientId": session_id, "subscription": ["/news", "/users/**"]}
    (reply,) = browser.post({"channel": "/meta/subscribe", **spying})
    assert reply["error"] == "403::Not yours"
    spying["ext"] = {"token": "s3cret"}
    (reply,) = browser.post({"channel": "/meta/subscribe", **spying})
    assert reply["successful"]


def test_echo_answers_the_client_that_asked() -> None:
    browser = with_extension(Echo())
    alice, bob = (subscribed(browser, "/service/echo") for _ in range(2))
    request = {"channel": "/service/echo", "data": {"n": 1}, "clientId": alice}
    browser.post(request)
    assert browser.poll(alice) == [{"n": 1}]
    assert browser.poll(bob) == []
    (reply,) = browser.post({**request, "clientId": "gone"})
    assert reply["successful"]


def test_calls_counts_words() -> None:
    browser = with_extension(Calls())
    session_id = subscribed(browser, "/any")
    for number, data in enumerate([{"text": "to be or not"}, {"text": 7}, "no"]):
        call = {"channel": "/service/words", "id": str(number), "data": data}
        browser.post({**call, "clientId": session_id})
    refused = {"message": "text must be a string"}
    assert browser.poll(session_id) == [{"words": 4}, refused, refused]


# Processes

WARNINGS = [
    *("-W", "error"),
    # Twisted's own, whenever twisted.web.static is imported.
    *("-W", "ignore:twisted.web.resource._Unsafe:DeprecationWarning"),
    # Twisted 26.4 leaves the socket of a port that is taken to the garbage collector.
    *("-W", "ignore:unclosed <socket:ResourceWarning"),
]


@contextmanager
def process(
    name: str, *arguments: str, folder: Path = ROOT, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    started = subprocess.Popen(
        [sys.executable, *WARNINGS, str(ROOT / f"examples/{name}.py"), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def post(connection: http.client.HTTPConnection, message: Any) -> None:
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/bayeux", json.dumps(message), headers)


def answer(connection: http.client.HTTPConnection) -> Any:
    return json.loads(connection.getresponse().read())[0]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_server_answers_held_connects_and_ends_when_told_to(
    end: signal.Signals,
) -> None:
    port = free_port()
    with process("chat", str(port)) as server:
        assert server.stdout is not None
        assert f"http://localhost:{port}/" in server.stdout.readline()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        post(connection, HANDSHAKE)
        post_connect = connect(answer(connection)["clientId"])
        post(connection, post_connect | {"advice": {"timeout": 0}})
        assert answer(connection)["successful"]
        post(connection, post_connect)
        other = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        post(other, {"channel": "/x", "data": 1})
        assert answer(other)["successful"]  # so the connect has been read, too
        other.close()
        server.send_signal(end)
        assert answer(connection)["successful"]
        connection.close()
        _, errors = server.communicate(timeout=60)
        assert (server.returncode, errors) == (0, "")


@pytest.mark.parametrize("name", ["chat", "clock", "shared"])
def test_a_port_that_is_taken_is_said_in_one_line(name: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        process(name, str(other.getsockname()[1])) as server,
    ):
        _, errors = server.communicate(timeout=60)
        assert server.returncode == 1
        assert re.fullmatch(r".*Address already in use.*\n", errors)


def test_a_url_of_redis_that_is_none_is_said_in_one_line() -> None:
    with process("shared", "8001", "http://localhost") as server:
        _, errors = server.communicate(timeout=60)
        assert (server.returncode, errors) == (1, "not a URL of Redis: http:\n")


class Unauthorized(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_error(401)

    def log_message(self, *arguments: object) -> None:
        pass


def test_salesforce_says_that_its_token_was_refused(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Unauthorized)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    variables = {"INSTANCE_URL": url, "ACCESS_TOKEN": "expired"}
    with process("salesforce", "/event/A", folder=tmp_path, **variables) as client:
        _, errors = client.communicate(timeout=60)
    server.shutdown()
    server.server_close()
    *others, last = errors.splitlines()
    assert last == "Salesforce refused: 401::Authentication failed"
    assert others == ["trying again: 401::Authentication failed"]
    assert client.returncode == 1


@pytest.mark.parametrize("name", ["listen", "salesforce"])
def test_a_client_says_that_there_is_no_server(name: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # but it does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        arguments = ["/event/A"] if name == "salesforce" else [url]
        variables = {"INSTANCE_URL": url, "ACCESS_TOKEN": "x"}
        with process(name, *arguments, folder=tmp_path, **variables) as client:
            assert client.stderr is not None
            said = client.stderr.readline()
            assert said.startswith("trying again: no connection: ")
            client.send_signal(signal.SIGTERM)
            client.communicate(timeout=60)
            assert client.returncode == 0
