"""With the Redis engine, the service still runs on the reactor given to twistd."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("name", "reactor"),
    [
        ("poll", "twisted.internet.pollreactor.PollReactor"),
        ("epoll", "twisted.internet.epollreactor.EPollReactor"),
        ("asyncio", "twisted.internet.asyncioreactor.AsyncioSelectorReactor"),
    ],
)
def test_the_reactor_is_the_one_given_to_twistd(name: str, reactor: str) -> None:
    service = subprocess.Popen(
        [
            *(Path(sys.executable).with_name("twistd"), f"--reactor={name}", "-n"),
            *("--pidfile=", "bayeux", "--listen=tcp:0:interface=127.0.0.1"),
            *("--redis", "redis+unix:///nowhere"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert service.stdout is not None
    try:
        lines = iter(service.stdout.readline, "")
        seen = []
        for line in lines:
            seen.append(line)
            if "Cannot use Redis" in line:
                break
    finally:
        service.terminate()
        service.communicate()
    assert any(f"reactor class: {reactor}" in line for line in seen)
    assert "Cannot use Redis (unix socket /nowhere), trying again:" in seen[-1]


def test_importing_the_engine_installs_no_reactor() -> None:
    program = (
        "import sys, txbayeux.tap, txbayeux.engine.redis.location\n"
        "assert 'twisted.internet.reactor' not in sys.modules\n"
        "assert 'txredisapi' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
