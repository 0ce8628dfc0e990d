"""Runs every test of the adapter over both ways to read HTTP."""

import itertools
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from twisted.logger import LogEvent, globalLogPublisher
from twisted.web.http import datetimeToString

from .support import HTTP_WAY


@pytest.fixture(autouse=True, params=["twisted.web", "fast"])
def http_way(request: pytest.FixtureRequest) -> Iterator[None]:
    HTTP_WAY.fast = request.param == "fast"
    yield
    HTTP_WAY.fast = False


@pytest.fixture(autouse=True, scope="package")
def dates() -> Iterator[None]:
    """Change the Date with each response, so that no test depends on the wall clock."""
    seconds = itertools.count(int(time.time()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "txbayeux.adapter.response.time",
            SimpleNamespace(time=lambda: next(seconds)),
        )
        patch.setattr(
            "twisted.web.server.datetimeToString",
            lambda: datetimeToString(next(seconds)),
        )
        yield


@pytest.fixture
def log() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)
