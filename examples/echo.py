"""Answer each client alone: twistd -n bayeux --port 8000 --extension examples.echo:Echo

What a client publishes to /service/echo reaches this process only, and the answer
reaches that client only: its listener on /service/echo gets it.
"""

from __future__ import annotations

from txbayeux import Extension
from txbayeux.message import Message
from txbayeux.server import Server


class Echo(Extension):
    """Sends back what it is sent."""

    def installed(self, server: Server) -> None:
        """Listen, once the server is there."""
        self._client = server.client()
        self._client.subscribe("/service/echo", self._answer)

    def _answer(self, message: Message) -> None:
        session_id = message.get("clientId")
        if isinstance(session_id, str):
            answer = self._client.deliver(session_id, "/service/echo", message["data"])
            # The session may have ended meanwhile: then there is nobody to answer.
            answer.addErrback(lambda failure: None)
