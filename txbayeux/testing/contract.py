"""The engine contract."""

from __future__ import annotations

from txbayeux.testing.acknowledgement import AcknowledgementContract
from txbayeux.testing.delivery import DeliveryContract
from txbayeux.testing.sessions import SessionContract
from txbayeux.testing.streams import StreamContract
from txbayeux.testing.subscriptions import SubscriptionContract

__all__ = ["EngineContract"]


class EngineContract(
    SessionContract,
    SubscriptionContract,
    DeliveryContract,
    StreamContract,
    AcknowledgementContract,
):
    """The guarantees of :class:`~txbayeux.interfaces.Engine`, as tests.

    See :class:`~txbayeux.testing.harness.EngineHarness` for what to override.
    """
