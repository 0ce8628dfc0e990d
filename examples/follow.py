"""Print what is said in the chat: python examples/follow.py"""

import sys

from twisted.internet.task import react

from txbayeux import BayeuxError, Client


async def main(reactor, url="http://localhost:8000/bayeux", channel="/chat"):
    client = Client(url, reactor=reactor)
    reactor.addSystemEventTrigger("before", "shutdown", client.disconnect)
    try:
        async for message in client.subscribe(channel):
            print(message["data"])
    except BayeuxError as error:
        sys.exit(f"refused: {error}")


if __name__ == "__main__":
    react(main, sys.argv[1:])
