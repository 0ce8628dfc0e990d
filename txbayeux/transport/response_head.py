"""A limit for the head of an HTTP response.

Twisted limits the length of a line, but not the number of lines.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_HEAD", "ResponseHead"]

MAX_HEAD: Final = 64 * 1024
"""Bytes; precedent: curl has 300 kB, Apache and Node 16 kB and less."""

_END: Final = re.compile(rb"\n\r?\n")
_INTERIM: Final = re.compile(rb"\s*HTTP/[0-9.]+ 1")
"""Any number of interim responses (1xx) may precede the final one."""


class ResponseHead:
    """Measures the head of the response to one request, piece by piece."""

    __slots__ = ("_rest", "_size", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._size = 0
        self._rest = b""

    def feed(self, piece: bytes) -> bool:
        """Add a piece; return whether the head is too long."""
        if self.ended:
            return False
        self._size += len(piece)
        self._rest += piece
        while (end := _END.search(self._rest)) is not None:
            if _INTERIM.match(self._rest) is None:
                self.ended = True
                self._rest = b""
                return False
            self._rest = self._rest[end.end() :]
        return self._size > MAX_HEAD
