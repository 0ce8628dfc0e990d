"""What the project promises: server CPU (or memory) as a ratio to a peer's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Target:
    """One promise; it holds if it does in each of its scenarios."""

    title: str
    scenarios: Sequence[str]
    most: float
    ours: str = "txbayeux"
    peer: str = "faye-node"
    figure: str = "delivery_us"


_TEN: Final = ("lp-100-10", "lp-1000-10")
_ONE: Final = ("lp-10-1", "lp-100-1", "lp-1000-1")
_IDLE: Final = ("sessions-5000",)
_NESTED: Final = "txbayeux-nested"
_REDIS: Final = "txbayeux-redis"

TARGETS: Final = (
    Target("WebSocket fan-out, 100 and 1,000", ("ws-100", "ws-1000"), 0.20),
    Target("WebSocket fan-out, 10", ("ws-10",), 0.50),
    Target("Two front-ends on Redis, 10", ("ws-10",), 0.5, _REDIS, "faye-redis"),
    Target(
        "Two front-ends on Redis, 100 and 1,000",
        ("ws-100", "ws-1000"),
        0.12,
        _REDIS,
        "faye-redis",
    ),
    Target(
        "WebSocket fan-out beside an extension for /meta",
        ("ws-100", "ws-1000"),
        1.1,
        "txbayeux-extended",
        "txbayeux",
    ),
    Target("100 publishers, one subscriber each", ("ws-pairs",), 1.0),
    Target("Long-polling, 10 in flight, own port", _TEN, 0.35),
    Target("Long-polling, 10 in flight, own port", _TEN, 0.6, peer="cometd-node"),
    Target("Long-polling, one in flight, own port", _ONE, 0.7),
    Target("Long-polling, 10 in flight, nested", _TEN, 0.9, ours=_NESTED),
    Target("Long-polling, one in flight, nested", _ONE, 2.0, ours=_NESTED),
    Target("Set-up of a WebSocket session", _IDLE, 0.5, figure="set_up_us"),
    Target("Memory of an idle session", _IDLE, 0.5, figure="session_kib"),
)
