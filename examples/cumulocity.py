"""Print Cumulocity's notifications: python examples/cumulocity.py '/alarms/*'

C8Y_URL, C8Y_USER (with the tenant: t123/alice) and C8Y_PASSWORD are environment
variables.
"""

import base64
import os
import sys

from twisted.internet.task import react

from txbayeux import BayeuxError, Client
from txbayeux.client import State
from txbayeux.signals import StopOnce

VARIABLES = ("C8Y_URL", "C8Y_USER", "C8Y_PASSWORD")


def ext() -> dict[str, object]:
    """Called before each handshake: with OAuth, return the current access token."""
    user = f"{os.environ['C8Y_USER']}:{os.environ['C8Y_PASSWORD']}"
    token = base64.b64encode(user.encode()).decode()
    return {"com.cumulocity.authn": {"token": token}}


async def main(reactor, channel):
    def failed(error: Exception) -> None:
        if client.state in (State.WAITING, State.BROKEN):
            print(f"trying again: {error}", file=sys.stderr)

    if missing := [name for name in VARIABLES if name not in os.environ]:
        sys.exit(f"set {' and '.join(missing)} in the environment")
    StopOnce(reactor)  # ignore a second Ctrl-C
    client = Client(
        f"{os.environ['C8Y_URL']}/notification/realtime",
        reactor=reactor,
        transports=["websocket"],  # others do not take the token in ext
        ext=ext,
    )
    client.on_failure(failed)
    reactor.addSystemEventTrigger("before", "shutdown", client.disconnect)
    try:
        async for message in client.subscribe(channel):
            print(message["channel"], message["data"])
    except BayeuxError as error:
        sys.exit(f"Cumulocity refused: {error}")


if __name__ == "__main__":
    react(main, sys.argv[1:])
