"""Consumers that take their time, and servers that send more than they can take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from txbayeux.message import Message

from .harness import Harness, Request

__all__ = [
    "AT_ONCE",
    "EVENTS",
    "DurableServer",
    "Listener",
    "acking",
    "deliver",
    "event",
    "holds",
    "number_of",
]

EVENTS = 6_000
AT_ONCE = 500


def event(number: int, channel: str = "/a") -> Message:
    return {"channel": channel, "data": {"event": {"replayId": number}}}


def number_of(message: Message) -> int:
    return int(message["data"]["event"]["replayId"])


class DurableServer(Harness):
    """Replays ``EVENTS`` events behind the one asked for, ``AT_ONCE`` a connect."""

    def __init__(self, **options: Any) -> None:
        super().__init__(types=["long-polling"], **options)
        self.sent_up_to = EVENTS  # until somebody subscribes
        self.respond = self.replay

    def replay(self, request: Request) -> None:
        replies = []
        for message in request.messages:
            if message["channel"] == "/meta/subscribe":
                [self.sent_up_to] = message["ext"]["replay"].values()
                self.sent_up_to = max(0, self.sent_up_to)
            if message["channel"] == "/meta/connect":
                last = min(EVENTS, self.sent_up_to + AT_ONCE)
                replies += map(event, range(self.sent_up_to + 1, last + 1))
                if self.is_held(message) and self.sent_up_to == last:
                    return
                self.sent_up_to = last
            replies.append(self.reply(message))
        request.answer(*replies)


class Listener:
    """Works on each message until the test lets it finish."""

    def __init__(self, kind: str = "deferred") -> None:
        self.kind = kind
        self.got: list[Any] = []
        self.working: list[Deferred[None]] = []

    def __call__(self, message: Message) -> Any:
        self.got.append(message["data"])
        self.working.append(Deferred())
        return self.wait() if self.kind == "coroutine" else self.working[-1]

    async def wait(self) -> None:
        await self.working[-1]

    def finish(self, count: int) -> None:
        for _ in range(count):
            self.working.pop(0).callback(None)


def deliver(harness: Harness, count: int, channel: str = "/a") -> None:
    held = harness.held_connect
    items = [{"channel": channel, "data": n} for n in range(count)]
    held.answer(*items, harness.reply(held.messages[0]))
    harness.clock.advance(0)


def holds(harness: Harness) -> bool:
    """Return whether a connect is in flight, after more than any delay."""
    harness.pass_time(10)
    return any(r.open and r.channels == ["/meta/connect"] for r in harness.requests)


def acking(harness: Harness) -> Callable[[Request], None]:
    def serve(request: Request) -> None:
        if request.channels == ["/meta/handshake"]:
            ack = {"enabled": True, "batch": 0}
            request.answer(harness.reply(request.messages[0], ext={"ack": ack}))
        else:
            harness.reply_to_all(request)

    return serve
