"""Bayeux, the server in one object: what it wires, and its start and stop."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from tests.web import HANDSHAKE, UPGRADE, Browser, Connection, get, post
from txbayeux import (
    Bayeux,
    BayeuxError,
    Extension,
    Limits,
    MemoryEngine,
    Origins,
    ServerOptions,
)
from txbayeux.bayeux import FLUSH_TIME
from txbayeux.interfaces import SessionObserver
from txbayeux.message import Message
from txbayeux.peer_limits import PeerLimits
from txbayeux.rates import Rate


@pytest.fixture
def reactor() -> MemoryReactorClock:
    return MemoryReactorClock()


def site_of(bayeux: Bayeux, reactor: MemoryReactorClock) -> Site:
    root = Resource()
    root.putChild(b"bayeux", bayeux.resource)
    return Site(root, reactor=reactor)


def started(reactor: MemoryReactorClock, **arguments: Any) -> tuple[Bayeux, Browser]:
    bayeux = Bayeux(reactor, **arguments)
    assert outcome(bayeux.start()) == [None]
    return bayeux, Browser(site_of(bayeux, reactor))


def outcome(deferred: Deferred[Any]) -> list[Any]:
    """Collect what a Deferred fires with: a result, or an exception."""
    results: list[Any] = []
    deferred.addCallbacks(results.append, lambda failure: results.append(failure.value))
    return results


def stop(bayeux: Bayeux, reactor: MemoryReactorClock) -> None:
    stopping = outcome(bayeux.stop())
    reactor.pump([0, 1, 1, FLUSH_TIME])
    assert stopping == [None]


# Messages of this process


def test_a_listener_gets_what_clients_publish(reactor: MemoryReactorClock) -> None:
    bayeux, browser = started(reactor)
    received: list[Message] = []
    bayeux.subscribe("/chat/*", received.append)
    browser.post({"channel": "/chat/a", "data": "hello"})
    reactor.advance(0)
    assert [(m["channel"], m["data"]) for m in received] == [("/chat/a", "hello")]


def test_a_cancelled_listener_gets_nothing(reactor: MemoryReactorClock) -> None:
    bayeux, browser = started(reactor)
    received: list[Message] = []
    bayeux.subscribe("/chat/*", received.append).cancel()
    browser.post({"channel": "/chat/a", "data": "hello"})
    reactor.advance(0)
    assert received == []


def test_clients_get_what_is_published(reactor: MemoryReactorClock) -> None:
    bayeux, browser = started(reactor)
    session_id = browser.handshake()
    browser.subscribe(session_id, "/news")
    assert outcome(bayeux.publish("/news", {"n": 1})) == [None]
    assert browser.poll(session_id) == [{"n": 1}]


def test_one_session_alone_gets_what_is_delivered_to_it(
    reactor: MemoryReactorClock,
) -> None:
    bayeux, browser = started(reactor)
    alice, bob = browser.handshake(), browser.handshake()
    assert outcome(bayeux.deliver(alice, "/answers", 42)) == [None]
    assert browser.poll(alice) == [42]
    assert browser.poll(bob) == []
    (error,) = outcome(bayeux.deliver("nobody", "/answers", 42))
    assert isinstance(error, BayeuxError)
    assert error.code == 402


def test_channels_that_are_none_are_refused(reactor: MemoryReactorClock) -> None:
    bayeux, _ = started(reactor)
    with pytest.raises(BayeuxError, match="405:chat:"):
        bayeux.subscribe("chat", print)
    (error,) = outcome(bayeux.publish("/chat/*", 1))
    assert error.code == 405


# What is said once


def test_the_engine_takes_the_limits(reactor: MemoryReactorClock) -> None:
    _, browser = started(reactor, limits=Limits(sessions=1, session_subscriptions=1))
    session_id = browser.handshake()
    assert browser.post(HANDSHAKE)[0]["error"].startswith("503:")
    assert browser.subscribe(session_id, "/a")["successful"]
    assert browser.subscribe(session_id, "/b")["error"].startswith("403:")


def test_the_resource_takes_the_same_limits(reactor: MemoryReactorClock) -> None:
    _, browser = started(reactor, limits=Limits(request_bytes=100, batch_messages=2))
    assert b" 413 " in browser.ask(post({"channel": "/a", "data": "x" * 100}))
    assert b" 413 " in browser.ask(post([1, 2, 3]))


def test_an_engine_of_ones_own_is_given_the_limits(
    reactor: MemoryReactorClock,
) -> None:
    given: list[Any] = []

    def make(clock: Any, *, limits: Limits, session_timeout: float) -> MemoryEngine:
        given.extend([clock, limits, session_timeout])
        return MemoryEngine(clock, limits=limits, session_timeout=session_timeout)

    limits = Limits(sessions=7)
    started(reactor, engine=make, limits=limits, session_timeout=90.0)
    assert given == [reactor, limits, 90.0]


def test_a_session_ends_after_its_time(reactor: MemoryReactorClock) -> None:
    _, browser = started(reactor, session_timeout=10.0)
    session_id = browser.handshake()
    reactor.pump([5, 6])
    assert browser.subscribe(session_id, "/a")["error"].startswith("402:")


def test_options_reach_the_server(reactor: MemoryReactorClock) -> None:
    options = ServerOptions(timeout=7, publish_without_session=False)
    _, browser = started(reactor, options=options)
    assert browser.post(HANDSHAKE)[0]["advice"]["timeout"] == 7000
    (reply,) = browser.post({"channel": "/a", "data": 1})
    assert reply["error"].startswith("401:")


@pytest.mark.parametrize(
    "origins", [["https://a.example"], Origins(["https://a.example"])]
)
def test_pages_of_the_origins_are_let_in(
    reactor: MemoryReactorClock, origins: Any
) -> None:
    _, browser = started(reactor, origins=origins)
    for origin, status in [
        ("https://a.example", b" 200 "),
        ("https://b.example", b" 403 "),
    ]:
        request = post(HANDSHAKE, headers=f"Origin: {origin}\r\n")
        assert status in browser.ask(request)


def test_extensions_see_messages_in_their_order(reactor: MemoryReactorClock) -> None:
    class Adding(Extension):
        def __init__(self, letter: str) -> None:
            self.letter = letter

        def incoming(self, message: Message, request: object) -> Message:
            return message | {"data": message["data"] + self.letter}

    bayeux, _ = started(reactor, extensions=[Adding("a"), Adding("b")])
    received: list[Any] = []
    bayeux.subscribe("/x", lambda message: received.append(message["data"]))
    bayeux.publish("/x", "-")
    reactor.advance(0)
    assert received == ["-ab"]


def test_an_extension_may_refuse_what_this_process_publishes(
    reactor: MemoryReactorClock,
) -> None:
    class Refusing(Extension):
        def incoming(self, message: Message, request: object) -> Message:
            return message | {"error": "403::Not you"}

    bayeux, _ = started(reactor, extensions=[Refusing()])
    (error,) = outcome(bayeux.publish("/x", 1))
    assert str(error) == "403::Not you"


def test_the_browser_client_is_served(reactor: MemoryReactorClock) -> None:
    _, browser = started(reactor)
    assert b" 200 OK" in browser.ask(get("/bayeux/client.js"))


@pytest.mark.parametrize("path", ["/", "/bayeux", "/a/b"])
def test_a_site_serves_it_at_a_path(reactor: MemoryReactorClock, path: str) -> None:
    bayeux = Bayeux(reactor)
    bayeux.start()
    site = Browser(bayeux.site(path=path))
    assert b" 200 OK" in site.ask(post(HANDSHAKE, path))


def test_a_site_serves_other_pages_beside_it(reactor: MemoryReactorClock) -> None:
    root = Resource()
    root.putChild(b"", Data(b"my page", "text/html"))
    bayeux = Bayeux(reactor, limits=Limits(request_bytes=100))
    bayeux.start()
    browser = Browser(bayeux.site(root))
    assert browser.ask(get("/")).endswith(b"my page")
    assert b" 413 " in browser.ask(post("x" * 100, "/"))
    assert browser.handshake()


# Start and stop


def test_before_the_start_clients_and_publishes_are_refused(
    reactor: MemoryReactorClock,
) -> None:
    bayeux = Bayeux(reactor)
    browser = Browser(site_of(bayeux, reactor))
    assert browser.post(HANDSHAKE)[0]["error"].startswith("503:")
    (error,) = outcome(bayeux.publish("/x", 1))
    assert error.code == 503


def test_a_listener_may_come_before_the_start(reactor: MemoryReactorClock) -> None:
    bayeux = Bayeux(reactor)
    received: list[Message] = []
    bayeux.subscribe("/x", received.append)
    bayeux.start()
    bayeux.publish("/x", 1)
    reactor.advance(0)
    assert len(received) == 1


def test_it_starts_once(reactor: MemoryReactorClock) -> None:
    bayeux, browser = started(reactor)
    (error,) = outcome(bayeux.start())
    assert isinstance(error, RuntimeError)
    assert browser.handshake()


def test_it_does_not_start_again_after_a_stop(reactor: MemoryReactorClock) -> None:
    bayeux = Bayeux(reactor)
    stop(bayeux, reactor)
    (error,) = outcome(bayeux.start())
    assert isinstance(error, RuntimeError)


def test_a_start_that_fails_says_why(reactor: MemoryReactorClock) -> None:
    class Broken(MemoryEngine):
        def start(self, observer: SessionObserver) -> Deferred[None]:
            return fail(OSError("no disk"))

    bayeux = Bayeux(reactor, engine=Broken)
    (error,) = outcome(bayeux.start())
    assert str(error) == "no disk"
    stop(bayeux, reactor)


def test_a_stop_answers_held_connects_and_closes_sockets(
    reactor: MemoryReactorClock,
) -> None:
    bayeux, browser = started(reactor)
    poll = browser.connect(browser.handshake())
    assert poll.received() == b""
    socket = Connection(browser.site)
    socket.send(UPGRADE)
    assert b" 101 " in socket.received()

    stopping = outcome(bayeux.stop())
    assert poll.replies()[0]["successful"]
    assert socket.received().startswith(b"\x88\x02\x03\xe9")  # 1001, "going away"
    poll.send(post(HANDSHAKE))  # as clients do, at once
    assert b" 503 " in poll.received()
    reactor.pump([0, 1, 1, FLUSH_TIME])
    assert stopping == [None]


def test_after_the_stop_everything_is_refused_and_nothing_is_left(
    reactor: MemoryReactorClock,
) -> None:
    bayeux, browser = started(reactor)
    browser.handshake()
    stop(bayeux, reactor)
    assert b" 503 " in browser.ask(post(HANDSHAKE))
    (error,) = outcome(bayeux.publish("/x", 1))
    assert error.code == 503
    bayeux.subscribe("/x", print).cancel()
    reactor.advance(120)
    assert reactor.getDelayedCalls() == []


def test_a_stop_logs_what_was_refused_since_the_last_line(
    reactor: MemoryReactorClock,
) -> None:
    limits = PeerLimits(handshakes=Rate(1, 1))
    bayeux, browser = started(reactor, peer_limits=limits)
    browser.handshake()
    with capturedLogs() as log:
        for _ in range(3):
            browser.post(HANDSHAKE)
        stop(bayeux, reactor)
    first, last = [line for line in map(formatEvent, log) if "Over a limit" in line]
    assert "1 handshakes" in first
    assert "2 handshakes" in last


def test_what_was_published_before_the_stop_is_delivered(
    reactor: MemoryReactorClock,
) -> None:
    bayeux, browser = started(reactor)
    session_id = browser.handshake()
    browser.subscribe(session_id, "/x")
    poll = browser.connect(session_id)
    bayeux.publish("/x", "last")
    bayeux.stop()
    assert [m["data"] for m in poll.replies() if "data" in m] == ["last"]


def test_every_stop_fires_once_the_first_is_done(reactor: MemoryReactorClock) -> None:
    bayeux, _ = started(reactor)
    stops = [outcome(bayeux.stop()), outcome(bayeux.stop())]
    assert stops == [[], []]
    reactor.advance(FLUSH_TIME)
    assert [*stops, outcome(bayeux.stop())] == [[None]] * 3


def test_a_listener_may_stop_it(reactor: MemoryReactorClock) -> None:
    bayeux, browser = started(reactor)
    stops: list[Deferred[None]] = []
    bayeux.subscribe("/stop", lambda message: stops.append(bayeux.stop()))
    poll = browser.connect(browser.handshake())
    bayeux.publish("/stop", None)
    reactor.pump([0, FLUSH_TIME])
    assert poll.replies()[0]["successful"]
    assert outcome(stops[0]) == [None]


def test_sockets_are_closed_when_the_engine_fails_to_stop(
    reactor: MemoryReactorClock,
) -> None:
    class Broken(MemoryEngine):
        def stop(self) -> Deferred[None]:
            return fail(OSError("no disk"))

    bayeux, browser = started(reactor, engine=Broken)
    socket = Connection(browser.site)
    socket.send(UPGRADE)
    socket.received()
    stopping = outcome(bayeux.stop())
    reactor.pump([0, 1, 1])
    assert socket.received().startswith(b"\x88\x02\x03\xe9")
    assert [str(error) for error in stopping] == ["no disk"]


# What it cannot be made of, and what can be said


@pytest.mark.parametrize(
    ("arguments", "error", "complaint"),
    [
        ({"redis": "http://localhost"}, ValueError, "not a URL of Redis: http:"),
        ({"redis": "redis://localhost/x"}, ValueError, "database"),
        ({"redis": "redis://a:b/c@localhost"}, ValueError, "%2F"),
        (
            {"redis": "redis://localhost", "engine": MemoryEngine},
            ValueError,
            "exclude each other",
        ),
        ({"engine": object()}, TypeError, "pass a class or a function"),
        ({"origins": ["a.example"]}, ValueError, "not an origin"),
        ({"extensions": [object()]}, TypeError, "extension"),
    ],
)
def test_wrong_arguments_are_refused_in_words(
    reactor: MemoryReactorClock,
    arguments: dict[str, Any],
    error: type[Exception],
    complaint: str,
) -> None:
    with pytest.raises(error, match=complaint):
        Bayeux(reactor, **arguments)


@pytest.mark.parametrize("missing", ["hiredis", "txredisapi"])
def test_without_the_extra_it_says_what_to_install(
    reactor: MemoryReactorClock, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delitem(sys.modules, "txbayeux.engine.redis", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r"pip install 'txbayeux\[redis\]'"):
        Bayeux(reactor, redis="redis://localhost")


def test_it_starts_and_stops_while_redis_is_away(reactor: MemoryReactorClock) -> None:
    bayeux, browser = started(reactor, redis="redis://localhost")
    publishing = outcome(bayeux.publish("/x", 1))
    connection = Connection(browser.site)
    connection.send(post(HANDSHAKE))
    reactor.pump([1] * 10)
    assert publishing[0].code == 503
    assert connection.replies()[0]["error"].startswith("503:")
    stop(bayeux, reactor)


def test_redis_is_imported_only_for_those_who_want_it() -> None:
    program = """if True:
        import sys
        from twisted.internet.testing import MemoryReactorClock
        from txbayeux import Bayeux
        Bayeux(MemoryReactorClock())
        assert "hiredis" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_the_reference_has_every_argument_with_its_default() -> None:
    page = Path(__file__).parent.parent / "docs/reference/bayeux.md"
    table = page.read_text().partition("\nBy default")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\S*) ?\|", table, flags=re.MULTILINE)
    parameters = inspect.signature(Bayeux).parameters
    assert [name for name, _ in rows] == list(parameters)[1:]
    for name, default in rows:
        expected = parameters[name].default
        written = {"": (None, ()), "off": (False,)}.get(default)
        assert expected in (written or (float(default),)), name
