"""Time synchronization: the offset of the server's clock.

Source: CometD documentation, "Time Synchronization Extension", and its
``TimeSyncExtension.js`` and ``TimesyncExtension.java``.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from txbayeux.extension import Extension
from txbayeux.interfaces import Request
from txbayeux.message import Message

__all__ = ["ServerTimeSync", "TimeSync"]

_SAMPLES: Final = 10
"""CometD's default."""
_MAX: Final = 2**53
_MAX_ID_LENGTH: Final = 256
_ACCURACY: Final = 0.025
"""Seconds; CometD's default."""
_PENDING: Final = 10_000
"""Most messages whose replies are awaited; of more, the oldest get no times."""


class TimeSync(Extension):
    """The client's half of CometD's timesync extension; one object per client.

    :param seconds: the client's clock, in seconds since 1970.
    """

    channels = ("/meta/**",)

    def __init__(self, seconds: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._lags: deque[float] = deque(maxlen=_SAMPLES)
        self._offsets: deque[float] = deque(maxlen=_SAMPLES)

    @property
    def lag(self) -> float:
        """Seconds that a message takes one way; mean of the last ten."""
        return sum(self._lags) / len(self._lags) / 1000 if self._lags else 0.0

    @property
    def offset(self) -> float:
        """Seconds to add to our clock to get the server's; 0 until it is known."""
        return sum(self._offsets) / len(self._offsets) / 1000 if self._offsets else 0.0

    def server_time(self) -> float:
        """Return the server's clock, in seconds since 1970."""
        return self._seconds() + self.offset

    def outgoing(self, message: Message, request: Request | None) -> Message:
        """Add the time of sending, and the lag and offset known so far."""
        message.setdefault("ext", {})["timesync"] = {
            "tc": round(self._seconds() * 1000),
            "l": round(self.lag * 1000),
            "o": round(self.offset * 1000),
        }
        return message

    def incoming(self, message: Message, request: Request | None) -> Message:
        """Take a sample, if the server sent one."""
        ext = message.get("ext")
        sync = ext.get("timesync") if isinstance(ext, dict) else None
        if not isinstance(sync, dict):
            return message
        sent, received = _number(sync.get("tc")), _number(sync.get("ts"))
        processing = _number(sync.get("p", 0))
        if sent is not None and received is not None and processing is not None:
            lag = (self._seconds() * 1000 - sent - processing) / 2
            self._lags.append(lag)
            self._offsets.append(received - sent - lag)
        return message


@dataclass(frozen=True, slots=True)
class _Sample:
    """Times of one message to the server, in milliseconds."""

    sent: float
    received: float
    lag: float | None
    offset: float


class ServerTimeSync(Extension):
    """The server's half: tells CometD's clients, and ours, the server's time.

    Replies on meta channels say when the message arrived and how long it took, unless
    the client's estimate is good already.  A message without ``id`` gets no times.

    :param seconds: the server's clock, in seconds since 1970.
    :param accuracy: seconds by which a client's estimate may be wrong.
    """

    channels = ("/meta/**",)

    def __init__(
        self, seconds: Callable[[], float] = time.time, *, accuracy: float = _ACCURACY
    ) -> None:
        self._seconds = seconds
        self._accuracy = accuracy * 1000
        # By request, channel and id, which a reply has in common with its message.
        # Not to keep requests, with their headers, where no reply follows: an id()
        # that is used again does no harm, as each message that asks has its own entry.
        self._pending: OrderedDict[tuple[int, object, object], _Sample] = OrderedDict()

    def incoming(self, message: Message, request: Request | None) -> Message:
        """Note when a message arrived that asks for the time."""
        ext, identity = message.get("ext"), message.get("id")
        sync = ext.get("timesync") if isinstance(ext, dict) else None
        if not isinstance(sync, dict) or not _is_short(identity):
            return message
        sent, lag = _number(sync.get("tc")), _number(sync.get("l"))
        if sent is None or request is None:
            return message
        offset = _number(sync.get("o")) or 0.0
        self._pending[id(request), message["channel"], identity] = _Sample(
            sent, self._seconds() * 1000, lag, offset
        )
        if len(self._pending) > _PENDING:
            self._pending.popitem(last=False)
        return message

    def outgoing(self, message: Message, request: Request | None) -> Message:
        """Add the times to the reply."""
        key = (id(request), message.get("channel"), message.get("id"))
        sample = self._pending.pop(key, None)
        if sample is None:
            return message
        times = {
            "tc": sample.sent,
            "ts": round(sample.received),
            "p": round(self._seconds() * 1000 - sample.received),
        }
        if sample.lag is not None:
            error = sample.sent + sample.offset + sample.lag - sample.received
            if sample.lag and abs(error) < self._accuracy:
                return message
            times["a"] = round(error)
        message.setdefault("ext", {})["timesync"] = times
        return message


def _is_short(identity: object) -> bool:
    """Return whether this is an id that a reply repeats."""
    if isinstance(identity, str):
        return len(identity) <= _MAX_ID_LENGTH
    return isinstance(identity, int) and abs(identity) < _MAX


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if -_MAX < value < _MAX else None
