"""Answer each client alone.

    twistd -n bayeux --port 8000 --extension-path . --extension examples.echo:Echo

Messages on channels below /service are for the server only.  The answer is delivered
to the client that sent the message, on the same channel.
"""

from __future__ import annotations

from txbayeux import Extension
from txbayeux.message import Message
from txbayeux.server import Server


class Echo(Extension):
    """Send each message back."""

    def installed(self, server: Server) -> None:
        """Subscribe; called with the server before the first message."""
        self._client = server.client()
        self._client.subscribe("/service/echo", self._answer)

    def _answer(self, message: Message) -> None:
        session_id = message.get("clientId")
        if isinstance(session_id, str):
            answer = self._client.deliver(session_id, "/service/echo", message["data"])
            # Fails if the session has ended meanwhile.
            answer.addErrback(lambda failure: None)
