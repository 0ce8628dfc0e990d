"""Options of the Redis engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from txbayeux.limits import Limits

__all__ = [
    "SHARED",
    "SHARED_LIMITS",
    "RedisOptions",
    "describe_shared",
    "differences",
]

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")

SHARED: Final = (
    "retained_messages",
    "retained_bytes",
    "retained_seconds",
    "dead_after",
    "handover",
)
"""Options that must be equal on all nodes; a node logs an error if one is not."""

SHARED_LIMITS: Final = (
    "request_bytes",
    "session_subscriptions",
    "session_subscription_bytes",
    "queue_messages",
    "queue_bytes",
)
"""Limits that must be equal, too: they go with a session, whichever node serves it.

A message larger than ``queue_bytes`` of another node would close all sessions there
that it is for.  The other limits are those of a process.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """Retention, limits and times of the Redis engine.

    All nodes of one service must use the same options.

    :raises ValueError: on construction, for a number that is not positive, or a
        namespace with other characters than letters, digits and ``_.:-``.
    """

    namespace: str = "txbayeux"
    """The hash tag that begins every key in Redis: ``{txbayeux}:``."""

    retained_messages: int = 100_000
    """Entries of the log that Redis keeps; somewhat more for a while (``MAXLEN ~``)."""

    retained_bytes: int = 256 * 1024 * 1024
    """Bytes of the log that Redis keeps, or up to an eighth more.

    Counted are the values of an entry, and 64 bytes.  By default a quarter of a Redis
    of 1 GiB: ten times what 100,000 messages of 200 bytes take.
    """

    retained_seconds: float = 300.0
    """Age at which entries of the log are dropped, whatever their number."""

    tail_messages: int = 10_000
    """Entries that each node keeps in memory for sessions that it acquires."""

    tail_bytes: int = 32 * 1024 * 1024
    """Bytes in those entries: JSON, and channels of subscriptions."""

    pending_messages: int = 10_000
    """Operations that wait for Redis in one node; more are refused with 503."""

    pending_bytes: int = 16 * 1024 * 1024
    """Bytes of the arguments of those operations, and 50 for each argument."""

    patience: float = 5.0
    """Seconds an operation waits while Redis cannot be used; then it fails with 503."""

    reply_timeout: float = 5.0
    """Seconds without a reply after which a connection to Redis is closed."""

    checkpoint_interval: float = 0.2
    """Seconds between checkpoints, which record what sessions have received.

    After a node was killed or frozen, sessions that do not acknowledge get messages
    of up to twice this time again.
    """

    handover: float = 1.0
    """Seconds to wait for a living former owner to release a session."""

    dead_after: float = 3.0
    """Seconds without a heartbeat after which a node counts as dead."""

    @property
    def retained(self) -> tuple[int, int]:
        """Most bytes and entries of the log, as the scripts that append take them."""
        return self.retained_bytes, self.retained_messages

    def __post_init__(self) -> None:
        if not _NAMESPACE.match(self.namespace):
            raise ValueError(f"not a namespace for keys in Redis: {self.namespace!r}")
        for name in self.__slots__:
            value = getattr(self, name)
            if not isinstance(value, str) and not value > 0:
                raise ValueError(f"{name} must be positive: {value!r}")


def describe_shared(
    options: RedisOptions, limits: Limits, session_timeout: float
) -> str:
    """Return what must be equal on all nodes, as ``name=value`` with spaces between."""
    shared: dict[str, float] = {"session_timeout": session_timeout}
    shared |= {name: getattr(options, name) for name in SHARED}
    shared |= {name: getattr(limits, name) for name in SHARED_LIMITS}
    return " ".join(f"{name}={float(value):.12g}" for name, value in shared.items())


def differences(ours: str, theirs: str) -> tuple[str, str]:
    """Return the parts of two such texts that differ, of names that both have.

    A node of another version may describe more options, or fewer.
    """
    parsed = [
        dict(part.split("=", 1) for part in text.split() if "=" in part)
        for text in (ours, theirs)
    ]
    names = [
        name for name, value in parsed[0].items() if parsed[1].get(name, value) != value
    ]
    one, other = (
        " ".join(f"{name}={values[name]}" for name in names) for values in parsed
    )
    return one, other
