"""Failures of Twisted and OpenSSL, translated to :class:`TransportError`."""

from __future__ import annotations

from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    DNSLookupError,
)
from twisted.python.failure import Failure

from txbayeux.transport.base import NoReply, TransportError, Unreachable

__all__ = ["to_transport_error"]

_TLS_MODULES = ("OpenSSL", "service_identity")


def to_transport_error(failure: Failure) -> TransportError:
    """Return the failure as a transport error, with the reason in its text."""
    error = failure.value
    if isinstance(error, TransportError):
        return error
    if isinstance(error, ConnectingCancelledError):
        return Unreachable("no connection in time")
    if isinstance(error, ConnectError | DNSLookupError):
        return Unreachable(f"no connection: {error}")
    # ResponseNeverReceived and similar failures hold a list of the actual reasons.
    reasons = getattr(error, "reasons", None)
    values = [reason.value for reason in reasons] if reasons else [error]
    text = "; ".join(f"{type(value).__name__}: {value}" for value in values)
    if any(type(value).__module__.startswith(_TLS_MODULES) for value in values):
        return Unreachable(f"TLS failed: {text}")
    return NoReply(f"the connection failed: {text}")
