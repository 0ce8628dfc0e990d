"""How much more the service may hold after many sessions than after the first ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tests.leaks.service import Measurement

MiB: Final = 1 << 20

WARM_UP: Final = 2
"""Rounds until caches and the memory allocator have what they need."""

RSS: Final = 4 * MiB
"""Resident bytes of all processes: for 50,000 sessions, 84 bytes each."""

FILES: Final = 4
"""Connections that measure are still open, or not yet."""

OBJECTS: Final = 500
"""Objects that the garbage collector knows: those of caches and timers vary."""

GARBAGE: Final = 500
"""Objects in cycles, found after a round.  They hold memory for a long time."""

REDIS_BYTES: Final = 2 * MiB
"""Bytes in Redis: the log is trimmed by blocks of entries."""

STALLED_RSS: Final = 16 * MiB
"""What the service may hold more, at least, in the second half of the parts."""

HEADINGS: Final = (
    f"{'':24} {'sessions':>8} {'RSS MiB':>8} {'files':>6} {'objects':>8}"
    f" {'garbage':>8} {'keys':>5} {'log':>6} {'Redis MiB':>9}"
)


def line(title: str, sessions: int, measured: Measurement) -> str:
    """Return a line of the table."""
    return (
        f"{title:24} {sessions:8} {measured.rss / MiB:8.2f} {measured.files:6}"
        f" {measured.known:8} {measured.garbage:8} {measured.keys:5}"
        f" {measured.entries:6} {measured.redis_bytes / MiB:9.2f}"
    )


def excesses(measured: Sequence[Measurement]) -> list[str]:
    """Return what the last measurement has too much of, compared with a warm one."""
    warm, last = measured[WARM_UP - 1], measured[-1]
    bounds = {
        "resident bytes": (warm.rss, last.rss, RSS),
        "files": (warm.files, last.files, FILES),
        "objects": (warm.known, last.known, OBJECTS),
        "objects in cycles": (0, last.garbage, GARBAGE),
        "keys in Redis": (warm.keys, last.keys, 0),
        "bytes in Redis": (warm.redis_bytes, last.redis_bytes, REDIS_BYTES),
    }
    found = [
        f"{what}: {before} before, {after} now, more than {bound} beyond"
        for what, (before, after, bound) in bounds.items()
        if after - before > bound
    ]
    if last.known - warm.known > OBJECTS:
        found.append(str((last.objects - warm.objects).most_common(8)))
    return found


def stalled_excesses(resident: Sequence[int]) -> list[str]:
    """Return whether more and more is held, part by part, for sockets that stall.

    What they hold varies; so the least of each half is compared.
    """
    half = len(resident) // 2
    before, after = min(resident[:half]), min(resident[half:])
    if after - before <= STALLED_RSS:
        return []
    return [f"resident bytes: {before} before, {after} now"]
