"""The extension of the server under test: ``--extension refusing:factory``."""

from __future__ import annotations

from typing import Any, Final

from txbayeux.extension import Extension

REFUSED: Final = "403:interop:Refused by the extension"


class Refusing(Extension):
    """Refuses what node/peers/rules.js makes the peers' own servers refuse."""

    def incoming(self, message: dict[str, Any], request: object) -> dict[str, Any]:
        """Set an error on messages that the rules refuse."""
        if _refuses(message):
            message["error"] = REFUSED
        return message


def _refuses(message: dict[str, Any]) -> bool:
    if message["channel"] == "/meta/handshake":
        ext = message.get("ext")
        return isinstance(ext, dict) and ext.get("refuse") is True
    names = message["channel"]
    if names == "/meta/subscribe":
        names = message.get("subscription")
    if not isinstance(names, list):
        names = [names]
    return any(str(name).startswith("/forbidden/") for name in names)


def factory() -> Refusing:
    """Return the extension."""
    return Refusing()
