"""An extension that looks at the protocol's own messages, as most do."""

from typing import Any


class Extension:
    channels = ("/meta/**",)

    def incoming(self, message: dict[str, Any], request: Any) -> dict[str, Any]:
        return message

    def outgoing(self, message: dict[str, Any], request: Any) -> dict[str, Any]:
        return message
