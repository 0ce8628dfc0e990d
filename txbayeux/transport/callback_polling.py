"""The ``callback-polling`` connection type: JSON-P, for networks that only pass GET."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from twisted.internet.defer import Deferred

from txbayeux.message import Message, encode_list
from txbayeux.transport.base import Context, NoReply, Receiver
from txbayeux.transport.http import Http
from txbayeux.transport.replies import response_reader

__all__ = ["CallbackPolling"]

_CALLBACK: Final = "__jsonp__"
# Faye writes `/**/name(json);`, CometD `name(json)`.
_SCRIPT: Final = re.compile(
    rb"\s*(?:/\*\*/)?\s*" + _CALLBACK.encode() + rb"\s*\((.*)\)\s*;?\s*\Z", re.DOTALL
)


class CallbackPolling:
    """Source: Bayeux specification, "The callback-polling Transport".

    Failures show as timeouts or invalid responses only.
    """

    connection_type = "callback-polling"
    pipelined = False
    batch_bytes = 1500
    """Faye limits a URL to 2,048 characters; quotes and braces take three each."""

    def __init__(
        self, context: Context, receiver: Receiver, http: Http | None = None
    ) -> None:
        self._context = context
        self._receiver = receiver
        self._http = http or Http(context)

    def send(self, messages: Sequence[Message], timeout: float) -> Deferred[None]:
        """See :meth:`Transport.send <txbayeux.transport.base.Transport.send>`."""
        query = f"message={quote(encode_list(messages), safe='')}&jsonp={_CALLBACK}"
        endpoint = self._context.endpoint.with_query(query)
        requesting = self._http.request("GET", endpoint, {}, None, timeout)
        return requesting.addCallback(
            response_reader(messages, self._receiver, _json_of)
        )

    def attach(self, session_id: str) -> None:
        """Do nothing: each request names its session."""

    def pause(self) -> None:
        """Do nothing: nothing is received but answers to requests."""

    def resume(self) -> None:
        """Do nothing."""

    def close(self) -> Deferred[None]:
        """Abort requests, close idle connections."""
        return self._http.close()


def _json_of(body: bytes) -> bytes:
    """Return the argument of the callback.

    :raises NoReply: if the script does not call it.
    """
    script = _SCRIPT.match(body)
    if script is None:
        raise NoReply("the response does not call the requested callback")
    return script.group(1)
