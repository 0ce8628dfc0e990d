"""A test with pytest-asyncio: pytest examples/aio_test.py

The chat must be running; BAYEUX_URL is the URL of another server.
"""

import os

import pytest
import pytest_asyncio

from txbayeux.aio import Client

URL = os.environ.get("BAYEUX_URL", "http://localhost:8000/bayeux")


@pytest_asyncio.fixture
async def client():
    async with Client(URL) as client:
        yield client


@pytest.mark.asyncio
async def test_what_is_said_arrives(client):
    async with client.subscribe("/chat") as messages:
        await client.publish("/chat", "hello")
        assert (await anext(messages))["data"] == "hello"


@pytest.mark.asyncio
async def test_the_next_test_has_another_event_loop(client):
    assert (await client.publish("/chat", "bye"))["successful"]
