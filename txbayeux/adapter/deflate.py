"""The WebSocket extension permessage-deflate.  RFC 7692."""

from __future__ import annotations

from typing import Any

from autobahn.websocket.compress import (
    PerMessageDeflate,
    PerMessageDeflateOffer,
    PerMessageDeflateOfferAccept,
)

__all__ = ["negotiate"]


def negotiate(header: str | None) -> tuple[PerMessageDeflate, str] | None:
    """Agree to the first good offer in a client's Sec-WebSocket-Extensions.

    Others are declined (section 7.1).  No memory of earlier messages is kept, if
    the client can do without: that would be 300 KiB a connection.

    :returns: the codec, and the header of the answer; None if there is no such.
    """
    offer = _good_offer(header)
    if offer is None:
        return None
    accept = PerMessageDeflateOfferAccept(
        offer,
        request_no_context_takeover=offer.accept_no_context_takeover,
        no_context_takeover=True,
    )
    codec = PerMessageDeflate.create_from_offer_accept(True, accept)
    return codec, accept.get_extension_string()


def _good_offer(header: str | None) -> Any:
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
                return offer
    return None


def _parse(parameters: dict[str, list[str | bool]]) -> Any:
    try:
        return PerMessageDeflateOffer.parse(parameters)
    except Exception:  # it raises nothing more special
        return None
