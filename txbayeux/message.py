"""Messages and their JSON.

Source: Bayeux specification, "Messages".  A message is a plain ``dict``.
Decoding is strict: what it accepts, every JSON parser that follows the
standard accepts, and our own encoder can write.
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
    "decode",
    "encode",
    "encode_list",
    "join",
]

Message: TypeAlias = dict[str, Any]
"""One Bayeux message."""

MAX_DEPTH: Final = 100
"""Deepest nesting of arrays and objects, the list of messages included or implied."""


def _float(text: str) -> float:
    # msgspec's own takes 10 µs where digits and exponent are many: 0.5 s for 1 MiB.
    value = float(text)
    if isinf(value):
        raise msgspec.DecodeError("Number out of range")
    return value


_decoder: Final = msgspec.json.Decoder(float_hook=_float)
_encoder: Final = msgspec.json.Encoder()


class Malformed(ValueError):
    """Not JSON, not UTF-8, nested too deeply, or neither object nor list."""


class Entry:
    """A published message as its subscribers get it: encoded once, shared by all.

    ``position`` is its place in the engine's log (an integer below 2**53, so
    that it survives JavaScript), ``json`` the message's bytes.  ``frame``
    is room for an adapter to keep what it made of ``json``.
    """

    __slots__ = ("channel", "frame", "json", "position")

    def __init__(self, position: int, channel: str, json: bytes) -> None:
        self.position = position
        self.channel = channel
        self.json = json
        self.frame: bytes | None = None

    def message(self) -> Message:
        """Decode a copy of its own for a caller that wants to look or change."""
        message: Message = _decoder.decode(self.json)
        return message

    def __repr__(self) -> str:
        return f"<Entry {self.position} {self.channel}>"


def decode(text: bytes | str) -> list[Any]:
    """Read one message or a list of them; always gives a list.

    The items may be anything: the server answers for each that is no message.

    :raises Malformed: with a sentence for the client that sent it.
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
    if len(text) > MAX_DEPTH and _might_be_deep(text) and _depth_exceeds(items):
        raise Malformed("JSON is nested too deeply")
    return items


def _might_be_deep(text: bytes | str) -> bool:
    # Fewer brackets than levels cannot nest that deep: two C loops instead of a walk.
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{") >= MAX_DEPTH
    return text.count("[") + text.count("{") >= MAX_DEPTH


def _depth_exceeds(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return False
        level = [item for item in inner if isinstance(item, (dict, list))]
    return bool(level)


def encode(message: Message) -> bytes:
    """Write one message.

    :raises TypeError: if it holds something that JSON has no form for.
    """
    return _encoder.encode(message)


def encode_list(items: Sequence[Message | Entry]) -> bytes:
    """Write a list of messages, using the bytes of those that have them."""
    return join(
        [item.json if isinstance(item, Entry) else encode(item) for item in items]
    )


def join(texts: Sequence[bytes]) -> bytes:
    """Make one JSON list of ready JSON texts."""
    return b"[" + b",".join(texts) + b"]"
