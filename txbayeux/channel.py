"""Channel names and patterns, and the subscriptions that match a channel.

Source: Bayeux specification, "Channels" and "Channel Globbing".  The grammar
is the specification's, in ASCII, or the wider one of CometD's server; lengths are
bounded because a name is expanded into every pattern that could match it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator, Mapping
from functools import lru_cache
from typing import Final, Generic, TypeVar

__all__ = [
    "BAYEUX",
    "COMETD",
    "CONNECT",
    "DISCONNECT",
    "GRAMMARS",
    "HANDSHAKE",
    "MAX_LENGTH",
    "MAX_SEGMENTS",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "Grammar",
    "SubscriptionIndex",
    "expand",
    "is_deliverable",
    "is_meta",
    "is_name",
    "is_pattern",
    "is_reserved",
    "is_sendable",
    "is_service",
    "matches",
    "without_query",
]

HANDSHAKE: Final = "/meta/handshake"
CONNECT: Final = "/meta/connect"
SUBSCRIBE: Final = "/meta/subscribe"
UNSUBSCRIBE: Final = "/meta/unsubscribe"
DISCONNECT: Final = "/meta/disconnect"

MAX_LENGTH: Final = 1024
"""Longest channel name or pattern, in characters."""

MAX_SEGMENTS: Final = 64
"""Most segments of a channel name or pattern."""

_MAX_CACHED: Final = 128
"""Longest name whose expansion is cached, in characters."""

_SEGMENT: Final = r"[A-Za-z0-9\-_!~()$@]+"
_COMETD: Final = r"A-Za-z0-9\-_!~()$@.:#+{}"
# A space is inside a segment only, so that " /" separates names.  A segment `.` or `..`
# means something else where names become paths.
_COMETD_SEGMENT: Final = rf"(?!\.\.?(?:/|\Z))[{_COMETD}](?:[{_COMETD} ]*[{_COMETD}])?"

_SENDABLE: Final = re.compile(r"/[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z")
"""Surrogates, which have no UTF-8, are as bad as control characters."""


class Grammar:
    """Which channel names and patterns there are.

    :param segment: regular expression of a segment, without ``/`` and ``*``.
    :param final_slash: what may follow a name's last segment, as an expression.
    """

    __slots__ = ("_is_name", "_pattern")

    def __init__(self, segment: str, final_slash: str = "") -> None:
        # `\Z`, not `$`: `$` also matches before a final newline.
        name = re.compile(rf"(?:/{segment}){{1,{MAX_SEGMENTS}}}{final_slash}\Z")
        self._is_name = lru_cache(maxsize=4096)(
            lambda value: name.match(value) is not None
        )
        self._pattern = re.compile(rf"(?:/{segment}){{0,{MAX_SEGMENTS - 1}}}/\*\*?\Z")

    def is_name(self, value: object) -> bool:
        """Return whether ``value`` is a channel name (``/chat/room-1``)."""
        return (
            isinstance(value, str) and len(value) <= MAX_LENGTH and self._is_name(value)
        )

    def is_pattern(self, value: object) -> bool:
        """Return whether ``value`` is a channel pattern (``/chat/*``, ``/chat/**``)."""
        return (
            isinstance(value, str)
            and len(value) <= MAX_LENGTH
            and self._pattern.match(value) is not None
        )


BAYEUX: Final = Grammar(_SEGMENT)
"""The grammar of the specification, and of Faye."""

COMETD: Final = Grammar(_COMETD_SEGMENT, "/?")
"""All names of :data:`BAYEUX`, and most that CometD's server takes besides.

Segments may have ``. : # + { }``, and spaces inside; a name may end with a slash, which
makes it another name: ``/chat/`` is not ``/chat``.
"""

GRAMMARS: Final[Mapping[str, Grammar]] = {"bayeux": BAYEUX, "cometd": COMETD}
"""The grammars by the names of :attr:`txbayeux.ServerOptions.channel_names`."""

is_name: Final = BAYEUX.is_name
is_pattern: Final = BAYEUX.is_pattern


def is_sendable(value: object) -> bool:
    """Return whether a client may name the channel or pattern ``value`` to a server.

    Which there are is up to the server.  It begins with a slash, has at most
    :data:`MAX_LENGTH` characters, and none that controls something.
    """
    return (
        isinstance(value, str)
        and len(value) <= MAX_LENGTH
        and _SENDABLE.match(value) is not None
    )


def is_deliverable(value: object) -> bool:
    """Return whether a server may send messages on ``value``; not on patterns.

    It has at most :data:`MAX_SEGMENTS` segments, and can be expanded.
    """
    if not is_sendable(value):
        return False
    name = str(value)
    return name.count("/") <= MAX_SEGMENTS + 1 and not name.endswith(("/*", "/**"))


def without_query(channel: str) -> str:
    """Return the channel without its filter, as in ``/topic/X?Field='value'``.

    Source: Salesforce, "Streaming API Developer Guide", "Filtered Subscriptions".
    """
    return channel.partition("?")[0]


def is_meta(channel: str) -> bool:
    """Return whether ``channel`` is a meta channel (``/meta`` and below)."""
    return channel.startswith("/meta/") or channel == "/meta"


def is_reserved(channel: str) -> bool:
    """Return whether ``channel`` is ``/meta`` or below it, in any case of letters.

    ``/META/subscribe`` is a valid channel name, but only an attempt to get past an
    extension uses it (compare CVE-2020-11020).
    """
    return channel[:6].lower() in ("/meta", "/meta/")


def is_service(channel: str) -> bool:
    """Return whether ``channel`` is a service channel (``/service`` and below)."""
    return channel.startswith("/service/") or channel == "/service"


def expand(name: str) -> tuple[str, ...]:
    """Return the name itself and every pattern that matches it.

    For ``/a/b`` these are ``/a/b``, ``/a/*``, ``/a/**`` and ``/**``: at most two more
    than the name has segments.  The same patterns match ``/a/b/``.  ``name`` must
    satisfy :func:`is_deliverable`, as all names of a :class:`Grammar` do.
    """
    # The longest names expand to 40 KiB: a cache of 4,096 of them would be too large.
    return _expand_known(name) if len(name) <= _MAX_CACHED else _expand(name)


def _expand(name: str) -> tuple[str, ...]:
    last = max(1, len(name) - 1)  # of a final slash, which begins no segment
    cuts = [i for i, letter in enumerate(name) if letter == "/" and i < last]
    parents = [name[:cut] for cut in reversed(cuts)]
    return (name, f"{parents[0]}/*", *(f"{parent}/**" for parent in parents))


_expand_known = lru_cache(maxsize=4096)(_expand)


def matches(pattern: str, name: str) -> bool:
    """Return whether a subscription to ``pattern`` gets messages on ``name``."""
    return pattern in expand(name)


S = TypeVar("S", bound=Hashable)


class SubscriptionIndex(Generic[S]):
    """The subscribers of each channel name and pattern.

    Matching takes one dict lookup for each pattern that could match, however many
    patterns there are.  Subscribers of one pattern are in order of subscription.
    """

    __slots__ = ("_subscribers",)

    def __init__(self) -> None:
        self._subscribers: dict[str, dict[S, None]] = {}

    def add(self, pattern: str, subscriber: S) -> None:
        """Add a subscription; a repetition changes nothing."""
        self._subscribers.setdefault(pattern, {})[subscriber] = None

    def remove(self, pattern: str, subscriber: S) -> None:
        """Remove a subscription, if there is one."""
        subscribers = self._subscribers.get(pattern)
        if subscribers is None:
            return
        subscribers.pop(subscriber, None)
        if not subscribers:
            del self._subscribers[pattern]

    def matching(self, name: str) -> Collection[S]:
        """Return each subscriber to ``name`` once.

        The result may be a part of the index: iterate it before the index changes.
        """
        found: dict[S, None] = {}
        for pattern in expand(name):
            subscribers = self._subscribers.get(pattern)
            if subscribers is not None:
                found = found | subscribers if found else subscribers
        return found

    def count(self, name: str) -> int:
        """Return how many subscriptions match ``name``.

        As many subscribers, and fewer where one has several of them.
        """
        known = self._subscribers
        return sum(
            [len(known[pattern]) for pattern in expand(name) if pattern in known]
        )

    def __contains__(self, pattern: str) -> bool:
        return pattern in self._subscribers

    def __iter__(self) -> Iterator[str]:
        return iter(self._subscribers)

    def __len__(self) -> int:
        """Return the number of patterns with subscribers."""
        return len(self._subscribers)
