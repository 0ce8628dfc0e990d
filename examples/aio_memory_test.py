"""Test an asyncio program on a server in memory: pytest examples/aio_memory_test.py"""

from __future__ import annotations

import asyncio

import pytest

from txbayeux import BayeuxError
from txbayeux.aio import Client
from txbayeux.testing import MemoryServer


async def order(client: Client, name: str) -> float:
    """Order something, and return the next price: the program under test."""
    async with client.subscribe(f"/prices/{name}") as prices:
        await client.publish("/orders", {"name": name})
        message = await anext(prices)
        return float(message["data"])


def test_an_order_is_followed_by_a_price() -> None:
    async def scenario() -> None:
        server = MemoryServer.for_asyncio()
        server.bayeux.subscribe("/orders", lambda _: server.publish("/prices/tea", 3))
        async with Client(server.url, transports=server.transports) as client:
            assert await order(client, "tea") == 3
        assert [m["data"] for m in server.received("/orders")] == [{"name": "tea"}]

    asyncio.run(scenario())


def test_a_refused_order() -> None:
    async def scenario() -> None:
        server = MemoryServer.for_asyncio()
        server.refuse("/orders", "403::Closed")
        async with Client(server.url, transports=server.transports) as client:
            with pytest.raises(BayeuxError, match="403::Closed"):
                await order(client, "tea")

    asyncio.run(scenario())
