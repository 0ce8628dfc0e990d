"""Faye's and CometD's JavaScript clients in Node."""

import pytest

from .scenarios import Scenarios
from .stage import Cast


@pytest.mark.parametrize(
    "stage",
    [
        Cast(program="node", family="faye", transport="websocket"),
        Cast(program="node", family="faye", transport="long-polling"),
        Cast(program="node", family="cometd", transport="websocket"),
        Cast(program="node", family="cometd", transport="long-polling"),
    ],
    ids=str,
    indirect=True,
)
class TestNode(Scenarios):
    pass
