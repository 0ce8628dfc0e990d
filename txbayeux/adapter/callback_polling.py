"""Callback-polling (JSON-P): messages by GET, a script for an answer.

The script calls a function of the page.  Bayeux 1.0, section 6.2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Final

from txbayeux.adapter.body import form_fields, read_all
from txbayeux.adapter.request import HTTPRequest, RequestInfo
from txbayeux.adapter.response import (
    NO_STORE,
    Header,
    PendingResponse,
    Refused,
    ResponseHead,
    ResponseWriter,
)
from txbayeux.limits import Limits
from txbayeux.message import Malformed
from txbayeux.peer_limits import PeerRegistry
from txbayeux.processor import Processor

__all__ = ["MAX_CALLBACK", "serve"]

MAX_CALLBACK: Final = 128
"""Longest name of a callback, in bytes."""

_DEFAULT: Final = b"jsonpcallback"  # Faye's
# Faye's, which ends in "$" and so, in Python, would let a newline through.
_CALLBACK: Final = re.compile(
    rb"[a-z_$][a-z0-9_$]*(?:\.[a-z_$][a-z0-9_$]*)*\Z", re.IGNORECASE
)
_SCRIPT: Final = (
    (b"Content-Type", b"text/javascript; charset=utf-8"),
    (b"Content-Disposition", b"attachment; filename=f.txt"),
)


def serve(
    request: HTTPRequest,
    writer: ResponseWriter,
    processor: Processor,
    *,
    limits: Limits,
    headers: Sequence[Header],
    peers: PeerRegistry,
) -> None:
    """Process the messages in a URL, and respond with a script.

    :param headers: fields of the response that allow the client's page to read it.
    :param peers: counts the messages.
    :raises Malformed, TooLarge: see :mod:`txbayeux.adapter.body`.
    :raises Refused: with 400 without messages, 403 for a link that is followed.
    """
    callback = _callback_name(form_fields(request.query, b"jsonp", limits))
    fields = form_fields(request.query, b"message", limits)
    if not fields:
        raise Refused(
            400,
            "This is a Bayeux service: it is spoken to by a client such as"
            " Faye's or CometD's, not by a browser's address bar",
        )
    # A link in an e-mail, for example: no page, and hence no origin, can be checked.
    if request.headers.get("sec-fetch-dest") not in (None, "script", "empty"):
        raise Refused(403, "Messages come by GET from scripts only")
    messages = read_all(fields, limits)
    head = ResponseHead(200, (*_SCRIPT, *NO_STORE, *headers))
    response = PendingResponse(writer, head, partial(_script, callback))
    info = RequestInfo("callback-polling", request)
    peers.charge_batch(peers.key(info.peer), len(messages))
    response.begin(processor.process(messages, info))


def _callback_name(given: list[bytes]) -> bytes:
    """Check the name of the function to call.

    :raises Malformed: if it is more than a dotted name, or there are several.
    """
    if not given:
        return _DEFAULT
    name = given[0]
    if len(given) > 1 or len(name) > MAX_CALLBACK or not _CALLBACK.match(name):
        raise Malformed("The JSON-P callback is not a name")
    return name


def _script(callback: bytes, body: bytes) -> bytes:
    """Write the call of the page's function.

    The comment keeps the response from beginning with characters that the
    request chose (CVE-2014-4671).  U+2028 and U+2029 are legal in JSON and
    end a line in the JavaScript of older browsers.
    """
    body = body.replace(b"\xe2\x80\xa8", b"\\u2028")
    body = body.replace(b"\xe2\x80\xa9", b"\\u2029")
    return b"/**/" + callback + b"(" + body + b");"
