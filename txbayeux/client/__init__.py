"""The Bayeux client: :class:`Client` and what belongs to it."""

from __future__ import annotations

from txbayeux.client.core import Client
from txbayeux.client.errors import Closed, Expired, Full, Overflow
from txbayeux.client.retry import Retry
from txbayeux.client.state import IllegalTransition, State
from txbayeux.client.subscriptions import Subscription

__all__ = [
    "Client",
    "Closed",
    "Expired",
    "Full",
    "IllegalTransition",
    "Overflow",
    "Retry",
    "State",
    "Subscription",
]
