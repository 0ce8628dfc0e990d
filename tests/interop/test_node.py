"""Faye's and CometD's JavaScript clients in Node."""

import pytest

from .environment import ClientKind
from .scenarios import Scenarios


@pytest.mark.parametrize(
    "environment",
    [
        ClientKind(program="node", family="faye", transport="websocket"),
        ClientKind(program="node", family="faye", transport="long-polling"),
        ClientKind(program="node", family="cometd", transport="websocket"),
        ClientKind(program="node", family="cometd", transport="long-polling"),
    ],
    ids=str,
    indirect=True,
)
class TestNode(Scenarios):
    pass
