"""Listens to a channel and answers: python examples/listen.py http://localhost:8000/bayeux

Then: txbayeux publish http://localhost:8000/bayeux /questions '"how are you?"'
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from txbayeux import Client


async def answer(client: Client) -> None:
    """Publish an answer to each question, for as long as the client is not closed."""
    questions = client.subscribe("/questions")
    await questions.ready  # fails if the server refuses
    async for message in questions:
        print(message["data"])
        await client.publish("/answers", {"to": message["data"], "answer": "fine"})


def main(reactor, url: str) -> Deferred:
    client = Client(url, reactor=reactor)
    client.on_up(lambda: print("connected"))
    client.on_down(lambda: print("not connected; that will pass"))
    reactor.addSystemEventTrigger("before", "shutdown", client.disconnect)
    return Deferred.fromCoroutine(answer(client))


if __name__ == "__main__":
    react(main, sys.argv[1:])
