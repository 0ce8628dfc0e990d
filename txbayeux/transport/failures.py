"""What went wrong below: other people's failures as a :class:`TransportError`."""

from __future__ import annotations

from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
)
from twisted.python.failure import Failure

from txbayeux.transport.base import NoReply, TransportError, Unreachable

__all__ = ["explained"]

_TLS_MODULES = ("OpenSSL", "service_identity")


def explained(failure: Failure) -> TransportError:
    """Give the failure as it is meant for the client, with the reason in its text."""
    error = failure.value
    if isinstance(error, TransportError):
        return error
    if isinstance(error, ConnectingCancelledError):
        return Unreachable("no connection in time")
    if isinstance(error, ConnectError | DNSLookupError):
        return Unreachable(f"no connection: {error}")
    # ResponseNeverReceived and its like hold a list of the real reasons.
    reasons = getattr(error, "reasons", None)
    values = [reason.value for reason in reasons] if reasons else [error]
    text = "; ".join(f"{type(value).__name__}: {value}" for value in values)
    if any(type(value).__module__.startswith(_TLS_MODULES) for value in values):
        return Unreachable(f"TLS failed: {text}")
    return NoReply(f"the connection failed: {text}")
