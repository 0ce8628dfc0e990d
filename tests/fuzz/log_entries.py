"""What others put into Redis: skipped and counted, while all of the service's arrives.

Each line of the input is a step; its fields are separated by tabs:

- ``=`` and any of ``m``, ``a`` and ``u``: one call of the service appends messages for
  all, messages for one session, and changes of subscriptions.  Capital letters: those
  that are not sent to this node;
- ``N``: the service sends a notice to this node;
- ``ID`` and fields: somebody else appends an entry to the log.  An id is ``*``,
  ``POSITION-TOKEN`` or, counted from the log's position, ``+POSITION-TOKEN``;
- ``n``, ``ID`` and fields: somebody else appends to the inbox, counted from its number;
- ``p`` and a text: somebody else publishes it on the feed; ``~`` stands for NUL;
- ``r``: somebody else publishes again what the service has published first;
- ``<``: a publication arrives, ``-``: one is lost, ``!``: the connection is lost;
- ``>``: Redis executes a call, or the reply arrives; ``h``: a heartbeat;
- ``t``: the older half of the log is trimmed; ``w``: somebody waits for what was sent;
- ``.``: a turn of the reactor ends.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tests.fuzz.logs import nothing_fails
from tests.fuzz.redis_model import KINDS, TOKEN, Id, RedisModel, Refused
from txbayeux.engine.redis.feed import Feed
from txbayeux.engine.redis.inbox import Inbox
from txbayeux.engine.redis.log import Change, Logged, Mark
from txbayeux.engine.redis.options import RedisOptions
from txbayeux.engine.redis.window import LogWindow
from txbayeux.errors import BayeuxError

__all__ = ["LEXEMES", "TOKENS", "fuzz_one"]

LEXEMES: Final = re.compile(rb"[0-9]+|[a-z]+|\t|\n|.", re.DOTALL)

TOKENS: Final = (
    *(b"\n=\tm", b"\n=\ta", b"\n=\tu", b"\n=\tM", b"\n=\tm\tm\tM\tu", b"\nN", b"\nr"),
    *(b"\n<", b"\n-", b"\n!", b"\n>", b"\n>\n>", b"\nh", b"\nt", b"\nw", b"\n."),
    *(b"\n*\ta\tb", b"\n+1-9\ta\tb", b"\n+0-99\ta\tb", b"\n+1000000-0\ta\tb"),
    *(
        b"\nn\t*\tk\tcreated",
        b"\nn\t+0-1\ta\tb",
        b"\nn\t+1-0\ta\tb",
        b"\nn\t+9-0\ta\tb",
    ),
    b"\n18446744073709551615-18446744073709551615\ta\tb",
    *(b"+1-1\t", b"+0-8\t", b"*\t", b"\tc\t/a\tj\t{}", b"\tc\t/a\tj\t{}\tt\ts"),
    *(b"\tu\ts\t+\t/a /b", b"\tu\ts\t+\t/a b /c/ /d e/*", b"\tu\ts\t-\t/a"),
    *(b"\tu\ts\t*\t/a", b"\tc\ta\tj\t{}", b"c", b"u", b"j", b"t", b"+", b"-", b"/a"),
    *(b"{}", b"{\xff}", b"\xff", b"\xc3", b"\t", b"\n", b" ", b"0", b"9" * 19),
    *(b"18446744073709551616", b"/a b", b"/a/", b"/.", b"/a ", b"/{a}:"),
    *(b"\np\te~9~0~~1-7~c~/a~j~{}", b"\np\t+x~", b"\np\t", b"\np\tf~1~0~~1-7"),
    *(b"\np\te~notice~x~~k", b"\np\te~notice~9~~k~v", b"e~", b"notice~", b"~~"),
    *(b"~c~/a~j~{}", b"~t~s", b"~u~s~+~/a", b"~1-7", b"-x~", b"inf~", b"~"),
)

_STEPS: Final = 100_000
"""More than it takes to read what an input can append."""

_ID: Final = re.compile(rb"(\+?)([0-9]{1,20})-([0-9]{1,20})")

_MARK: Final = rb"A-Za-z0-9_!~()$@.:#+{}\-"
_NAME: Final = rb"(/(?!\.\.?(/|\Z))[%b]([%b ]*[%b])?)+/?" % (_MARK, _MARK, _MARK)
_MESSAGE: Final = (b"c", _NAME, b"j", rb"\{.*\}")
_WELL_FORMED: Final = (
    _MESSAGE,
    (*_MESSAGE, b"t", b".*"),
    (b"u", b".*", b"[+-]", b".*"),
)
"""What the service's entries look like."""


class _Hub:
    """Is busy after two entries in a turn."""

    def __init__(self) -> None:
        self._queued = 0
        self._waiting: list[Deferred[None]] = []

    def queue(self) -> None:
        """Count an entry."""
        self._queued += 1

    @property
    def busy(self) -> bool:
        """Whether to wait for the next turn."""
        return self._queued > 1

    def next_turn(self) -> Deferred[None]:
        """Return a Deferred that fires in the next turn."""
        result: Deferred[None] = Deferred()
        self._waiting.append(result)
        return result

    def turn(self) -> bool:
        """Pass a turn; return whether something waited for it."""
        self._queued = 0
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)
        return bool(waiting)


class _Connection:
    """The connection of the feed."""

    on_message: Any = None
    aborted = False

    def abort(self) -> None:
        """Called when the node cannot go on."""
        self.aborted = True

    def pause(self) -> None:
        """Called when too much waits."""
        raise AssertionError("an input is too small for that")


def fuzz_one(data: bytes) -> None:
    """Do the steps; then show that all of the service's arrives, in order."""
    with nothing_fails():
        _Run().run(data.split(b"\n"))


class _Run:
    """A node's feed, and the steps; it follows the feed as ``node.py`` does."""

    def __init__(self) -> None:
        self.redis = RedisModel()
        self._hub = _Hub()
        self._calls: deque[tuple[Callable[[], Any], Deferred[Any]]] = deque()
        self._replies: deque[tuple[Any, Deferred[Any]]] = deque()
        self._got: list[int] = []
        self._noticed: list[int] = []
        self._reached = 0
        self._excused: set[int] = set()
        self._verified = 0
        self._foreign = 0
        self._waiting: list[Deferred[Any]] = []
        self._failures: list[Failure] = []
        self._registering = self._catching_up = False
        self._feed = Feed(
            Clock(),
            hub=cast(Any, self._hub),
            window=LogWindow(cast(Any, _Commands(self)), RedisOptions(tail_messages=3)),
            dispatch=self._dispatch,
            take_notice=self._take_notice,
            advance=self._advance,
            gap=self._gap,
            missed=self._register,
            missed_notices=self._missed_notices,
        )
        self._inbox = Inbox(
            cast(Any, _Commands(self)), self._feed, self._inbox_incomplete
        )
        self._feed.begin("e", self.redis.mark())
        self._connect()

    def call(self, execute: Callable[[], Any]) -> Deferred[Any]:
        """Send a call to Redis, which executes it at a step, and replies at another."""
        result: Deferred[Any] = Deferred()
        self._calls.append((execute, result))
        return result

    # What the feed calls

    def _dispatch(self, item: Logged) -> None:
        assert item.position > self._reached, f"{item!r} after {self._reached}"
        fields = self.redis.appended[item.position]
        if isinstance(item, Change):
            assert [item.session_id.encode(), b"+"] == fields[1:3]
        else:
            assert item.json == fields[3]
        self._reached = item.position
        self._got.append(item.position)
        self._hub.queue()

    def _take_notice(self, notice: Mapping[str, str]) -> None:
        number = int(notice["k"])
        assert number > max(self._noticed, default=0), "a notice comes twice"
        self._noticed.append(number)

    def _advance(self, position: int) -> None:
        assert position >= self._reached
        missing = self._missing(self._reached, position)
        assert not missing, f"{missing} are passed over"
        self._reached = position

    def _gap(self) -> None:
        assert self._reached < self.redis.trimmed, "all that is needed is in the log"
        self._excused |= self._missing(self._reached, self._feed.position)
        self._reached = self._feed.position

    def _missing(self, first: int, last: int) -> set[int]:
        sent = {n for n in self.redis.for_us if first < n <= last}
        return sent - self._excused - {*self._got}

    # What node.py does

    def _connect(self) -> None:
        self._connection = _Connection()
        self.redis.feed.clear()
        connection: Any = self._connection
        self._feed.connected(connection)
        self._register()

    def _register(self) -> None:
        if self._registering:
            return
        self._registering = True
        connection = self._connection

        def registered(reply: tuple[Mark, int]) -> None:
            self._registering = False
            if connection is not self._connection:
                self._register()
                return
            self._feed.sent_notices(reply[1])
            self._follow(connection, reply[0])

        seen = self._feed.seen
        self.call(lambda: self.redis.register(seen)).addCallback(registered).addErrback(
            self._failures.append
        )

    def _follow(self, connection: _Connection, mark: Mark) -> None:
        if self._feed.following or self._catching_up:
            return
        self._catching_up = True

        async def catch_up() -> None:
            await self._feed.catch_up(mark, whole=False)
            if connection is self._connection:
                self._feed.follow(mark)

        def ended(failure: object) -> None:
            self._catching_up = False
            if isinstance(failure, Failure):
                failure.trap(BayeuxError)
                connection.abort()
            if connection is not self._connection:
                self._register()

        Deferred.fromCoroutine(catch_up()).addBoth(ended).addErrback(
            self._failures.append
        )

    def _missed_notices(self, last: int) -> None:
        self._inbox.read(last)

    def _inbox_incomplete(self) -> None:
        self._verified = self.redis.notices

    def _heartbeat(self) -> None:
        def done(reply: tuple[Mark, int, int]) -> None:
            self._feed.advance(reply[0])
            self._feed.removed_foreign(reply[1])
            if reply[2] > self._feed.notices:
                self._inbox.read(self._feed.notices)

        self.call(self.redis.heartbeat).addCallback(done).addErrback(
            self._failures.append
        )

    # Steps

    def run(self, lines: list[bytes]) -> None:
        for line in lines:
            self._step(*line.split(b"\t"))
        # A message shows what was lost before it, a heartbeat lost notices.
        self.redis.append([b"m"])
        self._check_all()
        self._reconnect()
        self._check_all()
        self._feed.stop()

    def _check_all(self) -> None:
        self._settle()
        self._heartbeat()
        self._settle()
        for failure in self._failures:
            failure.raiseException()
        redis, feed = self.redis, self._feed
        missing = self._missing(0, redis.position)
        assert not missing, f"{missing} are missing"
        assert feed.following, "the feed has stopped"
        assert feed.position == redis.position
        assert feed.foreign == redis.foreign + self._foreign
        lost = {*range(1, redis.notices + 1)} - {*self._noticed}
        assert max(lost, default=0) <= min(redis.deleted, self._verified), lost
        assert all(one.called for one in self._waiting)

    def _settle(self) -> None:
        for _ in range(_STEPS):
            if not (self._reply() or self._receive() or self._hub.turn()):
                return
        raise AssertionError("the node reads the same again")

    def _step(self, first: bytes, *fields: bytes) -> None:
        simple = {
            b"N": self.redis.notify,
            b"r": self._repeat,
            b"<": self._receive,
            b"-": self._lose,
            b"!": self._reconnect,
            b">": self._reply,
            b"h": self._heartbeat,
            b"t": self.redis.trim,
            b"w": self._wait,
            b".": self._hub.turn,
        }.get(first)
        if simple is not None:
            simple()
        elif first == b"=":
            self.redis.append([kind for kind in fields if kind.lower() in KINDS])
        elif first == b"p":
            self._publish(b"\t".join(fields).replace(b"~", b"\0"))
        elif first == b"n" and fields:
            self._append_notice(*fields)
        elif fields:
            self._append_foreign(first, _pairs(fields))

    def _repeat(self) -> None:
        self.redis.feed.extend(self.redis.published[:1])

    def _lose(self) -> None:
        if self.redis.feed:
            self.redis.feed.popleft()

    def _reconnect(self) -> None:
        self._feed.down()
        self._connect()

    def _reply(self) -> bool:
        if self._replies:
            reply, result = self._replies.popleft()
            result.callback(reply)
        elif self._calls:
            execute, result = self._calls.popleft()
            self._replies.append((execute(), result))
        else:
            return False
        return True

    def _receive(self) -> bool:
        if not self.redis.feed:
            return False
        payload = self.redis.feed.popleft()
        if payload not in self.redis.published and _kind(payload) == "foreign":
            self._foreign += 1
        self._connection.on_message(payload)
        return True

    def _wait(self) -> None:
        sent = self.redis.sent

        def reached(_: object) -> None:
            assert self._feed.sent >= sent

        self._feed.note(sent)
        self._waiting.append(self._feed.reached(sent).addCallback(reached))

    def _publish(self, payload: bytes) -> None:
        if _kind(payload) != "forged":
            self.redis.feed.append(payload)

    def _append_notice(self, first: bytes, *fields: bytes) -> None:
        try:
            if first == b"*":
                self.redis.inbox.add(None, _pairs(fields))
            elif identity := _identity(first, self.redis.notices):
                self.redis.inbox.add(identity, _pairs(fields))
        except Refused:
            pass

    def _append_foreign(self, first: bytes, fields: list[bytes]) -> None:
        redis = self.redis
        identity = _identity(first, redis.position)
        try:
            if first == b"*":
                redis.log.add(None, fields)
            elif identity is not None and not _is_forged(identity, fields, redis):
                redis.log.add(identity, fields)
        except Refused:
            pass


class _Commands:
    """What the window reads with."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def run(self, script: str, *arguments: Any) -> Deferred[Any]:
        """Send a call."""
        return self._run.call(lambda: self._run.redis.run(script, *arguments))


def _pairs(fields: Sequence[bytes]) -> list[bytes]:
    return [*fields, b"", b""][: max(2, (len(fields) + 1) // 2 * 2)]


def _identity(text: bytes, position: int) -> Id | None:
    match = _ID.fullmatch(text)
    if match is None:
        return None
    return (position if match[1] else 0) + int(match[2]), int(match[3])


def _is_forged(identity: Id, fields: list[bytes], redis: RedisModel) -> bool:
    """Return whether nobody could know that an entry is not the service's.

    It is where the service's next entry will be, or one was, and looks like one.
    """
    position, token = identity
    free = position == redis.position + 1 or position <= redis.trimmed
    return token == TOKEN or (token != 0 and free and _is_well_formed(fields))


def _is_well_formed(fields: Sequence[bytes]) -> bool:
    try:
        [field.decode() for field in fields]
    except UnicodeDecodeError:
        return False
    return any(
        len(pattern) == len(fields)
        and all(map(re.fullmatch, pattern, fields, [re.DOTALL] * len(fields)))
        for pattern in _WELL_FORMED
    )


def _kind(payload: bytes) -> str:
    """Return what somebody else's publication is.

    "foreign": counted; "other": of another epoch; "forged": nobody could know.
    """
    head, _, rest = payload.partition(b"\0\0")
    parts = head.split(b"\0")
    if len(parts) != 3:
        return "foreign"
    epoch, position, number = parts
    if epoch != b"e":
        return "other"
    try:
        _ = int(number), int(b"0" if position == b"notice" else position)
    except ValueError:
        return "foreign"
    entries = [text.split(b"\0") for text in rest.split(b"\0\0")]
    if position == b"notice" or all(_is_well_formed(fields) for _, *fields in entries):
        return "forged"
    return "foreign"
