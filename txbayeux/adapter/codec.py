"""Text from the network to messages, the same for every door."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote_to_bytes

from txbayeux.channel import DISCONNECT
from txbayeux.limits import Limits
from txbayeux.message import Malformed, decode

__all__ = [
    "TooLarge",
    "form_fields",
    "looks_like_json",
    "read",
    "read_all",
    "says_goodbye",
]

_BRACKETS: Final = (b"[", b"{")
_OTHER_FIELDS: Final = 8  # beside the messages: jsonp, what proxies and scripts add


class TooLarge(ValueError):
    """More bytes or messages than one request may have."""


def read(text: bytes, limits: Limits) -> list[Any]:
    """Read one request's JSON: a message or a list of them.

    :raises Malformed: if it is not.
    :raises TooLarge: past a limit.
    """
    if len(text) > limits.request_bytes:
        raise TooLarge(f"A request has at most {limits.request_bytes} bytes")
    messages = decode(text)
    if len(messages) > limits.batch_messages:
        raise TooLarge(f"A request has at most {limits.batch_messages} messages")
    return messages


def read_all(texts: list[bytes], limits: Limits) -> list[Any]:
    """Read a form's ``message`` fields, each one message or a list, as one request.

    :raises Malformed: if there is none, or one is not JSON.
    :raises TooLarge: past a limit.
    """
    if len(texts) == 1:
        return read(texts[0], limits)
    if not texts:
        raise Malformed("The request has no message")
    messages: list[Any] = []
    for text in texts:
        messages += read(text, limits)
        if len(messages) > limits.batch_messages:
            raise TooLarge(f"A request has at most {limits.batch_messages} messages")
    return messages


def says_goodbye(messages: list[Any]) -> bool:
    """Tell whether a request does nothing but end a session, which can wait."""
    if len(messages) != 1:
        return False
    message = messages[0]
    return isinstance(message, dict) and message.get("channel") == DISCONNECT


def form_fields(text: bytes, name: bytes, limits: Limits) -> list[bytes]:
    """Find the values of one field in an urlencoded form or query.

    They are bytes: whether they are UTF-8 is for their reader to check.

    :raises TooLarge: if the form has more fields than a request messages.
    """
    fields: list[bytes] = []
    pairs = text.split(b"&", limits.batch_messages + _OTHER_FIELDS)
    if len(pairs) > limits.batch_messages + _OTHER_FIELDS:
        raise TooLarge("The form has too many fields")
    for pair in pairs:
        key, _, value = pair.partition(b"=")
        if key == name or (b"%" in key and unquote_to_bytes(key) == name):
            fields.append(unquote_to_bytes(value.replace(b"+", b" ")))
    return fields


def looks_like_json(text: bytes) -> bool:
    """Tell JSON from a form, in which brackets would be escaped."""
    return text.lstrip(b" \t\r\n").startswith(_BRACKETS)
