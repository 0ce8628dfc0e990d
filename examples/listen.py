"""Answer questions: python examples/listen.py http://localhost:8000/bayeux

Then: txbayeux publish http://localhost:8000/bayeux /questions '"how are you?"'
"""

import sys

from twisted.internet.task import react

from txbayeux import BayeuxError, Client
from txbayeux.client import State
from txbayeux.signals import StopOnce


async def answer(client: Client) -> None:
    """Publish an answer to each question until the client is disconnected."""
    async for message in client.subscribe("/questions"):
        print(message["data"])
        await client.publish("/answers", {"to": message["data"], "answer": "fine"})


async def main(reactor, url="http://localhost:8000/bayeux"):
    def failed(error: Exception) -> None:
        if client.state in (State.WAITING, State.BROKEN):
            print(f"trying again: {error}", file=sys.stderr)

    StopOnce(reactor)  # ignore a second Ctrl-C
    client = Client(url, reactor=reactor)
    client.on_up(lambda: print("connected"))
    client.on_down(lambda: print("disconnected"))
    client.on_failure(failed)
    reactor.addSystemEventTrigger("before", "shutdown", client.disconnect)
    try:
        await answer(client)
    except BayeuxError as error:
        sys.exit(f"refused: {error}")


if __name__ == "__main__":
    react(main, sys.argv[1:])
