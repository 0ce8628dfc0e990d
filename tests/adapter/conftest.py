"""Every test of the adapter runs through both of its doors."""

from collections.abc import Iterator

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from .support import DOOR


@pytest.fixture(autouse=True, params=["twisted.web", "front"])
def door(request: pytest.FixtureRequest) -> Iterator[None]:
    DOOR.fast = request.param == "front"
    yield
    DOOR.fast = False


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)
