"""Chat from a program that uses threads: python examples/threads.py

It prints what is said, and says each line of its input.
"""

import asyncio
import sys
import threading

from txbayeux import BayeuxError
from txbayeux.aio import Client


class ThreadedClient:
    """A client whose methods may be called in any thread, and block it."""

    def __init__(self, url):
        self._client = Client(url)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._listening = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        try:
            self._call(self._close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def publish(self, channel, data, *, deadline=10):
        """Publish; return the server's reply."""
        return self._call(self._client.publish(channel, data, deadline=deadline))

    def subscribe(self, channel, listener):
        """Call ``listener(message)`` with one message after the other, in a thread."""
        self._call(self._subscribe(channel, listener))

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _subscribe(self, channel, listener):
        messages = self._client.subscribe(channel)
        await messages.ready()
        self._listening.append(asyncio.create_task(self._listen(messages, listener)))

    async def _listen(self, messages, listener):
        async with messages:  # which cancels it when the listener fails
            async for message in messages:
                await asyncio.to_thread(listener, message)

    async def _close(self):
        await self._client.disconnect()  # which ends the iterations
        await asyncio.gather(*self._listening)


def main(url="http://localhost:8000/bayeux", channel="/chat"):
    with ThreadedClient(url) as client:
        client.subscribe(channel, lambda message: print(message["data"]))
        for line in sys.stdin:
            client.publish(channel, line.rstrip("\n"))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except BayeuxError as error:
        sys.exit(f"refused: {error}")
