"""The Bayeux client: :class:`Client` and what belongs to it."""

from __future__ import annotations

from txbayeux.client.client import Client
from txbayeux.client.errors import BufferOverflow, Closed, OutboxFull, PublishTimeout
from txbayeux.client.retry import Retry
from txbayeux.client.state import IllegalTransition, State
from txbayeux.client.subscription import Subscription

__all__ = [
    "BufferOverflow",
    "Client",
    "Closed",
    "IllegalTransition",
    "OutboxFull",
    "PublishTimeout",
    "Retry",
    "State",
    "Subscription",
]
