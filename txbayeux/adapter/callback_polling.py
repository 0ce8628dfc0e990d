"""Callback-polling: an answer as a script that calls the page's function."""

from __future__ import annotations

import re
from typing import Final

from txbayeux.message import Malformed

__all__ = ["callback_name", "script"]

_DEFAULT: Final = b"jsonpcallback"  # Faye's
_MAX_LENGTH: Final = 128
# Faye's, which ends in "$" and so, in Python, would let a newline through.
_CALLBACK: Final = re.compile(
    rb"[a-z_$][a-z0-9_$]*(?:\.[a-z_$][a-z0-9_$]*)*\Z", re.IGNORECASE
)


def callback_name(given: list[bytes]) -> bytes:
    """Check the name of the function to call.

    :raises Malformed: if it is more than a dotted name, or there are several.
    """
    if not given:
        return _DEFAULT
    name = given[0]
    if len(given) > 1 or len(name) > _MAX_LENGTH or not _CALLBACK.match(name):
        raise Malformed("The JSON-P callback is not a name")
    return name


def script(callback: bytes, body: bytes) -> bytes:
    """Write the call.

    The comment keeps the answer from beginning with characters that the
    request chose (CVE-2014-4671).  U+2028 and U+2029 are legal in JSON and
    end a line in the JavaScript of older browsers.
    """
    body = body.replace(b"\xe2\x80\xa8", b"\\u2028")
    body = body.replace(b"\xe2\x80\xa9", b"\\u2029")
    return b"/**/" + callback + b"(" + body + b");"
