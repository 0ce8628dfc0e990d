"""Entries of the log and notices of inboxes, and the newest entries in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

from txbayeux.channel import COMETD, expand
from txbayeux.errors import unavailable
from txbayeux.message import Entry

__all__ = [
    "Addressed",
    "Change",
    "Logged",
    "Mark",
    "Tail",
    "missed_entries",
    "notice",
    "parse",
    "position_of",
    "size_of",
]

_CHANNEL: Final = 50
"""Bytes that a channel of a change takes in memory besides its characters."""


class Addressed(Entry):
    """A message for one session, whatever it is subscribed to."""

    __slots__ = ("session_id",)

    def __init__(
        self, position: int, channel: str, json: bytes, session_id: str
    ) -> None:
        super().__init__(position, channel, json)
        self.session_id = session_id


@dataclass(frozen=True, slots=True)
class Change:
    """Subscriptions that a session gained or lost, ordered with the messages."""

    position: int
    session_id: str
    added: bool
    channels: tuple[str, ...]
    size: int
    """Bytes that the channels take in memory: their names, and 50 for each."""


Logged: TypeAlias = Entry | Change


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the log was, and what of it was sent to this node."""

    position: int
    """The log's position."""
    token: int | None
    """The second half of the id of the entry there; None if that is not known."""
    sent: int
    """Position of the last entry that was sent to this node."""

    @classmethod
    def parse(
        cls, position: str | bytes, token: str | bytes, sent: str | bytes
    ) -> Mark:
        """Parse the reply of a script; see ``sessions.lua``.

        :raises BayeuxError: 503, if Redis has forgotten the node, or others changed it.
        """
        try:
            return cls(int(position), int(token) if token else None, int(sent))
        except ValueError:
            raise unavailable() from None


def position_of(identity: bytes) -> int:
    """Return the position in the id of an entry."""
    return int(identity.partition(b"-")[0])


def parse(identity: bytes, fields: Sequence[bytes]) -> Logged | None:
    """Parse an entry of the log; None if the scripts do not write such entries.

    :raises ValueError: if Redis has no such entries.
    """
    number, _, token = identity.partition(b"-")
    position = int(number)
    if token == b"0":
        # Ids that Redis makes from the time have this token; no node has it.
        return None
    try:
        match fields:
            case [b"c", name, b"j", json]:
                channel = _channel(name)
                if channel is not None and _is_object(json):
                    return Entry(position, channel, json)
            case [b"c", name, b"j", json, b"t", session]:
                channel = _channel(name)
                if channel is not None and _is_object(json):
                    return Addressed(position, channel, json, session.decode())
            case [b"u", session, b"+" | b"-" as sign, channels]:
                names = channels.decode()
                # Names may have spaces, but no space is at the end of a segment.
                first, *others = names.split(" /")
                added = (first, *(f"/{name}" for name in others))
                size = len(names) + _CHANNEL * len(added)
                return Change(position, session.decode(), sign == b"+", added, size)
    except UnicodeDecodeError:
        return None
    if not fields:
        raise ValueError("an entry without fields")
    return None


@lru_cache(maxsize=4096)
def _channel(name: bytes) -> str | None:
    """Return the name of a channel; None if it is none, raise if it is not UTF-8."""
    channel = name.decode()
    return channel if COMETD.is_name(channel) else None


def _is_object(json: bytes) -> bool:
    """Return whether this may be a JSON object; raise if it is not UTF-8."""
    if not json.isascii():
        json.decode()
    return json.startswith(b"{") and json.endswith(b"}")


def notice(fields: Sequence[bytes]) -> Mapping[str, str]:
    """Parse a notice: names and values."""
    texts = [field.decode() for field in fields]
    return dict(zip(texts[::2], texts[1::2], strict=True))


class Tail:
    """The newest entries that this node received, with all that it was to receive.

    :param messages: most entries to keep.
    :param octets: most bytes to keep: JSON, and channels of changes.
    """

    def __init__(self, messages: int, octets: int) -> None:
        self._messages = messages
        self._octets = octets
        self._items: deque[Logged] = deque()
        self._bytes = 0
        self.start = 0
        """The position after which no entry for this node is missing."""

    def append(self, item: Logged) -> None:
        """Add the next entry."""
        self._items.append(item)
        self._bytes += size_of(item)
        while len(self._items) > self._messages or self._bytes > self._octets:
            dropped = self._items.popleft()
            self._bytes -= size_of(dropped)
            self.start = dropped.position

    def clear(self, position: int) -> None:
        """Remove all entries; the next one is the first after ``position``."""
        self._items.clear()
        self._bytes = 0
        self.start = position

    def after(self, position: int) -> Iterator[Logged]:
        """Return the entries after ``position``, which is :attr:`start` or later."""
        found: list[Logged] = []
        for item in reversed(self._items):
            if item.position <= position:
                break
            found.append(item)
        return reversed(found)


def size_of(item: Logged) -> int:
    """Return the bytes that an entry takes in memory, more or less."""
    return item.size if isinstance(item, Change) else len(item.json)


def missed_entries(
    items: Iterator[Logged] | Sequence[Logged],
    *,
    session_id: str,
    subscriptions: dict[str, int],
    cursor: int,
    known: int,
    behind: frozenset[int],
) -> list[Entry]:
    """Return the entries that a session has not received from its former owner.

    :param subscriptions: each with the position from which it counts, as they were at
        position ``known``; later changes are applied to them.
    :param cursor: everything up to it was delivered, except ``behind``.
    """
    chosen: list[Entry] = []
    for item in items:
        if isinstance(item, Change):
            if item.session_id == session_id and item.position > known:
                _apply(item, subscriptions)
        elif item.position <= cursor:
            if item.position in behind:
                chosen.append(item)
        elif _reaches(item, session_id, subscriptions):
            chosen.append(item)
    return chosen


def _apply(change: Change, subscriptions: dict[str, int]) -> None:
    for channel in change.channels:
        if change.added:
            subscriptions.setdefault(channel, change.position)
        else:
            subscriptions.pop(channel, None)


def _reaches(entry: Entry, session_id: str, subscriptions: Mapping[str, int]) -> bool:
    if isinstance(entry, Addressed):
        return entry.session_id == session_id
    position = entry.position
    return any(
        subscriptions.get(pattern, position) < position
        for pattern in expand(entry.channel)
    )
