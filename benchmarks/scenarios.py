"""The scenarios that are measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

WEBSOCKET: Final = "websocket"
POLLING: Final = "long-polling"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One kind of load."""

    name: str
    title: str
    transport: str
    load: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    """Whether it needs a newly started server, to measure memory."""
    quick: bool = False
    """Whether it is part of a quick run."""
    metric: str = "delivery_us"
    """The metric by which servers are compared."""

    def options(self, seconds: float) -> dict[str, Any]:
        """Return the options of the load generator for a measurement of this length."""
        timed = {"seconds": seconds, "warm_up": seconds / 3}
        return {"transport": self.transport, **timed, **self.load}


def _fan_out(subscribers: int, *, quick: bool = False) -> Scenario:
    return Scenario(
        name=f"ws-{subscribers}",
        title=f"WebSocket fan-out to {subscribers:,}",
        transport=WEBSOCKET,
        load={"clients": subscribers},
        quick=quick,
    )


def _polling(subscribers: int, window: int, *, quick: bool = False) -> Scenario:
    return Scenario(
        name=f"lp-{subscribers}-{window}",
        title=f"Long-polling fan-out to {subscribers:,}, {window} in flight",
        transport=POLLING,
        load={"clients": subscribers, "window": window},
        quick=quick,
    )


def _large(transport: str, name: str) -> Scenario:
    title = "WebSocket" if transport == WEBSOCKET else "Long-polling"
    return Scenario(
        name=name,
        title=f"{title} fan-out of 100 KB messages to 10",
        transport=transport,
        load={"clients": 10, "payload": 100_000, "window": 2, "publishers": 2},
    )


def _chat(transport: str, name: str) -> Scenario:
    # As in CometD's published load test.  The subscribers are the publishers.
    title = "WebSocket" if transport == WEBSOCKET else "long-polling"
    return Scenario(
        name=name,
        title=f"CometD's chat over {title}: 1,000 clients, 100 rooms",
        transport=transport,
        load={
            "clients": 1000,
            "channels": 100,
            "subscriptions": 10,
            "self_publish": True,
            "batch": 10,
            "payload": 50,
            "rate": 100,
        },
    )


def idle_sessions(sessions: int, idle: float, *, quick: bool = False) -> Scenario:
    """Return a scenario of sessions that connect and then stay idle."""
    return Scenario(
        name=f"sessions-{sessions}",
        title=f"{sessions:,} WebSocket sessions: setup, memory, idle CPU",
        transport=WEBSOCKET,
        load={
            "clients": sessions,
            "publishers": 0,
            "seconds": 0,
            "idle": idle,
            "keep_open": True,  # the server is stopped afterwards
        },
        fresh=True,
        quick=quick,
        metric="set_up_us",
    )


SCENARIOS: Final = (
    _fan_out(10, quick=True),
    _fan_out(100, quick=True),
    _fan_out(1000, quick=True),
    Scenario(
        name="ws-pairs",
        title="100 publishers, one subscriber each, WebSocket",
        transport=WEBSOCKET,
        load={"clients": 100, "channels": 100, "publishers": 100, "window": 100},
        quick=True,
    ),
    _polling(10, 10),
    _polling(100, 10, quick=True),
    _polling(1000, 10, quick=True),
    _polling(10, 1, quick=True),
    _polling(100, 1, quick=True),
    _polling(1000, 1, quick=True),
    _large(WEBSOCKET, "ws-100kb"),
    _large(POLLING, "lp-100kb"),
    _chat(WEBSOCKET, "chat-ws"),
    _chat(POLLING, "chat-lp"),
    idle_sessions(5000, 8.0, quick=True),
)
