"""The Bayeux client: :class:`Client`, its policies, states and errors."""

from __future__ import annotations

from txbayeux.client.backoff import Retry
from txbayeux.client.client import Client
from txbayeux.client.errors import (
    BufferOverflow,
    Closed,
    OutboxFull,
    PublishTimeout,
    RetriesExhausted,
)
from txbayeux.client.state import IllegalTransition, State
from txbayeux.client.subscription import Subscription

__all__ = [
    "BufferOverflow",
    "Client",
    "Closed",
    "IllegalTransition",
    "OutboxFull",
    "PublishTimeout",
    "RetriesExhausted",
    "Retry",
    "State",
    "Subscription",
]
