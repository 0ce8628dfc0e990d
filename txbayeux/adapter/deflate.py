"""The WebSocket extension permessage-deflate.  RFC 7692."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from autobahn.websocket.compress import (
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)

__all__ = ["accept", "good_offer"]


def good_offer(header: str | None) -> str | None:
    """Find the first good offer in a client's Sec-WebSocket-Extensions.

    Others are to be declined (section 7.1); Autobahn would refuse the upgrade.
    """
    for text in (header or "").split(","):
        name, *given = [part.strip() for part in text.lower().split(";")]
        parameters: dict[str, list[str | bool]] = {}
        for parameter in given:
            key, equals, value = parameter.partition("=")
            parameters.setdefault(key.strip(), []).append(
                value.strip().strip('"') if equals else True
            )
        if name == PerMessageDeflateOffer.EXTENSION_NAME:
            offer = _parse(parameters)
            if offer is not None:
                return cast(str, offer.get_extension_string())
    return None


def _parse(parameters: dict[str, list[str | bool]]) -> Any:
    try:
        return PerMessageDeflateOffer.parse(parameters)
    except Exception:  # it raises nothing more special
        return None


def accept(offers: Sequence[PerMessageDeflateOffer]) -> PerMessageDeflateOfferAccept:
    """Agree, without memory of earlier messages: that is 256 KiB a connection."""
    return PerMessageDeflateOfferAccept(
        offers[0],
        request_no_context_takeover=offers[0].accept_no_context_takeover,
        no_context_takeover=True,
    )
