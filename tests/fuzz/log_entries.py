"""Entries that others put into the log: skipped and counted, while all others arrive.

Each line of the input is a step; its fields are separated by tabs:

- ``=`` and ``m``, ``a`` or ``u``: the service appends a message for all, a message for
  one session, or a change of subscriptions;
- ``ID`` and fields: somebody else appends an entry.  An id is ``*``, ``POSITION-TOKEN``
  or, counted from the log's position, ``+POSITION-TOKEN``;
- ``n`` and fields: somebody else appends a notice to the inbox;
- ``<``: Redis answers the reader, ``!``: the reader's connection is lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred

from tests.engine.hub_fixture import HubFixture
from tests.fuzz.logs import nothing_fails
from txbayeux.engine.redis.log import Logged
from txbayeux.engine.redis.reader import Reader

__all__ = ["LEXEMES", "TOKENS", "fuzz_one"]

LEXEMES: Final = re.compile(rb"[0-9]+|[a-z]+|\t|\n|.", re.DOTALL)

TOKENS: Final = (
    *(b"\n=\tm", b"\n=\ta", b"\n=\tu", b"\n<", b"\n!", b"\n*\ta\tb", b"\n+1-9\ta\tb"),
    *(b"\n+0-99\ta\tb", b"\n+1000000-0\ta\tb", b"\nn\tk\tcreated", b"\nn\ta\tb"),
    *(
        b"\n18446744073709551615-18446744073709551615\ta\tb",
        b"+1-1\t",
        b"+0-8\t",
        b"*\t",
    ),
    *(
        b"\tc\t/a\tj\t{}",
        b"\tc\t/a\tj\t{}\tt\ts",
        b"\tu\ts\t+\t/a /b",
        b"\tu\ts\t+\t/a b /c/ /d e/*",
        b"\tu\ts\t-\t/a",
    ),
    *(
        b"\tu\ts\t*\t/a",
        b"\tc\ta\tj\t{}",
        b"c",
        b"u",
        b"j",
        b"t",
        b"+",
        b"-",
        b"/a",
        b"{}",
        b"{\xff}",
    ),
    *(b"\xff", b"\xc3", b"\t", b"\n", b" ", b"0", b"18446744073709551616", b"9" * 19),
    *(b"/a b", b"/a/", b"/.", b"/a ", b"/{a}:"),
)

_REPLIES: Final = 10_000
"""More than there are entries in an input."""

_TOKEN: Final = 7
"""Of the only connection that the service appends entries on."""

_MOST: Final = 2**64 - 1
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

Id = tuple[int, int]


class _Refused(Exception):
    """Raised where XADD refuses an id."""


class _Stream:
    """A stream of Redis."""

    def __init__(self) -> None:
        self._entries: list[tuple[Id, list[bytes]]] = []
        self._last: Id = (0, 0)

    def add(self, identity: Id | None, fields: list[bytes]) -> None:
        """Append an entry; an id that is None is made from the time."""
        if identity is None:
            position, token = max(self._last, (1_700_000_000_000, -1))
            identity = (position, token + 1)
        if identity <= self._last or max(identity) > _MOST:
            raise _Refused
        self._entries.append((identity, fields))
        self._last = identity

    def remove_after(self, position: int) -> None:
        """Remove what others appended: ``remove_foreign()`` of ``log.lua``."""
        self._entries = [one for one in self._entries if one[0][0] <= position]
        self._last = self._entries[-1][0] if self._entries else (position, 0)

    def after(self, identity: bytes, count: int) -> list[tuple[Id, list[bytes]]]:
        """Return the entries after an id."""
        position, _, token = identity.partition(b"-")
        start = (int(position), int(token))
        return [one for one in self._entries if one[0] > start][:count]


class _Redis:
    """Redis with a log and an inbox, and the connection of the reader."""

    def __init__(self) -> None:
        self.log, self.inbox = _Stream(), _Stream()
        self.position = 0
        self.foreign = 0
        """Entries and notices of others that the reader got, and has sorted out."""
        self._unsorted = 0
        self._reading: tuple[tuple[Any, ...], Deferred[Any]] | None = None
        self._cleaning: list[tuple[Deferred[int], int]] = []
        self.aborted = False

    def append(self, fields: list[bytes]) -> None:
        """Append an entry of the service: ``append()`` of ``log.lua``."""
        self.position += 1
        try:
            self.log.add((self.position, _TOKEN), fields)
        except _Refused:
            self.log.remove_after(self.position - 1)
            self.log.add((self.position, _TOKEN), fields)

    def clean(self) -> Deferred[int]:
        """Remove what others appended; the reply comes at the next step."""
        self.log.remove_after(self.position)
        cleaned: Deferred[int] = Deferred()
        self._cleaning.append((cleaned, self.position))
        return cleaned

    def execute_command(self, *command: Any) -> Deferred[Any]:
        """Begin to read."""
        assert self._reading is None, "one XREAD at a time"
        assert command[0] == "XREAD"
        reading: Deferred[Any] = Deferred()
        self._reading = command, reading
        return reading

    def reply(self) -> bool:
        """Reply to what waits for a reply; return whether something does."""
        if self._cleaning:
            cleaned, position = self._cleaning.pop(0)
            self.foreign += self._unsorted
            cleaned.callback(position)
            return True
        if self._reading is None:
            return False
        (command, reading), self._reading = self._reading, None
        entries = self.log.after(command[-2], command[2])
        notices = self.inbox.after(command[-1], command[2])
        count = sum(not _is_ours(one) for one in entries) + len(notices)
        found = ((b"log", _wire(entries)), (b"inbox", _wire(notices)))
        reading.callback([one for one in found if one[1]] or None)
        if self._cleaning:
            self._unsorted = count
        else:
            self.foreign += count
        return bool(entries or notices)

    def abort(self) -> None:
        """Called when the reader cannot go on."""
        self.aborted = True

    def reject(self, error: object) -> None:
        """Called when the reader cannot use a reply."""
        raise AssertionError(error)


def fuzz_one(data: bytes) -> None:
    """Do the steps; then show that all entries of the service arrive, in order."""
    with nothing_fails():
        _Run().run(data.split(b"\n"))


class _Run:
    def __init__(self) -> None:
        fixture = HubFixture()
        self._redis: Any = None
        self._got: list[int] = []
        self._reader = Reader(
            fixture.clock,
            hub=fixture.hub,
            dispatch=self._logged,
            take_notice=self._noticed,
            gap=self._gap,
            clean=self._clean,
        )
        self._reader.begin("log", "inbox", 0)
        self._connect(_Redis())

    def _logged(self, item: Logged) -> None:
        assert item.position == len(self._got) + 1, f"{item!r} after {self._got}"
        self._got.append(item.position)

    def _noticed(self, notice: Any) -> None:
        raise ValueError("no notice is the service's")

    def _gap(self) -> None:
        raise AssertionError("no entry of the service was removed")

    def _clean(self) -> Deferred[int]:
        cleaned: Deferred[int] = self._redis.clean()
        return cleaned

    def run(self, lines: list[bytes]) -> None:
        for line in lines:
            self._step(*line.split(b"\t"))
        for _ in range(_REPLIES):
            if not self._redis.reply():
                break
        else:
            raise AssertionError("the reader reads the same again")
        assert not self._redis.aborted
        assert len(self._got) == self._redis.position, "an entry is missing"
        assert self._reader.foreign == self._redis.foreign

    def _connect(self, redis: Any) -> None:
        self._redis = redis
        self._reader.follow(redis)

    def _step(self, first: bytes, *fields: bytes) -> None:
        if first == b"<":
            self._redis.reply()
        elif first == b"!":
            redis, fresh = self._redis, _Redis()
            self._reader.down()
            fresh.log, fresh.inbox = redis.log, redis.inbox
            fresh.position, fresh.foreign = redis.position, redis.foreign
            self._connect(fresh)
        elif first == b"=":
            self._redis.append(_ours(fields, self._redis.position + 1))
        elif fields:
            self._append_foreign(first, [*fields, b""][: (len(fields) + 1) // 2 * 2])

    def _append_foreign(self, first: bytes, fields: list[bytes]) -> None:
        identity = _identity(first, self._redis.position)
        redis = self._redis
        try:
            if first == b"n":
                redis.inbox.add(None, fields)
            elif first == b"*":
                redis.log.add(None, fields)
            elif identity is not None and not _is_forged(identity, fields, redis):
                redis.log.add(identity, fields)
        except _Refused:
            pass


def _ours(fields: Sequence[bytes], position: int) -> list[bytes]:
    message = [b"c", b"/a", b"j", b'{"channel":"/a","data":%d}' % position]
    if fields == (b"a",):
        return [*message, b"t", b"session"]
    return [b"u", b"session", b"+", b"/a /b/*"] if fields == (b"u",) else message


def _is_ours(entry: tuple[Id, list[bytes]]) -> bool:
    (position, token), fields = entry
    return token == _TOKEN and fields in [
        _ours(kind, position) for kind in ((b"m",), (b"a",), (b"u",))
    ]


def _identity(text: bytes, position: int) -> Id | None:
    match = _ID.fullmatch(text)
    if match is None:
        return None
    return (position if match[1] else 0) + int(match[2]), int(match[3])


def _is_forged(identity: Id, fields: list[bytes], redis: _Redis) -> bool:
    """Return whether nobody could know that an entry is not the service's.

    It is where the service's next entry will be, and looks like one.
    """
    position, token = identity
    return token == _TOKEN or (
        token != 0 and position == redis.position + 1 and _is_well_formed(fields)
    )


def _is_well_formed(fields: list[bytes]) -> bool:
    try:
        [field.decode() for field in fields]
    except UnicodeDecodeError:
        return False
    return any(
        len(pattern) == len(fields)
        and all(map(re.fullmatch, pattern, fields, [re.DOTALL] * len(fields)))
        for pattern in _WELL_FORMED
    )


def _wire(entries: Sequence[tuple[Id, list[bytes]]]) -> list[tuple[bytes, list[bytes]]]:
    return [(b"%d-%d" % identity, fields) for identity, fields in entries]
