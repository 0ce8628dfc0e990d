"""``python -m tests.leaks``: whether anything is left of sessions that are gone.

50,000 sessions come and go abruptly on each transport and engine, and 100 sockets stall
while ten others get 100,000 messages of 10 KB.  Prints what the processes hold; exits
with 1 if that grows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.leaks import bounds, sessions, stalled
from tests.leaks.peer import TRANSPORTS, LongPolling
from tests.leaks.service import running

ROUNDS = 10
ENGINES = ("memory", "redis")


def come_and_go(
    engine: str, transports: Sequence[LongPolling], *, rounds: int, size: int
) -> list[str]:
    """Run rounds of sessions, after those that warm up; return what is too much."""
    names = "all" if len(transports) > 1 else transports[0].name
    title = f"{engine}, {names}"
    measured = []
    with (
        TemporaryDirectory() as folder,
        running(Path(folder), *sessions.OPTIONS, redis=engine == "redis") as service,
    ):
        number = bounds.WARM_UP + rounds
        for one in sessions.rounds(service, transports, number=number, size=size):
            measured.append(one)
            print(bounds.line(title, len(measured) * size, one), flush=True)
    return [f"{title}: {excess}" for excess in bounds.excesses(measured)]


def stall(engine: str, *, messages: int, parts: int) -> list[str]:
    """Publish beside stalled sockets; return what is too much."""
    title = f"{engine}, {stalled.STALLED} stalled"
    resident: list[int] = []
    with (
        TemporaryDirectory() as folder,
        running(Path(folder), *stalled.OPTIONS, redis=engine == "redis") as service,
    ):
        published = stalled.publish_beside_stalled(
            service, messages=messages, parts=parts
        )
        for rss in published:
            resident.append(rss)
            count = len(resident) * messages // parts
            print(f"{title:24} {count:8} {rss / bounds.MiB:8.2f}", flush=True)
    return [f"{title}: {excess}" for excess in bounds.stalled_excesses(resident)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Look for leaks in the service.")
    names = [transport.name for transport in TRANSPORTS]
    parser.add_argument("--engine", choices=ENGINES, help="only this one")
    parser.add_argument("--transport", choices=names, help="only this one")
    parser.add_argument("--sessions", type=int, default=50_000, metavar="N")
    parser.add_argument("--messages", type=int, default=100_000, metavar="N")
    options = parser.parse_args(arguments)
    engines = [engine for engine in ENGINES if options.engine in (None, engine)]
    found: list[str] = []
    print(bounds.HEADINGS)
    for engine in engines:
        for transport in TRANSPORTS:
            if options.transport in (None, transport.name):
                size = options.sessions // ROUNDS
                found += come_and_go(engine, [transport], rounds=ROUNDS, size=size)
    print(f"{'':24} {'messages':>8} {'RSS MiB':>8}")
    for engine in engines:
        found += stall(engine, messages=options.messages, parts=ROUNDS)
    print("\n".join(found) or "Nothing leaks.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
