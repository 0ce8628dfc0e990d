"""Answer CometD's remote calls.

    twistd -n bayeux --port 8000 --extension-path . --extension examples.calls:Calls

In a page with CometD's client:

    cometd.remoteCall("/words", {text: "to be or not"}, answer => {
        console.log(answer.successful, answer.data);  // true {words: 4}
    });
"""

from __future__ import annotations

from txbayeux import Extension
from txbayeux.errors import CallError
from txbayeux.message import Message
from txbayeux.server import Server


class Calls(Extension):
    """Count words."""

    def installed(self, server: Server) -> None:
        """Register the function; called with the server before the first message."""
        server.on_call("/words", self._words)

    async def _words(self, message: Message) -> dict[str, int]:
        """Return the data of the answer, also after waiting for something."""
        data = message["data"]
        text = data.get("text") if isinstance(data, dict) else None
        if not isinstance(text, str):
            raise CallError({"message": "text must be a string"})
        return {"words": len(text.split())}
