"""``--workers``: real processes on one port, one of them killed, then their parent."""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGKILL, SIGTERM
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from tests.chaos.fleet import Front, free_port
from tests.engine.redis_server import RedisServer

pytestmark = pytest.mark.chaos


class Crew(Front):
    """One ``twistd bayeux --workers 2``."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.admin = free_port()
        admin = f"tcp:{self.admin}:interface=127.0.0.1"
        self.options = ("--workers", "2", "--admin", admin)

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
def crew(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Crew]:
    # One that is killed leaves its folder behind; a Unix socket's path is short.
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("w")))
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


def test_the_admin_port_speaks_for_all_workers(crew: Crew) -> None:
    def ask(page: str) -> tuple[int, str]:
        url = f"http://127.0.0.1:{crew.admin}/{page}"
        try:
            with urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    until(lambda: ask("health")[0] == 200, "both are ready")
    assert json.loads(ask("health")[1]) == {"status": "ok", "workers": 2, "ready": 2}
    status, text = ask("metrics")
    assert status == 200
    for number in (1, 2):
        assert f'\ntxbayeux_sessions{{worker="{number}"}} 0\n' in text
    os.kill(crew.workers()[0], SIGKILL)
    until(lambda: ask("health")[0] == 503, "one is gone")
    until(lambda: ask("health")[0] == 200, "another has followed")


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
