"""CometD's Java client."""

import pytest

from .scenarios import Scenarios
from .stage import Cast


@pytest.mark.parametrize(
    "stage",
    [
        Cast(program="java", family="cometd", transport="websocket"),
        Cast(program="java", family="cometd", transport="long-polling"),
    ],
    ids=str,
    indirect=True,
)
class TestJava(Scenarios):
    pass
