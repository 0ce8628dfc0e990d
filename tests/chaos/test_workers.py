"""``--workers`` restarts a killed worker, and no worker outlives its parent."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM
from urllib.request import urlopen

import pytest

from tests.chaos.deployment import Node
from tests.engine.redis_server import RedisServer
from tests.ports import free_port

pytestmark = pytest.mark.chaos


class WorkersProcess(Node):
    """One ``twistd bayeux --workers 2``."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.admin = free_port(1)
        admin = f"tcp:{self.admin}:interface=127.0.0.1"
        self.options = ("--workers", "2", "--admin", admin)

    def join(self) -> None:
        assert self._process is not None
        self._process.wait(120)

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][1] != "Z"
    except FileNotFoundError:
        return False


def until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.05)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[WorkersProcess]:
    redis = RedisServer(tmp_path)
    redis.start()
    service = WorkersProcess(tmp_path, redis.url)
    try:
        service.start()
        service.wait()
        yield service
    finally:
        service.kill()
        redis.stop()
        print(service.log.read_text()[-4000:])


def health(service: WorkersProcess, worker: int) -> int:
    """Return the HTTP status of a worker's /health; 0 if it does not answer."""
    try:
        url = f"http://127.0.0.1:{service.admin + worker - 1}/health"
        with urlopen(url, timeout=60) as answer:
            status: int = answer.status
            return status
    except OSError:
        return 0


def until_ready(service: WorkersProcess) -> None:
    until(lambda: {health(service, worker) for worker in (1, 2)} == {200}, "ready")


def test_each_worker_has_an_admin_port(service: WorkersProcess) -> None:
    until_ready(service)
    with urlopen(f"http://127.0.0.1:{service.admin + 1}/metrics", timeout=60) as answer:
        assert b"\ntxbayeux_sessions 0\n" in answer.read()
    os.kill(service.workers()[0], SIGKILL)
    until(
        lambda: 0 in {health(service, worker) for worker in (1, 2)},
        "a worker has ended",
    )
    until_ready(service)


def test_stopping_logs_no_error(service: WorkersProcess) -> None:
    until_ready(service)
    for pid in (service.pid, *service.workers()):  # as Ctrl-C does: to the whole group
        os.kill(pid, SIGINT)
    service.join()
    log = service.log.read_text()
    assert log.count("Main loop terminated") == 3
    assert "Traceback" not in log


def test_a_killed_worker_is_restarted(service: WorkersProcess) -> None:
    until(lambda: len(service.workers()) == 2, "two workers")
    victim, survivor = service.workers()
    os.kill(victim, SIGKILL)
    service.wait()
    until(lambda: len(set(service.workers()) - {victim}) == 2, "a new worker")
    assert survivor in service.workers()
    service.wait()


@pytest.mark.parametrize("signal", [SIGTERM, SIGKILL])
def test_workers_end_with_their_parent(service: WorkersProcess, signal: int) -> None:
    until(lambda: len(service.workers()) == 2, "two workers")
    workers = service.workers()
    os.kill(service.pid, signal)
    until(lambda: not any(alive(pid) for pid in workers), "the end of the workers")
