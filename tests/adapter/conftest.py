"""Runs every test of the adapter over both ways to read HTTP."""

from collections.abc import Iterator

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from .support import HTTP_WAY


@pytest.fixture(autouse=True, params=["twisted.web", "fast"])
def http_way(request: pytest.FixtureRequest) -> Iterator[None]:
    HTTP_WAY.fast = request.param == "fast"
    yield
    HTTP_WAY.fast = False


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)
