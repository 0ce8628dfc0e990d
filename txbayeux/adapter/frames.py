"""WebSocket frames as a server writes them: whole, text, not masked.  RFC 6455, 5.2."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from txbayeux.message import Entry, join

__all__ = ["EMPTY_LIST", "PING", "FrameCache", "entry_frame", "text_frame"]

PING: Final = b"\x89\x00"
"""A ping without payload."""

_medium: Final = struct.Struct("!BBH").pack
_large: Final = struct.Struct("!BBQ").pack


def text_frame(payload: bytes) -> bytes:
    """Make a message of one frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 65536:
        return _medium(0x81, 126, size) + payload
    return _large(0x81, 127, size) + payload


EMPTY_LIST: Final = text_frame(b"[]")
"""The answer to Faye's heart-beat."""


def entry_frame(entry: Entry) -> bytes:
    """Make, once, the frame of the list that holds ``entry`` alone."""
    frame = entry.frame
    if frame is None:
        frame = entry.frame = text_frame(join((entry.json,)))
    return frame


class FrameCache:
    """The frames of several entries, joined for one write.

    In fan-out every subscriber is given the same entries, one after the other:
    the last result is kept.
    """

    __slots__ = ("_entries", "_joined")

    def __init__(self) -> None:
        self._entries: tuple[Entry, ...] = ()
        self._joined = b""

    def joined(self, entries: Sequence[Entry]) -> bytes:
        """Give the frames of ``entries`` as one text."""
        if len(entries) == 1:
            return entry_frame(entries[0])
        key = tuple(entries)
        if key != self._entries:
            self._joined = b"".join([entry_frame(entry) for entry in key])
            self._entries = key
        return self._joined
