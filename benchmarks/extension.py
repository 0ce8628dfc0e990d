"""An extension with hooks for meta messages only, as most extensions have."""

from typing import Any

import txbayeux


class Extension(txbayeux.Extension):
    channels = ("/meta/**",)

    def incoming(self, message: dict[str, Any], request: Any) -> dict[str, Any]:
        return message

    def outgoing(self, message: dict[str, Any], request: Any) -> dict[str, Any]:
        return message
