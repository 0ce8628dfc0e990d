"""An incremental parser of the event stream format.

Source: WHATWG HTML, "Interpreting an event stream".  Event types, ids
and the reconnection time are for browsers, and are ignored.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["EventStreamParser", "EventTooLarge"]

_END: Final = re.compile(rb"\r\n|\n|\r(?!\Z)")
"""A final carriage return may be half of a pair: it is kept for the next piece."""


class EventTooLarge(ValueError):
    """An event is larger than the limit."""


class EventStreamParser:
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
        """How many comment lines were received; servers send them as keep-alives."""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the data of each event that ``piece`` completes.

        :raises EventTooLarge: if an event, or a line, is larger than the limit.
        """
        # One byte back: a carriage return that may be half of a pair.
        seen = max(0, len(self._rest) - 1)
        self._rest += piece
        events: list[bytes] = []
        start = 0
        for match in _END.finditer(self._rest, seen):
            self._line(bytes(self._rest[start : match.start()]), events)
            start = match.end()
        del self._rest[:start]
        if len(self._rest) > self._limit:
            raise EventTooLarge
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
                raise EventTooLarge
            self._data.append(value)
