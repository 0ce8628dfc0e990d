"""Messages and their JSON.

Source: Bayeux specification, "Messages".  A message is a plain ``dict``.
Decoding is strict: what it accepts, every JSON parser that follows the
standard accepts, and the encoder can write.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf
from typing import Any, Final, TypeAlias

import msgspec

__all__ = [
    "MAX_DEPTH",
    "Entry",
    "Malformed",
    "Message",
    "asks_for_immediate_reply",
    "decode",
    "encode",
    "encode_list",
    "has_more_objects",
]

Message: TypeAlias = dict[str, Any]
"""One Bayeux message."""


def asks_for_immediate_reply(connect: Message) -> bool:
    """Return whether a client's connect must not be held: CometD's ``timeout: 0``."""
    advice = connect.get("advice")
    return isinstance(advice, dict) and advice.get("timeout") == 0


MAX_DEPTH: Final = 100
"""Deepest nesting of arrays and objects, counting the list of messages."""

_TO_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def _float(text: str) -> float:
    # msgspec's own takes 10 µs for many digits with an exponent: 0.5 s for 1 MiB.
    value = float(text)
    if isinf(value):
        raise msgspec.DecodeError("Number out of range")
    return value


_decoder: Final = msgspec.json.Decoder(float_hook=_float)
_encoder: Final = msgspec.json.Encoder()


class Malformed(ValueError):
    """Not JSON, not UTF-8, nested too deeply, or neither object nor list."""


class Entry:
    """A published message, encoded once for all its subscribers.

    ``position`` is its place in the engine's log (an integer below 2**53, so
    that JavaScript represents it exactly), ``json`` the encoded message.  ``frame``
    is a cache for adapters: the WebSocket frame of ``json`` if that is small.
    ``queues`` is the number of queues that it is counted in, for
    :class:`~txbayeux.engine.backlog.Backlog`.
    """

    __slots__ = ("channel", "frame", "json", "position", "queues")

    def __init__(self, position: int, channel: str, json: bytes) -> None:
        self.position = position
        self.channel = channel
        self.json = json
        self.frame: bytes | None = None
        self.queues = 0

    def message(self) -> Message:
        """Return the decoded message, a new copy at each call."""
        message: Message = _decoder.decode(self.json)
        return message

    def __repr__(self) -> str:
        return f"<Entry {self.position} {self.channel}>"


def decode(text: bytes | str) -> list[Any]:
    """Decode one message or a list of them; return a list.

    The items may be any JSON values: the server refuses those that are not messages.

    :raises Malformed: with a text for the client.
    """
    try:
        value = _decoder.decode(text)
    except RecursionError:
        raise Malformed("JSON is nested too deeply") from None
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise Malformed("JSON is not valid UTF-8") from None
    except msgspec.MsgspecError as error:
        raise Malformed(str(error)) from None
    if isinstance(value, dict):
        items: list[Any] = [value]
    elif isinstance(value, list):
        items = value
    else:
        raise Malformed("a request is a JSON object or a list of them")
    # Each level takes two brackets.
    if len(text) > 2 * MAX_DEPTH and _opening(text) >= MAX_DEPTH:
        levels = MAX_DEPTH - 1 if isinstance(value, dict) else MAX_DEPTH
        if _depth_exceeds(levels, text.encode() if isinstance(text, str) else text):
            raise Malformed("JSON is nested too deeply")
    return items


def has_more_objects(text: bytes, limit: int) -> bool:
    """Return whether there are more arrays and objects in JSON than ``limit``."""
    return _opening(text) > limit and _opening(_without_strings(text)) > limit


def _opening(text: bytes | str) -> int:
    """Count the brackets that open, also those in strings: two loops in C."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _without_strings(text: bytes) -> bytes:
    # Without what is escaped, every other quote ends a string.
    unescaped = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(unescaped.split(b'"')[::2])


def _depth_exceeds(levels: int, text: bytes) -> bool:
    # All in C: to walk what was decoded takes up to 0.4 s for 1 MiB.
    brackets = _without_strings(text).translate(_TO_SQUARE, _NO_BRACKETS)
    for _ in range(levels):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # the innermost ones
    return bool(brackets)


def encode(message: Message) -> bytes:
    """Encode one message.

    :raises TypeError: if JSON cannot represent something in it.
    """
    return _encoder.encode(message)


def encode_list(items: Sequence[Message | Entry]) -> bytes:
    """Encode a list of messages; entries are encoded already."""
    if len(items) == 1 and isinstance(items[0], dict):
        return _encoder.encode(items)  # the usual case: 0.1 µs instead of 0.3
    texts = [
        item.json if isinstance(item, Entry) else _encoder.encode(item)
        for item in items
    ]
    return b"[" + b",".join(texts) + b"]"
