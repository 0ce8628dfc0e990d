"""Print the events of a Salesforce channel: python examples/salesforce.py CHANNEL

INSTANCE_URL and ACCESS_TOKEN are environment variables.  The last replay id of each
channel is kept in replay-ids.json: the next run continues where this one ended.
"""

import os
import sys

from twisted.internet.task import react

from txbayeux import BayeuxError, Client
from txbayeux.client import State
from txbayeux.extensions import Replay, ReplayFile
from txbayeux.signals import StopOnce

API = "58.0"


def token() -> dict[str, str]:
    """Called before each handshake: refresh the token here; may be a coroutine."""
    return {"Authorization": f"Bearer {os.environ['ACCESS_TOKEN']}"}


def reason(error: BayeuxError) -> object:
    """Return the reason that Salesforce gives, which says more than the error."""
    ext = (error.reply or {}).get("ext", {})
    return ext.get("sfdc", {}).get("failureReason", error)


async def print_events(client: Client, channel: str) -> None:
    """Print events until the client is disconnected, or exit if it is refused."""

    def failed(error: Exception) -> None:
        if client.state in (State.WAITING, State.BROKEN):
            print(f"trying again: {error}", file=sys.stderr)

    client.on_failure(failed)
    try:
        async for message in client.subscribe(channel):
            print(message["data"])
    except BayeuxError as error:
        sys.exit(f"Salesforce refused: {reason(error)}")
    finally:
        await client.disconnect()


async def main(reactor, channel):
    if missing := {"INSTANCE_URL", "ACCESS_TOKEN"} - set(os.environ):
        sys.exit(f"set {' and '.join(sorted(missing))} in the environment")
    StopOnce(reactor)  # ignore a second Ctrl-C
    client = Client(
        f"{os.environ['INSTANCE_URL']}/cometd/{API}/",
        reactor=reactor,
        transports=["long-polling"],  # the only one that Salesforce offers
        headers=token,
        extensions=[Replay(ReplayFile("replay-ids.json"))],
    )
    reactor.addSystemEventTrigger("before", "shutdown", client.disconnect)
    await print_events(client, channel)


if __name__ == "__main__":
    react(main, sys.argv[1:])
