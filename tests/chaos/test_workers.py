"""``--workers``: real processes on one port, one of them killed, then their parent."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM

import pytest

from tests.chaos.fleet import Front
from tests.engine.redis_server import RedisServer

pytestmark = pytest.mark.chaos


class Crew(Front):
    """One ``twistd bayeux --workers 2``."""

    options = ("--workers", "2")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] != "Z"
    except FileNotFoundError:
        return False


def until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Crew]:
    redis = RedisServer(tmp_path)
    redis.start()
    crew = Crew(tmp_path, redis.url)
    try:
        crew.start()
        crew.wait()
        yield crew
    finally:
        crew.kill()
        redis.stop()


def test_a_killed_worker_is_followed_by_another(crew: Crew) -> None:
    until(lambda: len(crew.workers()) == 2, "two workers")
    victim, survivor = crew.workers()
    os.kill(victim, SIGKILL)
    crew.wait()
    until(lambda: len(set(crew.workers()) - {victim}) == 2, "another one")
    assert survivor in crew.workers()
    crew.wait()


@pytest.mark.parametrize("signal", [SIGTERM, SIGKILL])
def test_workers_end_with_their_parent(crew: Crew, signal: int) -> None:
    until(lambda: len(crew.workers()) == 2, "two workers")
    workers = crew.workers()
    os.kill(crew.pid, signal)
    until(lambda: not any(alive(pid) for pid in workers), "their end")
