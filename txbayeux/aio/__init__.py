"""The client for programs on asyncio: :class:`Client` and its subscriptions.

Errors, states, options and extensions are those of :mod:`txbayeux.client` and
:mod:`txbayeux.extensions`.
"""

from __future__ import annotations

from txbayeux.aio.client import Client, Subscription

__all__ = ["Client", "Subscription"]
