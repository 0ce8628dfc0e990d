"""Print what is said in the chat: python examples/follow.py"""

import sys

from twisted.internet.task import react

from txbayeux import BayeuxError, Client
from txbayeux.client import State
from txbayeux.signals import StopOnce


async def main(reactor, url="http://localhost:8000/bayeux", channel="/chat"):
    def failed(error: Exception) -> None:
        if client.state in (State.WAITING, State.BROKEN):
            print(f"trying again: {error}", file=sys.stderr)

    StopOnce(reactor)  # ignore a second Ctrl-C
    client = Client(url, reactor=reactor)
    client.on_failure(failed)
    reactor.addSystemEventTrigger("before", "shutdown", client.disconnect)
    try:
        async for message in client.subscribe(channel):
            print(message["data"])
    except BayeuxError as error:
        sys.exit(f"refused: {error}")


if __name__ == "__main__":
    react(main, sys.argv[1:])
