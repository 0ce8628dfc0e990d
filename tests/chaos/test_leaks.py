"""Nothing is left of sessions that come and go abruptly, nor of sockets that stall.

The short form of ``make leaks``: all transports together, and fewer sessions.
"""

from collections import Counter
from dataclasses import replace

import pytest

from tests.leaks import bounds
from tests.leaks.__main__ import ENGINES, come_and_go, stall
from tests.leaks.peer import TRANSPORTS
from tests.leaks.service import Measurement

BEFORE = Measurement(
    rss=100 * bounds.MiB,
    files=20,
    objects=Counter(a=1000),
    garbage=0,
    keys=7,
    redis_bytes=9 * bounds.MiB,
)


@pytest.mark.chaos
@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_left_of_sessions_that_end_abruptly(engine: str) -> None:
    assert come_and_go(engine, TRANSPORTS, rounds=1, size=300) == []


@pytest.mark.chaos
def test_memory_does_not_grow_with_what_is_published_beside_stalled_sockets() -> None:
    assert stall("memory", messages=3000, parts=3) == []


@pytest.mark.parametrize(
    "more",
    [
        {"rss": 100 * bounds.MiB + bounds.RSS},
        {"objects": Counter(a=1000, b=bounds.OBJECTS)},
        {"garbage": bounds.GARBAGE},
        {"redis_bytes": 9 * bounds.MiB + bounds.REDIS_BYTES},
        {"files": 20 + bounds.FILES},
        {"keys": 7},
    ],
)
def test_what_grows_beyond_a_bound_is_named(more: dict[str, object]) -> None:
    """Each value is at its bound; one more is above it."""
    at = replace(BEFORE, **more)  # type: ignore[arg-type]
    assert bounds.excesses([BEFORE, BEFORE, at]) == []
    above = {
        name: value + Counter(b=1) if isinstance(value, Counter) else value + 1
        for name, value in more.items()
    }
    found = bounds.excesses([BEFORE, BEFORE, replace(BEFORE, **above)])
    assert found != []


def test_memory_beside_stalled_sockets_may_vary_but_not_grow() -> None:
    assert bounds.stalled_excesses([90, 300, 90, 90]) == []
    grown = 90 + bounds.STALLED_RSS
    assert bounds.stalled_excesses([90, 90, grown, grown]) == []
    assert bounds.stalled_excesses([90, 90, grown + 1, grown + 2]) != []
