"""The options of a server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from txbayeux.channel import GRAMMARS

__all__ = ["CONNECTION_TYPES", "VERSION", "ServerOptions"]

VERSION: Final = "1.0"
"""The version of the Bayeux protocol that the server implements."""

CONNECTION_TYPES: Final = (
    "websocket",
    "eventsource",
    "long-polling",
    "cross-origin-long-polling",
    "callback-polling",
    "in-process",
)
"""The connection types, by the names that Faye's and CometD's clients use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The options of the protocol.

    Limits are no part of it: the engine and the adapter enforce them, and take a
    :class:`~txbayeux.Limits` each.

    :raises ValueError: on construction, for a negative time or unknown channel names.
    """

    timeout: float = 45.0
    """Longest time to hold a connect, in seconds (Faye's example; CometD: 30)."""

    interval: float = 0.0
    """Time that clients are advised to wait between connects, in seconds."""

    publish_without_session: bool = True
    """Whether clients may publish without a handshake, as on Faye's server."""

    acknowledge: bool = True
    """Whether to agree to CometD's message acknowledgement extension."""

    channel_names: str = "bayeux"
    """Which names channels may have: ``bayeux``, those of the specification, or
    ``cometd``, those that CometD's server takes: :data:`txbayeux.channel.COMETD`.
    """

    def __post_init__(self) -> None:
        if self.channel_names not in GRAMMARS:
            raise ValueError(f"channel_names must be one of {', '.join(GRAMMARS)}")
        if self.timeout < 0 or self.interval < 0:
            raise ValueError("timeout and interval must not be negative")
