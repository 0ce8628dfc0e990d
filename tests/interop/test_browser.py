"""Faye's and CometD's JavaScript clients in Chromium."""

import pytest

from .scenarios import Scenarios
from .stage import Cast

OWN = [
    Cast(program="browser", family=family, transport=transport, origin="own")
    for family, transport in [
        ("faye", "websocket"),
        ("faye", "eventsource"),
        ("faye", "long-polling"),
        ("faye", "callback-polling"),
        ("cometd", "websocket"),
        ("cometd", "long-polling"),
        ("cometd", "callback-polling"),
    ]
]
OTHER = [
    Cast(program="browser", family=family, transport=transport, origin="other")
    for family, transport in [
        ("faye", "websocket"),
        ("faye", "cross-origin-long-polling"),
        ("faye", "callback-polling"),
        ("cometd", "websocket"),
        ("cometd", "long-polling"),
        ("cometd", "callback-polling"),
    ]
]


@pytest.mark.parametrize("stage", [*OWN, *OTHER], ids=str, indirect=True)
class TestBrowser(Scenarios):
    pass
