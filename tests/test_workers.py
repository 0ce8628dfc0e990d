"""``--workers``: who is started with what, started again, and asked to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.python.usage import UsageError

from txbayeux.service.ports import CannotListen
from txbayeux.service.workers import RESTART_DELAY, STOP_TIMEOUT, ParentWatch, listen
from txbayeux.tap import Options, makeService

REDIS = ("--redis", "redis+unix:///nowhere")


class Process:
    """What a worker's protocol is given as its transport."""

    def __init__(self, protocol: Any, command: list[str], files: Any) -> None:
        self.protocol = protocol
        self.command = command
        self.files = files
        self.signals: list[str] = []
        protocol.makeConnection(self)

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def end(self, error: Exception | None = None) -> None:
        self.protocol.processEnded(Failure(error or ProcessDone(0)))


class Reactor(MemoryReactorClock):
    """Remembers the processes that were started."""

    stopped = False

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []

    def spawnProcess(
        self, protocol: Any, program: str, command: Any, *, env: None, childFDs: Any
    ) -> Process:
        for number in childFDs.values():
            assert isinstance(number, str) or os.fstat(number)
        self.processes.append(Process(protocol, command, childFDs))
        return self.processes[-1]

    def stop(self) -> None:
        self.stopped = True


def started(*arguments: str) -> tuple[Reactor, Any]:
    options = Options()
    options.parseOptions([*arguments, *REDIS])
    reactor = Reactor()
    service: Any = makeService(options, reactor)
    service.privilegedStartService()
    service.startService()
    return reactor, service


def stop(reactor: Reactor, service: Any) -> list[object]:
    stopped: list[object] = []
    service.stopService().addCallback(stopped.append)
    return stopped


def test_each_worker_is_given_the_same_sockets_and_options() -> None:
    reactor, service = started("--port", "0", "--workers", "3", "--timeout", "7")
    assert len(reactor.processes) == 3
    for process in reactor.processes:
        assert process.command[-3:] == ["--adopt", "3", "--end-with-input"]
        given = Options()
        given.parseOptions(process.command[process.command.index("bayeux") + 1 :])
        assert given["adopt"] == [3]
        assert given["workers"] == 1
        assert given["port"] is None
        assert given["timeout"] == 7
    assert len({process.files[3] for process in reactor.processes}) == 1
    stop(reactor, service)


def test_workers_have_the_reactor_that_twistd_would_choose() -> None:
    reactor, service = started("--port", "0", "--workers", "2")
    command = reactor.processes[0].command
    stop(reactor, service)
    options = command[command.index("twisted") + 1 : command.index("bayeux")]
    found = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from twisted.application.twist._options import TwistOptions;"
            " o = TwistOptions(); o.parseOptions(sys.argv[1:] + ['bayeux', '-p', '0']);"
            " print(type(o['reactor']).__name__)",
            *options,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["LeanReactor"]


def test_twist_which_skips_the_privileged_step_is_no_different() -> None:
    options = Options()
    options.parseOptions(["--port", "0", "--workers", "2", *REDIS])
    reactor = Reactor()
    service: Any = makeService(options, reactor)
    service.startService()
    for process in reactor.processes:
        assert process.command[-3:] == ["--adopt", "3", "--end-with-input"]
    stop(reactor, service)


def test_each_worker_has_a_socket_of_its_own_for_what_the_admin_wants_to_know() -> None:
    admin = "tcp:9000:interface=127.0.0.1"
    reactor, service = started("--port", "0", "--workers", "2", "--admin", admin)
    assert [port for port, *_ in reactor.tcpServers] == [9000]
    reactor.processes[0].end(ProcessTerminated(signal=9))
    reactor.advance(RESTART_DELAY)
    paths = []
    for process in reactor.processes:
        given = Options()
        given.parseOptions(process.command[process.command.index("bayeux") + 1 :])
        kind, _, path = given["admin"].partition(":address=")
        assert kind == "unix"
        paths.append(Path(path))
    assert len(set(paths)) == 3
    [folder] = {path.parent for path in paths}
    assert folder.stat().st_mode & 0o777 == 0o700
    stopped = stop(reactor, service)
    for process in reactor.processes[1:]:
        process.end()
    assert stopped
    assert not folder.exists()


def test_an_admin_port_that_cannot_be_had_is_said_in_words() -> None:
    with pytest.raises(SystemExit, match="--admin"):
        started("--port", "0", "--workers", "2", "--admin", "nonsense:1")


def test_several_ports_are_several_sockets() -> None:
    port = "tcp:0:interface=127.0.0.1"
    reactor, service = started("--listen", port, "--listen", port, "--workers", "2")
    assert set(reactor.processes[0].files) == {0, 1, 2, 3, 4}
    stop(reactor, service)


def test_a_worker_that_ends_is_followed_by_another() -> None:
    reactor, service = started("--port", "0", "--workers", "2")
    reactor.processes[0].end(ProcessTerminated(signal=9))
    assert len(reactor.processes) == 2
    reactor.advance(RESTART_DELAY)
    assert len(reactor.processes) == 3
    assert reactor.processes[2].command == reactor.processes[0].command
    stop(reactor, service)


def test_stopping_asks_all_and_waits_for_them() -> None:
    reactor, service = started("--port", "0", "--workers", "2")
    stopped = stop(reactor, service)
    first, second = reactor.processes
    assert first.signals == second.signals == ["TERM"]
    first.end()
    assert stopped == []
    second.end()
    assert len(stopped) == 1
    reactor.advance(RESTART_DELAY + STOP_TIMEOUT)
    assert len(reactor.processes) == 2
    assert reactor.getDelayedCalls() == []


def test_a_worker_that_does_not_end_is_killed() -> None:
    reactor, service = started("--port", "0", "--workers", "1", "--workers", "2")
    stopped = stop(reactor, service)
    reactor.processes[0].end()
    reactor.advance(STOP_TIMEOUT)
    assert reactor.processes[1].signals == ["TERM", "KILL"]
    reactor.processes[1].end(ProcessTerminated(signal=9))
    assert len(stopped) == 1


def test_stopping_while_one_is_about_to_follow() -> None:
    reactor, service = started("--port", "0", "--workers", "2")
    reactor.processes[0].end()
    stopped = stop(reactor, service)
    reactor.processes[1].end()
    assert len(stopped) == 1
    reactor.advance(RESTART_DELAY)
    assert len(reactor.processes) == 2


def test_what_a_worker_says_is_logged_by_lines() -> None:
    reactor, service = started("--port", "0", "--workers", "2")
    said: list[str] = []

    def hear(event: Any) -> None:
        said.append(formatEvent(event))

    globalLogPublisher.addObserver(hear)
    try:
        for piece in (b"one\ntw", b"o\n", b"\xff\n"):
            reactor.processes[1].protocol.errReceived(piece)
    finally:
        globalLogPublisher.removeObserver(hear)
    assert said == ["worker 2: one", "worker 2: two", "worker 2: \ufffd"]
    stop(reactor, service)


def test_a_worker_ends_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    reactor = Reactor()
    end = ParentWatch(reactor)
    assert reactor.getReaders() == [end]
    assert end.fileno() == 0
    for data, expected in [(b"x", None), (b"", CONNECTION_DONE)]:
        monkeypatch.setattr(os, "read", lambda number, size, data=data: data)
        assert end.doRead() is expected
    assert not reactor.stopped
    end.readConnectionLost(Failure(CONNECTION_DONE))  # as the reactor does then
    assert reactor.stopped


@pytest.mark.parametrize("endpoint", ["unix:/x", "tcp:http", "tcp", "ssl:443"])
def test_only_tcp_ports_can_be_shared(endpoint: str) -> None:
    with pytest.raises(ValueError, match="tcp:PORT"):
        listen(endpoint, 5)


def test_a_port_that_cannot_be_shared_is_said_in_words() -> None:
    with pytest.raises(CannotListen, match="unix:/x"):
        started("--listen", "unix:/x", "--workers", "2")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "1", "--workers", "2"], "need --redis"),
        (["--port", "1", "--workers", "0"], "1 or more"),
        (["--adopt", "x"], "--adopt"),
    ],
)
def test_wrong_options_are_refused_in_words(
    arguments: list[str], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        Options().parseOptions(arguments)
