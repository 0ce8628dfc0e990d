"""How a server is set up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from txbayeux.limits import Limits

__all__ = ["CONNECTION_TYPES", "VERSION", "ServerOptions"]

VERSION: Final = "1.0"
"""The version of the Bayeux protocol that is spoken here."""

CONNECTION_TYPES: Final = (
    "websocket",
    "eventsource",
    "long-polling",
    "cross-origin-long-polling",
    "callback-polling",
    "in-process",
)
"""The transports, by the names that Faye's and CometD's clients know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """What the protocol can be told to do.

    :raises ValueError: on construction, for a time that is negative.
    """

    timeout: float = 45.0
    """Longest time to hold a connect, in seconds (Faye's example; CometD: 30)."""

    interval: float = 0.0
    """Time that clients are advised to wait between connects, in seconds."""

    publish_without_session: bool = True
    """Whether anybody may publish without a handshake, as on Faye's server."""

    acknowledge: bool = True
    """Whether to agree to CometD's acknowledgement extension."""

    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.timeout < 0 or self.interval < 0:
            raise ValueError("timeout and interval must not be negative")
