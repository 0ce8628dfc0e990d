"""Every test of the adapter runs through both of its doors."""

from collections.abc import Iterator

import pytest

from .support import DOOR


@pytest.fixture(autouse=True, params=["twisted.web", "front"])
def door(request: pytest.FixtureRequest) -> Iterator[None]:
    DOOR.fast = request.param == "front"
    yield
    DOOR.fast = False
