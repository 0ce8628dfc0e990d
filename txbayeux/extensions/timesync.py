"""Time synchronization: the offset of the server's clock.

Source: CometD documentation, "Time Synchronization Extension", and its
``TimeSyncExtension.js``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from txbayeux.extension import Extension
from txbayeux.interfaces import Request
from txbayeux.message import Message

__all__ = ["TimeSync"]

_SAMPLES: Final = 10
"""CometD's default."""
_MAX: Final = 2**53


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


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if -_MAX < value < _MAX else None
