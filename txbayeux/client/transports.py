"""The transports that are shipped, by the name of their connection type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from txbayeux.transport.base import Context, Factory, Receiver, Transport
from txbayeux.transport.callback_polling import CallbackPolling
from txbayeux.transport.eventsource import EventSource
from txbayeux.transport.long_polling import LongPolling

__all__ = ["DEFAULT", "factories"]

DEFAULT: Final = ("websocket", "eventsource", "long-polling", "callback-polling")
"""All of them, best first: Faye's order."""


def _websocket(context: Context, receiver: Receiver) -> Transport:
    # Late: Autobahn is large, and not everybody's sockets are open.
    from txbayeux.transport.websocket import WebSocket  # noqa: PLC0415

    return WebSocket(context, receiver)


_SHIPPED: Final[Mapping[str, Factory]] = {
    "websocket": _websocket,
    "eventsource": EventSource,
    "long-polling": LongPolling,
    "callback-polling": CallbackPolling,
}


def factories(wanted: Sequence[str] | Mapping[str, Factory]) -> Mapping[str, Factory]:
    """Give the factories to use, in order of preference.

    :raises ValueError: if there is none, or a name is not known.
    """
    if not wanted or isinstance(wanted, str):
        raise ValueError("transports must be a sequence of connection types")
    if isinstance(wanted, Mapping):
        return dict(wanted)
    for name in wanted:
        if name not in _SHIPPED:
            raise ValueError(f"no such connection type: {name!r}")
    return {name: _SHIPPED[name] for name in wanted}
