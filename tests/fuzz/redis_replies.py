"""What Redis replies: each command gets its reply, or the connection is closed.

The input is what Redis sends on a connection: to plain commands, to script calls, and
on the connection of the feed.
"""

from __future__ import annotations

import random
import re
import zlib
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.adapter.support import Transport
from tests.engine.hub_fixture import HubFixture
from tests.fuzz.logs import nothing_fails
from txbayeux.engine.redis.commands import Commands
from txbayeux.engine.redis.connection import (
    Connection,
    ConnectionFactory,
    FeedConnection,
)
from txbayeux.engine.redis.errors import RedisError
from txbayeux.engine.redis.feed import Feed
from txbayeux.engine.redis.log import Logged, Mark
from txbayeux.engine.redis.options import RedisOptions
from txbayeux.engine.redis.window import LogWindow
from txbayeux.errors import BayeuxError
from txbayeux.message import Entry

__all__ = ["LEXEMES", "TOKENS", "fuzz_one"]

LEXEMES: Final = re.compile(rb"\r\n|[0-9]+|[A-Za-z/]+|.", re.DOTALL)

TOKENS: Final = (
    *(b"\r\n", b"+OK\r\n", b":0\r\n", b":-1\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n"),
    *(
        b"$0\r\n\r\n",
        b"$1\r\n5\r\n",
        b"$7\r\nmessage\r\n",
        b"$6\r\nnotice\r\n",
        b"$4\r\nfeed\r\n",
        b"$1\r\ne\r\n",
        b"$1\r\nc\r\n",
    ),
    *(
        b"*3\r\n$9\r\nsubscribe\r\n$4\r\nfeed\r\n:1\r\n",
        b"*3\r\n$1\r\n5\r\n$1\r\n7\r\n",
    ),
    b"*3\r\n$7\r\nmessage\r\n$4\r\nfeed\r\n",
    b"*3\r\n$7\r\nmessage\r\n$4\r\nfeed\r\n$20\r\ne\x001\x000\0\x001-7\0c\0/a\0j\0{}\r\n",
    *(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", b"*2\r\n$3\r\n1-7\r\n*4\r\n"),
    *(b"*1\r\n", b"*2\r\n", b"*4\r\n", b"*6\r\n", b"$3\r\n1-1\r\n", b"$2\r\n/a\r\n"),
    *(b"$1\r\nj\r\n$2\r\n{}\r\n", b"$1\r\nu\r\n", b"$1\r\n+\r\n", b"$1\r\nk\r\n"),
    *(b"*1\r\n*2\r\n$3\r\n5-7\r\n*4\r\n", b"*1\r\n$1\r\n5\r\n", b"*1\r\n:0\r\n"),
    *(b"-ERR x\r\n", b"-EPOCH x\r\n", b"-NOSCRIPT x\r\n", b"-READONLY x\r\n", b"-\r\n"),
    *(b"-MOVED 5 127.0.0.1:7001\r\n", b"-WRONGTYPE x\r\n", b"-STALE x\r\n"),
    *(
        b"-UNKNOWN x\r\n",
        b"-LIMIT x\r\n",
        b"-SIZE x\r\n",
        b"-LOADING\r\n",
        b"-\xff\r\n",
    ),
    *(b"#t\r\n", b"#f\r\n", b"_\r\n", b",1.5\r\n", b",nan\r\n", b"(1\r\n", b"%1\r\n"),
    *(b"~1\r\n", b">1\r\n", b"|1\r\n", b"=5\r\ntxt:a\r\n", b"!1\r\nx\r\n", b"$?\r\n"),
    *(b"$9999999999\r\n", b"*99999\r\n", b"*9999999999\r\n", b":9" + b"9" * 30, b"-2"),
)

_COMMANDS: Final = 4
_TOO_LONG: Final = re.compile(rb"\*[+0]*[1-9][0-9]{5}")
"""A list for which hiredis reserves much memory."""

_NUMBER: Final = re.compile(rb"0|-?[1-9][0-9]{0,17}")


def fuzz_one(data: bytes) -> None:
    """Pass the bytes to each kind of connection, at once and in pieces."""
    chance = random.Random(zlib.crc32(data))
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
    pieces = [data[i:j] for i, j in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    if _TOO_LONG.search(data):
        return
    for stream in ([data], pieces):
        with nothing_fails():
            _plain_commands(stream)
            _scripts(stream)
            _feed(stream)


class _Redis:
    """A connection, and what Redis sends over it."""

    def __init__(self, protocol: type[Connection] = Connection) -> None:
        self.clock = Clock()
        # buildProtocol() leaves a call in the reactor, which does not run.
        self.connection: Any = protocol()
        self.connection.factory = ConnectionFactory(self.clock, "fuzzing")
        self.transport = Transport()
        self.transport.protocol = self.connection
        self.connection.makeConnection(self.transport)

    def receive(self, stream: list[bytes]) -> None:
        """Receive these bytes."""
        for piece in stream:
            if self.transport.aborted:
                break
            self.connection.dataReceived(piece)
            self.clock.advance(0)


# Plain commands


def _plain_commands(stream: list[bytes]) -> None:
    """Show that each command gets its own reply."""
    redis = _Redis()
    got: list[Any] = []
    for _ in range(_COMMANDS):
        redis.connection.execute_command("GET", "a").addBoth(got.append)
    redis.receive(stream)
    expected, ended = _replies(b"".join(stream))
    assert len(got) <= len(expected) or ended is not _WHOLE
    for value, right in zip(got, expected, strict=False):
        assert right is _ANY or _plain(value) == right, f"{got!r}, not {expected!r}"
    if not redis.transport.aborted:
        assert len(got) >= min(len(expected), _COMMANDS)
    elif ended is _WHOLE:
        assert len(expected) > _COMMANDS or _ANY in expected, "closed without a reason"
    redis.transport.lose()
    assert len(got) == _COMMANDS


def _plain(value: Any) -> Any:
    error = getattr(value, "value", value)
    return ("error", str(error)) if isinstance(error, RedisError) else value


class _Other(Exception):
    """Raised for what is no reply of RESP2, or not whole."""


_ANY: Final = object()
"""A scalar of RESP3, which is not asked for."""

_WHOLE: Final = object()


def _replies(data: bytes) -> tuple[list[Any], object]:
    """Return the replies at the beginning, and ``_WHOLE`` if nothing follows them."""
    found: list[Any] = []
    at = 0
    try:
        while at < len(data):
            reply, at = _reply(data, at, 0)
            found.append(reply)
    except _Other:
        return found, None
    return found, _WHOLE


def _reply(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """Read a reply.  Source: Redis documentation, "Redis serialization protocol"."""
    end = data.find(b"\r\n", at)
    if end < 0 or depth > 6:
        raise _Other
    kind, text, at = data[at : at + 1], data[at + 1 : end], end + 2
    if b"\r" in text or b"\n" in text:
        raise _Other
    if kind in (b":", b"$", b"*") and _NUMBER.fullmatch(text):
        number = int(text)
        if kind == b":" or number == -1:
            return (number if kind == b":" else None), at
        if 0 <= number < 10_000:
            return (_bulk if kind == b"$" else _list)(data, at, number, depth)
    elif depth == 0 and kind == b"+":
        return text, at
    elif depth == 0 and kind == b"-":
        return ("error", text.decode(errors="replace")), at
    elif depth == 0 and kind == b"#" and text in (b"t", b"f"):
        return _ANY, at
    raise _Other


def _bulk(data: bytes, at: int, size: int, depth: int) -> tuple[bytes, int]:
    end = at + size
    if data[end : end + 2] != b"\r\n":
        raise _Other
    return data[at:end], end + 2


def _list(data: bytes, at: int, size: int, depth: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(size):
        item, at = _reply(data, at, depth + 1)
        items.append(item)
    return items, at


# Script calls


def _scripts(stream: list[bytes]) -> None:
    """Show that each call ends, whatever the reply."""
    redis = _Redis()
    commands = Commands(
        redis.clock, RedisOptions(), node="f", keys=("k",), stale=lambda: None
    )
    commands.up(redis.connection, "e", "{ns}:e:", 7)
    window = LogWindow(commands, RedisOptions())
    ended: list[Any] = []
    made: list[Deferred[Any]] = [
        commands.publish("/a", b"1", ""),
        Deferred.fromCoroutine(window.read(5, 6)).addCallback(_check_part),
        commands.publish("/a", b"2", "1" * 32),
        commands.run("create", "1" * 32, "", 1000),
        commands.run("checkpoint", "", 1000, 0).addCallback(_check_mark),
        commands.publish("/a", b"3", ""),
        commands.run("change", "1" * 32, "+", 5, 100, "/a"),
        commands.run("interest", 0, 0, "-", "/a"),
    ]
    for call in made:
        call.addBoth(ended.append)
    redis.clock.advance(0)
    redis.receive(stream)
    redis.transport.lose()
    commands.down()
    commands.stop()
    assert len(ended) == len(made), f"{len(ended)} calls have ended"
    assert commands.outstanding == 0
    for result in ended:
        if isinstance(result, Failure):
            assert not result.check(AssertionError), result.getErrorMessage()


def _check_part(part: list[Logged]) -> None:
    assert [item.position for item in part] == [5, 6]


def _check_mark(reply: Any) -> None:
    if _is_mark(reply):
        try:
            mark = Mark.parse(*reply)
        except BayeuxError:
            return
        assert [mark.position, mark.sent] == [int(reply[0]), int(reply[2])]


def _is_mark(reply: Any) -> bool:
    """Return whether Redis replies such a mark, whatever others wrote into its keys."""
    return (
        isinstance(reply, list)
        and len(reply) == 3
        and all(isinstance(part, bytes) for part in reply)
    )


# The feed


def _feed(stream: list[bytes]) -> None:
    """Show that the feed goes on, asks for what is missing, or is closed."""
    redis = _Redis(FeedConnection)
    positions: list[int] = []
    missed: list[None] = []
    fixture = HubFixture()

    def logged(item: Logged) -> None:
        positions.append(item.position)
        if isinstance(item, Entry):
            fixture.hub.dispatch(item)

    feed = Feed(
        redis.clock,
        hub=fixture.hub,
        window=cast(Any, None),
        dispatch=logged,
        take_notice=lambda notice: None,
        advance=lambda position: None,
        gap=lambda: None,
        missed=lambda: missed.append(None),
        missed_notices=lambda number: None,
    )
    feed.begin("e", Mark(0, None, 0))
    feed.connected(redis.connection)
    subscribed: list[Any] = []
    redis.connection.execute_command("SUBSCRIBE", "feed").addBoth(subscribed.append)
    feed.follow(Mark(0, None, 0))
    redis.connection.ping(0)
    redis.receive(stream)
    if not redis.transport.aborted:
        redis.connection.ping(0)
        redis.clock.advance(1)
        assert redis.connection.silence() > 0, "no reply is awaited"
        assert feed.following == (not missed)
        sent = max(feed.sent, feed.position)
        feed.receive(_publication(feed.sent, sent + 1))
        assert not feed.following or positions[-1] == sent + 1, "the feed has stopped"
    redis.transport.lose()
    assert subscribed
    feed.down()
    feed.stop()


def _publication(previous: int, position: int) -> bytes:
    entry = (b"", b"%d-7" % position, b"c", b"/a", b"j", b"{}")
    return b"\0".join((b"e", b"%d" % position, b"%d" % previous, *entry))
