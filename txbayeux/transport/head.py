"""How long the head of an HTTP answer may be: pure.

Twisted bounds a line of it, but not how many there are.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_HEAD", "Head"]

MAX_HEAD: Final = 64 * 1024
"""Bytes; precedent: curl has 300 kB, Apache and Node 16 kB and less."""

_END: Final = re.compile(rb"\n\r?\n")
_INTERIM: Final = re.compile(rb"\s*HTTP/[0-9.]+ 1")
"""Any number of answers 1xx may stand before the one that counts."""


class Head:
    """The answer to one request, fed piece by piece until its head has ended."""

    __slots__ = ("_rest", "_size", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._size = 0
        self._rest = b""

    def feed(self, piece: bytes) -> bool:
        """Take a piece; give whether the head is too long."""
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
