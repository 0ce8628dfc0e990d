"""Options of the Redis engine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["RedisOptions"]

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisOptions:
    """What the Redis engine keeps, and how long it waits.

    Every front-end of one service must be given the same.

    :raises ValueError: on construction, for a number that is not positive, or a
        namespace with other characters than letters, digits and ``_.:-``.
    """

    namespace: str = "txbayeux"
    """How the keys in Redis begin: ``{txbayeux}:``."""

    retained_messages: int = 100_000
    """Entries of the log that Redis keeps; somewhat more for a while (``MAXLEN ~``)."""

    retained_seconds: float = 300.0
    """Age past which entries of the log are forgotten, whatever their number."""

    tail_messages: int = 10_000
    """Entries that each front-end keeps at hand for sessions it takes over."""

    tail_bytes: int = 32 * 1024 * 1024
    """Bytes of JSON in those entries."""

    pending_messages: int = 10_000
    """Operations that wait for Redis in one front-end; more are refused with 503."""

    pending_bytes: int = 16 * 1024 * 1024
    """Bytes of JSON in those operations."""

    patience: float = 5.0
    """Seconds an operation waits while Redis cannot be used; then it fails with 503."""

    reply_timeout: float = 5.0
    """Seconds of silence after which a connection to Redis is given up."""

    handover: float = 1.0
    """Seconds, while Redis answers, to wait for what a session's former owner says."""

    dead_after: float = 3.0
    """Seconds without a sign of life after which a front-end is not waited for."""

    def __post_init__(self) -> None:
        if not _NAMESPACE.match(self.namespace):
            raise ValueError(f"not a namespace for keys in Redis: {self.namespace!r}")
        for name in self.__slots__:
            value = getattr(self, name)
            if not isinstance(value, str) and not value > 0:
                raise ValueError(f"{name} must be positive: {value!r}")
