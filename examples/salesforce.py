"""All events of a Salesforce organization: python examples/salesforce.py CHANNEL

It takes INSTANCE_URL and ACCESS_TOKEN from the environment, and keeps the last
replay ids in a file.
"""

import os
import shelve
import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txbayeux import Client
from txbayeux.extensions import Replay

API = "58.0"


def token() -> dict[str, str]:
    """Asked before each handshake: a place to refresh the token; may be a coroutine."""
    return {"Authorization": f"Bearer {os.environ['ACCESS_TOKEN']}"}


def events(url: str, channel: str, store, reactor) -> Client:
    """Make a client that prints the events of a channel."""
    client = Client(
        f"{url}/cometd/{API}/",
        reactor=reactor,
        transports=["long-polling"],  # all that Salesforce offers
        headers=token,
        extensions=[Replay(store)],
    )
    client.subscribe(channel, lambda message: print(message["data"]))
    return client


def main(reactor, channel: str) -> Deferred:
    store = shelve.open("replay-ids")  # noqa: SIM115 (closed at the end, below)
    client = events(os.environ["INSTANCE_URL"], channel, store, reactor)
    reactor.addSystemEventTrigger("before", "shutdown", client.disconnect)
    reactor.addSystemEventTrigger("after", "shutdown", store.close)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
