"""The event stream format, fed piece by piece: pure.

Source: WHATWG HTML, "Interpreting an event stream".  Event types, ids
and the time to wait before the next stream are for browsers, and are read over.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["EventStream", "TooLong"]

_END: Final = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""A final carriage return may be half of a pair: it waits for the next piece."""


class TooLong(ValueError):
    """An event is larger than what is read."""


class EventStream:
    """Turns bytes into the data of events, and counts comments."""

    __slots__ = ("_data", "_limit", "_rest", "_size", "_started", "comments")

    def __init__(self, limit: int) -> None:
        """:param limit: most bytes of one event."""
        self._limit = limit
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._started = False
        self.comments = 0
        """Lines that say nothing: servers send them to show that they live."""

    def feed(self, piece: bytes) -> list[bytes]:
        """Give the data of each event that ``piece`` completes.

        :raises TooLong: if an event, or a line, passes the limit.
        """
        # One byte back: a carriage return that waited for its other half.
        seen = max(0, len(self._rest) - 1)
        self._rest += piece
        events: list[bytes] = []
        start = 0
        for match in _END.finditer(self._rest, seen):
            self._line(bytes(self._rest[start : match.start()]), events)
            start = match.end()
        del self._rest[:start]
        if len(self._rest) > self._limit:
            raise TooLong
        return events

    def _line(self, line: bytes, events: list[bytes]) -> None:
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            if self._data:
                events.append(b"\n".join(self._data))
            self._data = []
            self._size = 0
            return
        name, _, value = line.partition(b":")
        self.comments += not name
        value = value.removeprefix(b" ")
        if name == b"data":
            self._size += len(value) + 1  # an empty line is kept, too
            if self._size > self._limit:
                raise TooLong
            self._data.append(value)
