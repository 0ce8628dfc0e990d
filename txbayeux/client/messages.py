"""Every message that the client sends, with the fields the specification asks for.

The tables cite the Bayeux specification.  What is missing here is added later:
``clientId`` and ``data`` of what waits in the outbox by ``Envelope.begin_attempt``,
the ``id`` of each message by ``Dispatcher._transmit``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from txbayeux import channel as channels
from txbayeux.message import Message, encode

__all__ = [
    "VERSION",
    "connect",
    "disconnect",
    "handshake",
    "publish",
    "subscribe",
    "unsubscribe",
]

VERSION: Final = "1.0"


def handshake(types: Sequence[str], ext: Mapping[str, Any], *, hold: float) -> Message:
    """Return a handshake that offers the connection types ``types``.

    :param hold: seconds for which the server may hold connects.

    ====================================  =====================================
    MUST contain                          channel, version, supportedConnectionTypes
    MAY contain                           minimumVersion, ext, id, advice (timeout)
    ====================================  =====================================

    Source: "Handshake Request"; ``advice`` is CometD's.
    """
    message: Message = {
        "channel": channels.HANDSHAKE,
        "version": VERSION,
        "minimumVersion": VERSION,
        "supportedConnectionTypes": list(types),
        "advice": {"timeout": _milliseconds(hold)},
    }
    if ext:
        message["ext"] = dict(ext)
    return message


def connect(session_id: str, connection_type: str, *, hold: float) -> Message:
    """Return a connect.

    ====================================  =====================================
    MUST contain                          channel, clientId, connectionType
    MAY contain                           ext, id, advice (timeout)
    ====================================  =====================================

    Source: "Connect Request".  ``advice`` is CometD's; Faye's server and ours know it
    too.

    :param hold: seconds for which the server may hold it; 0 for an immediate answer.
    """
    return {
        "channel": channels.CONNECT,
        "clientId": session_id,
        "connectionType": connection_type,
        "advice": {"timeout": _milliseconds(hold)},
    }


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def disconnect(session_id: str) -> Message:
    """Return a disconnect.

    ====================================  =====================================
    MUST contain                          channel, clientId
    MAY contain                           ext, id
    ====================================  =====================================

    Source: "Disconnect Request".
    """
    return {"channel": channels.DISCONNECT, "clientId": session_id}


# The outbox keeps what follows until the server has answered, through any number of
# sessions: it adds the `clientId` of the session in which it sends the message.


def subscribe(subscription: str, ext: Mapping[str, Any] | None = None) -> Message:
    """Return a subscribe to one channel or pattern, without ``clientId``.

    ====================================  =====================================
    MUST contain                          channel, clientId, subscription
    MAY contain                           ext, id
    ====================================  =====================================

    Source: "Subscribe Request".

    :param ext: as for :func:`publish`.
    :raises TypeError, ValueError: if ``ext`` cannot be written as JSON.
    """
    message = {"channel": channels.SUBSCRIBE, "subscription": subscription}
    return message | _copied(ext)


def unsubscribe(subscription: str) -> Message:
    """Return an unsubscribe from one channel or pattern, without ``clientId``.

    ====================================  =====================================
    MUST contain                          channel, clientId, subscription
    MAY contain                           ext, id
    ====================================  =====================================

    Source: "Unsubscribe Request".
    """
    return {"channel": channels.UNSUBSCRIBE, "subscription": subscription}


def publish(channel: str, ext: Mapping[str, Any] | None = None) -> Message:
    """Return a publish, without ``clientId`` and ``data``.

    ====================================  =====================================
    MUST contain                          channel, data
    MAY contain                           clientId, id, ext
    ====================================  =====================================

    Source: "Publish Request".  The :class:`~txbayeux.client.envelope.Envelope` has
    ``data``, as JSON.

    :param ext: copied, so that later changes have no effect.
    :raises TypeError, ValueError: if ``ext`` cannot be written as JSON.
    """
    return {"channel": channel} | _copied(ext)


def _copied(ext: Mapping[str, Any] | None) -> Message:
    """Return the field ``ext``, if there is one, as it is now."""
    return {} if ext is None else {"ext": msgspec.json.decode(encode(dict(ext)))}
