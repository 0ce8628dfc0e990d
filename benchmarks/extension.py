"""An extension that looks at the protocol's own messages, as most do."""

from typing import Any

import txbayeux


class Extension(txbayeux.Extension):
    channels = ("/meta/**",)

    def incoming(self, message: dict[str, Any], request: Any) -> dict[str, Any]:
        return message

    def outgoing(self, message: dict[str, Any], request: Any) -> dict[str, Any]:
        return message
