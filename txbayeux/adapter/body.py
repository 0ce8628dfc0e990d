"""Text from the network to messages, the same for every transport."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes

from txbayeux.channel import DISCONNECT
from txbayeux.limits import Limits
from txbayeux.message import Malformed, decode, has_more_objects

__all__ = [
    "Reader",
    "TooLarge",
    "form_fields",
    "is_disconnect",
    "read",
    "read_all",
    "reader_of",
]

_BRACKETS: Final = (b"[", b"{")
_FORMS: Final = ("", "text/plain", "application/x-www-form-urlencoded")
_OTHER_FIELDS: Final = 8  # beside the messages: jsonp, what proxies and scripts add


class TooLarge(ValueError):
    """More bytes, messages, arrays or objects than one request may have."""


Reader: TypeAlias = Callable[[bytes, Limits], list[Any]]
"""Reads a request's body; raises :class:`Malformed` or :class:`TooLarge`."""


def reader_of(content_type: str | None) -> Reader | None:
    """Return how to read a body of this type; None for a type that is not Bayeux's."""
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind in ("application/json", "text/json") or kind.endswith("+json"):
        return read
    return _read_form if kind in _FORMS else None


def _too_long(limits: Limits) -> TooLarge:
    return TooLarge(f"A request has at most {limits.request_bytes} bytes")


def _check_objects(text: bytes, limits: Limits) -> None:
    limit = limits.request_objects
    if has_more_objects(text, limit):
        raise TooLarge(f"A request has at most {limit} arrays and objects")


def read(text: bytes, limits: Limits) -> list[Any]:
    """Read one request's JSON: a message or a list of them.

    :raises Malformed: if it is not.
    :raises TooLarge: past a limit.
    """
    size = len(text)
    if size > limits.request_bytes:
        raise _too_long(limits)
    # Most are too short to have so many, which take two bytes each.
    if size > 2 * limits.request_objects:
        _check_objects(text, limits)
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
    _check_objects(b"".join(texts), limits)
    messages: list[Any] = []
    for text in texts:
        messages += read(text, limits)
        if len(messages) > limits.batch_messages:
            raise TooLarge(f"A request has at most {limits.batch_messages} messages")
    return messages


def is_disconnect(messages: list[Any]) -> bool:
    """Return whether a request only ends a session, which can wait."""
    if len(messages) != 1:
        return False
    message = messages[0]
    return isinstance(message, dict) and message.get("channel") == DISCONNECT


def form_fields(text: bytes, name: bytes, limits: Limits) -> list[bytes]:
    """Return the values of one field in an urlencoded form or query.

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


def _read_form(text: bytes, limits: Limits) -> list[Any]:
    """Read a form; or JSON, which scripts send under a form's type."""
    # In a form, brackets would be escaped.
    if text.lstrip(b" \t\r\n").startswith(_BRACKETS):
        return read(text, limits)
    if len(text) > limits.request_bytes:
        raise _too_long(limits)
    return read_all(form_fields(text, b"message", limits), limits)
