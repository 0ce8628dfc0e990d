"""``--workers``: how worker processes are started, restarted and stopped."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.python.usage import UsageError

from tests.ports import free_port
from txbayeux.service.ports import CannotListen
from txbayeux.service.workers import RESTART_DELAY, STOP_TIMEOUT, ParentWatch, listen
from txbayeux.tap import Options, makeService

REDIS = ("--redis", "redis+unix:///nowhere")
PORT = "[1-9][0-9]{3,4}"


class Process:
    """The transport of a worker's protocol."""

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
    """A reactor that records the processes that it is asked to start."""

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


def test_each_worker_has_the_same_sockets_and_options() -> None:
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


def test_workers_import_nothing_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "h2.py").write_text("raise SystemExit('h2.py was executed')")
    reactor, service = started("--port", "0", "--workers", "2")
    command = reactor.processes[0].command
    done = subprocess.run(
        [*command[: command.index("bayeux") + 1], "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    stop(reactor, service)


def test_workers_know_which_port_has_the_proxy_protocol_and_trust_the_same() -> None:
    reactor, service = started(
        *("--listen", "tcp:0", "--listen", "haproxy:tcp:0:interface=127.0.0.1"),
        *("--workers", "2", "--trusted-proxy", "10.0.0.0/8"),
    )
    for process in reactor.processes:
        given = Options()
        given.parseOptions(process.command[process.command.index("bayeux") + 1 :])
        assert given["adopt"] == [3]
        assert given["adopt-proxied"] == [4]
        assert given["trusted-proxy"] == ["10.0.0.0/8"]
        assert given["listen"] == []
    stop(reactor, service)


def test_workers_start_under_twist_which_skips_the_privileged_step() -> None:
    options = Options()
    options.parseOptions(["--port", "0", "--workers", "2", *REDIS])
    reactor = Reactor()
    service: Any = makeService(options, reactor)
    service.startService()
    for process in reactor.processes:
        assert process.command[-3:] == ["--adopt", "3", "--end-with-input"]
    stop(reactor, service)


def admin_endpoints(reactor: Reactor) -> list[str]:
    """Return what each worker was started with as --admin."""
    endpoints = []
    for process in reactor.processes:
        given = Options()
        given.parseOptions(process.command[process.command.index("bayeux") + 1 :])
        endpoints.append(given["admin"])
    return endpoints


def test_each_worker_has_an_admin_port_of_its_own() -> None:
    first = free_port(1)
    admin = f"tcp:{first}:interface=127.0.0.1"
    reactor, service = started("--port", "0", "--workers", "2", "--admin", admin)
    reactor.processes[1].end(ProcessTerminated(signal=9))
    reactor.advance(RESTART_DELAY)
    assert admin_endpoints(reactor) == [
        f"tcp:{first}:interface=127.0.0.1",
        f"tcp:{first + 1}:interface=127.0.0.1",
        f"tcp:{first + 1}:interface=127.0.0.1",
    ]
    stop(reactor, service)


def test_admin_port_0_is_any_free_port_for_each_worker() -> None:
    reactor, service = started(
        *("--port", "0", "--workers", "2", "--admin", "tcp:0:interface=127.0.0.1")
    )
    assert admin_endpoints(reactor) == ["tcp:0:interface=127.0.0.1"] * 2
    stop(reactor, service)


@pytest.mark.parametrize(
    ("endpoint", "complaint"),
    [
        ("nonsense:1", "--admin nonsense:1"),
        ("unix:/run/admin", "must be tcp:PORT, not unix:/run/admin"),
        ("tcp:65535", "worker 2 would have port 65536"),
    ],
)
def test_an_admin_endpoint_that_workers_cannot_have_is_refused(
    endpoint: str, complaint: str
) -> None:
    with pytest.raises(SystemExit, match=complaint):
        started("--port", "0", "--workers", "2", "--admin", endpoint)


def test_an_admin_port_that_is_taken_is_reported_before_workers_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        with pytest.raises(CannotListen, match="in use"):
            started("--port", "0", "--workers", "2", "--admin", admin)


def test_the_first_log_line_names_the_urls() -> None:
    with capturedLogs() as log:
        port = "tcp:0:interface=127.0.0.1"
        reactor, service = started("--listen", port, "--workers", "2")
    url = rf"http://127\.0\.0\.1:{PORT}"
    assert re.fullmatch(
        rf"Bayeux at {url}/bayeux; chat page at {url}/; 2 workers", formatEvent(log[0])
    )
    stop(reactor, service)


def test_each_endpoint_is_a_socket() -> None:
    port = "tcp:0:interface=127.0.0.1"
    reactor, service = started("--listen", port, "--listen", port, "--workers", "2")
    assert set(reactor.processes[0].files) == {0, 1, 2, 3, 4}
    stop(reactor, service)


def test_a_worker_that_ends_is_restarted() -> None:
    reactor, service = started("--port", "0", "--workers", "2")
    reactor.processes[0].end(ProcessTerminated(signal=9))
    assert len(reactor.processes) == 2
    reactor.advance(RESTART_DELAY)
    assert len(reactor.processes) == 3
    assert reactor.processes[2].command == reactor.processes[0].command
    stop(reactor, service)


def test_stopping_terminates_all_workers_and_waits_for_them() -> None:
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


def test_stopping_cancels_a_restart() -> None:
    reactor, service = started("--port", "0", "--workers", "2")
    reactor.processes[0].end()
    stopped = stop(reactor, service)
    reactor.processes[1].end()
    assert len(stopped) == 1
    reactor.advance(RESTART_DELAY)
    assert len(reactor.processes) == 2


def test_the_output_of_a_worker_is_logged_by_lines() -> None:
    reactor, service = started("--port", "0", "--workers", "2")
    with capturedLogs() as log:
        for piece in (b"one\ntw", b"o\n", b"\xff\n"):
            reactor.processes[1].protocol.errReceived(piece)
    lines = [formatEvent(event) for event in log]
    assert lines == ["worker 2: one", "worker 2: two", "worker 2: \ufffd"]
    stop(reactor, service)


def test_a_worker_stops_when_its_parent_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reactor = Reactor()
    end = ParentWatch(reactor, reactor.stop)
    assert reactor.getReaders() == [end]
    assert end.fileno() == 0
    for data, expected in [(b"x", None), (b"", CONNECTION_DONE)]:
        monkeypatch.setattr(os, "read", lambda number, size, data=data: data)
        assert end.doRead() is expected
    assert not reactor.stopped
    end.readConnectionLost(Failure(CONNECTION_DONE))  # as the reactor does then
    assert reactor.stopped


def test_a_worker_that_is_stopped_logs_no_error() -> None:
    """The reactor closes all readers, the parent watch among them, while it stops."""
    program = """if True:
        import os, signal, sys
        from twisted.internet import reactor
        from twisted.logger import globalLogBeginner, textFileLogObserver
        from txbayeux.service.workers import ParentWatch
        from txbayeux.signals import StopOnce
        globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)])
        ParentWatch(reactor, StopOnce(reactor).stop)
        reactor.callWhenRunning(os.kill, os.getpid(), signal.SIGTERM)
        reactor.run()
    """
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.wait(60) == 0
        assert process.stderr is not None
        log = process.stderr.read()
    assert "Main loop terminated" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("endpoint", ["unix:/x", "tcp:http", "tcp", "ssl:443"])
def test_only_tcp_ports_can_be_shared(endpoint: str) -> None:
    with pytest.raises(ValueError, match="tcp:PORT"):
        listen(endpoint, 5)


def test_a_port_that_cannot_be_shared_is_refused() -> None:
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
def test_wrong_options_are_refused(arguments: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        Options().parseOptions(arguments)
