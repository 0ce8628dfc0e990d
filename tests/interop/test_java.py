"""CometD's Java client."""

import pytest

from .environment import ClientKind
from .scenarios import Scenarios


@pytest.mark.parametrize(
    "environment",
    [
        ClientKind(program="java", family="cometd", transport="websocket"),
        ClientKind(program="java", family="cometd", transport="long-polling"),
    ],
    ids=str,
    indirect=True,
)
class TestJava(Scenarios):
    pass
