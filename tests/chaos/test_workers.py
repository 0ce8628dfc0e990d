"""--workers: real processes on one port, one of which is killed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM

import psutil
import pytest

from tests.chaos.clients import Publisher, Subscriber
from tests.chaos.fleet import Fleet, Front

pytestmark = pytest.mark.chaos


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, 1, "--workers=3")
    yield fleet
    fleet.stop()


def workers(front: Front) -> list[psutil.Process]:
    return psutil.Process(front.pid).children()


def test_workers_share_a_port_and_replace_one_another(fleet: Fleet) -> None:
    (front,) = fleet.fronts
    # Whoever is asked: all have come up.
    time.sleep(3)
    before = workers(front)
    assert len(before) == 3
    publisher = Publisher(fleet.ports, 1)
    subscribers = [
        Subscriber(fleet.ports, n, acknowledges=n % 2 == 0) for n in range(4)
    ]
    for one in subscribers:
        one.start()
        assert one.ready.wait(20)
    publisher.start()
    for victim in before[:2]:
        time.sleep(1.5)
        victim.kill()
    time.sleep(1.5)
    publisher.stopped.set()
    publisher.join(30)
    for one in subscribers:
        one.join(30)
        assert one.failure is None
        assert set(publisher.confirmed) <= set(one.received)
        if one.acknowledges:
            assert len(one.received) == len(set(one.received))
    after = workers(front)
    assert len(after) == 3
    assert before[2] in after
    assert before[0] not in after
    front.end(SIGTERM)
    assert not any(worker.is_running() for worker in after)


def test_a_port_that_is_taken_is_said_at_once(fleet: Fleet, tmp_path: Path) -> None:
    twistd = str(Path(sys.executable).with_name("twistd"))
    command = [twistd, "-n", "--pidfile=", "bayeux", f"--port={fleet.ports[0]}"]
    done = subprocess.run(
        [*command, "--workers=2", "--redis", fleet.redis.url],
        cwd=tmp_path,
        env=Front.environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode != 0
    assert "Address already in use" in done.stdout + done.stderr
