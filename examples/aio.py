"""Print what is said in the chat, on asyncio: python examples/aio.py"""

import asyncio
import contextlib
import sys

from txbayeux import BayeuxError
from txbayeux.aio import Client


async def main(url="http://localhost:8000/bayeux", channel="/chat"):
    async with Client(url) as client, client.subscribe(channel) as messages:
        await client.publish(channel, "Good morning!", deadline=10)
        async for message in messages:
            print(message["data"])


if __name__ == "__main__":
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(main(*sys.argv[1:]))
    except BayeuxError as error:
        sys.exit(f"refused: {error}")
