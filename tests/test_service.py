"""``twistd bayeux``: its options, URLs, pages, log and stop, on a reactor in memory."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import CannotListenError
from twisted.internet.testing import (
    MemoryReactorClock,
    StringTransportWithDisconnection,
)
from twisted.logger import capturedLogs, formatEvent
from twisted.python.usage import UsageError

import txbayeux
from tests.engine.certificates import LOOPBACK, certificate
from txbayeux.bayeux import FLUSH_TIME
from txbayeux.extension import Extension
from txbayeux.message import Message
from txbayeux.service.ports import BACKLOG, CannotListen
from txbayeux.service.urls import base_url
from txbayeux.tap import Options, makeService

HANDSHAKE = {
    "channel": "/meta/handshake",
    "version": "1.0",
    "supportedConnectionTypes": ["long-polling"],
}


class RefusePublishes(Extension):
    """An extension that refuses all publishes."""

    def incoming(self, message: Message, request: object) -> Message:
        if not str(message["channel"]).startswith("/meta/"):
            message["error"] = "403::Forbidden"
        return message


class Running:
    """A started service, and requests to it."""

    def __init__(self, *arguments: str) -> None:
        self.reactor = MemoryReactorClock()
        options = Options()
        options.parseOptions(list(arguments))
        self.service: Any = makeService(options, self.reactor)
        self.service.privilegedStartService()
        self.service.startService()

    def connect(self, port: int = 0) -> tuple[Any, StringTransportWithDisconnection]:
        factory = self.reactor.tcpServers[port][1]
        protocol = factory.buildProtocol(None)
        transport = StringTransportWithDisconnection()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        return protocol, transport

    def request(self, request: bytes, port: int = 0) -> bytes:
        protocol, transport = self.connect(port)
        protocol.dataReceived(request)
        return transport.value()

    def post(self, message: Any, path: str = "/bayeux") -> Any:
        answer = self.request(post(message, path))
        return json.loads(answer.partition(b"\r\n\r\n")[2])


def post(message: Any, path: str = "/bayeux") -> bytes:
    body = json.dumps(message).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.0\r\nHost: a\r\n\r\n".encode()


@pytest.mark.parametrize("mount", ["/bayeux", "/", "/deep/below/it"])
def test_bayeux_is_served_at_the_mount_and_below(mount: str) -> None:
    service = Running("--port", "8000", "--mount", mount)
    for path in (mount, mount.rstrip("/") + "/handshake"):
        (reply,) = service.post(HANDSHAKE, path)
        assert reply["successful"], reply


def test_it_listens_on_the_port_and_every_endpoint_with_a_large_backlog() -> None:
    listen = ["--listen", "haproxy:tcp:8001", "--listen", "tcp:8002:backlog=7"]
    reactor = Running("--port", "8000", *listen).reactor
    ports = [(port, backlog) for port, _, backlog, _ in reactor.tcpServers]
    assert ports == [(8000, BACKLOG), (8001, BACKLOG), (8002, 7)]


def test_the_chat_page_has_the_mount_and_its_files_are_served() -> None:
    service = Running("--port", "8000", "--mount", "/my/faye")
    page = service.request(get("/"))
    assert b" 200 OK" in page
    assert b'data-mount="/my/faye"' in page
    for path in ("/static/chat.js", "/static/chat.css", "/my/faye/client.js"):
        assert b" 200 OK" in service.request(get(path)), path
    for path in ("/static/", "/static/../page.py", "/static/%2e%2e/page.py", "/x"):
        assert b" 404 " in service.request(get(path)), path


def test_the_chat_page_can_be_left_out() -> None:
    assert b" 404 " in Running("--port", "8000", "--no-page").request(get("/"))


def test_health_is_200_while_publishes_are_accepted() -> None:
    service = Running("--port", "8000", "--admin", "tcp:9000:interface=127.0.0.1")
    for port in (0, 1):
        assert service.request(get("/health"), port).endswith(b'{"status":"ok"}')


def test_metrics_are_served_at_the_admin_port_only() -> None:
    service = Running("--port", "8000", "--admin", "tcp:9000:interface=127.0.0.1")
    service.post(HANDSHAKE)
    service.post({"channel": "/a", "data": 1})
    metrics = service.request(get("/metrics"), port=1)
    assert (
        b"# HELP txbayeux_sessions Open sessions\n"
        b"# TYPE txbayeux_sessions gauge\ntxbayeux_sessions 1\n" in metrics
    )
    assert b"# TYPE txbayeux_published_total counter\n" in metrics
    assert b"txbayeux_published_total 1\n" in metrics
    assert b" 404 " in service.request(get("/metrics"))


def test_an_extension_is_installed_by_its_name() -> None:
    service = Running("--port", "8000", "--extension", f"{__name__}:RefusePublishes")
    (reply,) = service.post({"channel": "/a", "data": 1})
    assert reply["error"] == "403::Forbidden"


EXTENSION = "from txbayeux import Extension\nclass Mine(Extension): incoming = print"


@pytest.fixture
def current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a current folder that Python does not import from, as for a command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    return tmp_path


def test_an_extension_is_found_in_a_folder_that_is_named(current_folder: Path) -> None:
    (current_folder / "below").mkdir()
    for number, folder in enumerate((".", "below")):
        module = f"of_mine_{number}"
        (current_folder / folder / f"{module}.py").write_text(EXTENSION)
        options = Options()
        options.parseOptions(
            ["--port=1", f"--extension={module}:Mine", f"--extension-path={folder}"]
        )
        assert type(options["extensions"][0]).__module__ == module


def test_an_extension_is_not_imported_from_the_current_folder_unless_named(
    current_folder: Path,
) -> None:
    (current_folder / "planted.py").write_text(EXTENSION)
    with pytest.raises(UsageError, match="planted"):
        Options().parseOptions(["--port=1", "--extension=planted:Mine"])


def test_the_command_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "h2.py").write_text("raise SystemExit('h2.py was executed')")
    twistd = Path(sys.executable).with_name("twistd")
    done = subprocess.run(
        [twistd, "bayeux", "--version"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_publishing_without_a_session_can_be_refused() -> None:
    service = Running("--port", "8000", "--require-session")
    (without,) = service.post({"channel": "/a", "data": 1})
    (unknown,) = service.post({"channel": "/a", "data": 1, "clientId": "nobody"})
    assert without["error"].startswith("401:")
    assert unknown["error"].startswith("402:nobody:")
    assert unknown["advice"]["reconnect"] == "handshake"


@pytest.mark.parametrize("channel", ["/a.b", "/a b", "/#+{x}:", "/chat/"])
def test_channel_names_are_the_specifications_or_those_of_cometd(channel: str) -> None:
    published = {"channel": channel, "data": 1}
    (reply,) = Running("--port", "8000").post(published)
    assert reply["error"].startswith("405:")
    wide = Running("--port", "8000", "--channel-names", "cometd")
    (reply,) = wide.post(published)
    assert reply["successful"], reply
    with pytest.raises(UsageError, match="--channel-names faye: must be bayeux or"):
        Running("--port", "8000", "--channel-names", "faye")


def test_requests_for_other_hosts_are_refused() -> None:
    service = Running("--port", "8000", "--host", "b", "--host", "a")
    assert service.post(HANDSHAKE)[0]["successful"]
    service = Running("--port", "8000", "--host", "b")
    assert b" 403 " in service.request(post(HANDSHAKE))
    assert b" 200 OK" in service.request(get("/health"))  # asked for by address


def test_limits_and_times_are_set_by_options() -> None:
    service = Running(
        *("--port", "8000", "--timeout", "7", "--interval", "0.5"),
        *("--max-request-bytes", "300", "--max-batch-messages", "2"),
        *("--max-request-objects", "9"),
    )
    (reply,) = service.post(HANDSHAKE)
    assert reply["advice"] == {"reconnect": "retry", "interval": 500, "timeout": 7000}
    assert b" 413 " in service.request(post({"channel": "/a", "data": "x" * 300}))
    assert b" 413 " in service.request(post([1, 2, 3]))
    assert b" 413 " in service.request(post([{"channel": "/a", "data": [[]] * 9}]))


def test_limits_of_an_address_are_set_by_options() -> None:
    service = Running(
        *("--port", "8000", "--admin", "tcp:9000:interface=127.0.0.1"),
        *("--peer-handshakes", "1:2", "--trusted-proxy", "192.168.1.1"),
        *("--unlimited-peer", "192.0.2.9"),
    )

    def handshake(client: str) -> bool:
        forwarded = post(HANDSHAKE).replace(
            b"\r\n\r\n", b"\r\nX-Forwarded-For: %b\r\n\r\n" % client.encode()
        )
        answer = service.request(forwarded).partition(b"\r\n\r\n")[2]
        return bool(json.loads(answer)[0]["successful"])

    assert [handshake("192.0.2.1") for _ in range(3)] == [True, True, False]
    assert handshake("192.0.2.2")
    assert all(handshake("192.0.2.9") for _ in range(9))
    metrics = service.request(get("/metrics"), port=1)
    assert b"\ntxbayeux_limited_handshakes_total 1\n" in metrics


PROXIED = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"


@pytest.mark.parametrize(
    ("proxy", "address", "accepted"),
    [
        ("10.0.0.0/8", "10.0.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        (None, "11.0.0.1", True),
    ],
)
def test_the_proxy_protocol_is_read_from_trusted_proxies(
    proxy: str | None, address: str, accepted: bool
) -> None:
    service = Running(
        *("--listen", "haproxy:tcp:8001", "--verbose"),
        *(("--trusted-proxy", proxy) if proxy else ()),
    )
    factory = service.reactor.tcpServers[0][1]
    protocol = factory.buildProtocol(IPv4Address("TCP", address, 1))
    assert (protocol is not None) == accepted
    if accepted:
        protocol.makeConnection(StringTransportWithDisconnection())
        with capturedLogs() as log:
            protocol.dataReceived(PROXIED + post(HANDSHAKE))
        assert formatEvent(log[0]).endswith("from 192.0.2.1 over long-polling")


def test_stopping_answers_held_connects_and_closes_sockets_with_1001() -> None:
    service = Running("--port", "8000")
    (reply,) = service.post(HANDSHAKE)
    connect = {"channel": "/meta/connect", "clientId": reply["clientId"]}
    held, poll = service.connect()
    held.dataReceived(post({**connect, "connectionType": "long-polling"}))
    assert poll.value() == b""
    upgraded, socket = service.connect()
    upgraded.dataReceived(
        b"GET /bayeux HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert b" 101 " in socket.value()
    socket.clear()

    stopped: list[object] = []
    service.service.stopService().addCallback(stopped.append)
    assert json.loads(poll.value().partition(b"\r\n\r\n")[2])[0]["successful"]
    assert socket.value().startswith(b"\x88\x02\x03\xe9")
    poll.clear()
    held.dataReceived(post(HANDSHAKE))  # as clients do, at once
    assert poll.value().startswith(b"HTTP/1.1 503 ")
    assert poll.disconnecting or not poll.connected
    service.reactor.pump([0, 1, 1, FLUSH_TIME])
    assert stopped == [None]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--port"),
        (["--port", "x"], "--port x: .*0 to 65535"),
        (["--port", "70000"], "0 to 65535"),
        (["--port", "1", "--max-request-bytes", "8388609"], "at least"),
        (["--port", "1", "--max-queued-bytes", "8388607"], "at least"),
        (["--port", "1", "--mount", ""], "--mount '' is no path: write /bayeux"),
        (["--port", "1", "--mount", "//"], "--mount '//' is no path"),
        (["--port", "1", "--mount", "/a?b"], "--mount"),
        (["--port", "1", "--mount", "/b\u00e4yeux"], "--mount"),
        (["--port", "1", "--mount", "/a/../b"], "--mount"),
        (["--port", "1", "--mount", "/a//b"], "--mount"),
        (["--port", "1", "--mount", "/a<b"], "--mount"),
        (["--port", "1", "--mount", "/static/"], "/static is taken"),
        (["--port", "1", "--mount", "/health/x"], "/health/x is taken"),
        (["--port", "1", "--timeout", "nan"], "--timeout nan: .*seconds"),
        (["--port", "1", "--timeout", "-1"], "seconds"),
        (["--port", "1", "--timeout", "1h"], "seconds"),
        (["--port", "1", "--timeout", "0"], "--interval"),
        (["--port", "1", "--max-queue-bytes", "0"], "1 or more"),
        (["--port", "1", "--max-queue-bytes", "1e9"], "--max-queue-bytes 1e9: .*whole"),
        (["--port", "1", "--timeout", "60"], "longer than --timeout"),
        (["--port", "1", "--interval", "61"], "longer than --timeout"),
        (["--port", "1", "--trusted-proxy", "a.example"], "--trusted-proxy a.example"),
        (
            ["--port", "1", "--unlimited-peer", "1.2.3.4/8"],
            "--unlimited-peer 1.2.3.4/8",
        ),
        (["--port", "1", "--peer-requests", "5"], "--peer-requests 5: .*RATE|such as"),
        (
            ["--port", "1", "--max-peer-sessions", "-1"],
            "--max-peer-sessions -1: .*0 or",
        ),
        (["--port", "1", "--extension-path", "/nowhere"], "/nowhere: not a folder"),
        (["--port", "1", "--extension", "nowhere"], "package.module:factory"),
        (["--port", "1", "--extension", "nowhere:x"], "nowhere"),
        (["--port", "1", "--extension", "os:getcwd"], "must be an instance"),
        (["--port", "1", "--allow-origin", "ftp"], "--allow-origin"),
        (["--port", "1", "--host", "http://a"], "--host"),
    ],
)
def test_an_invalid_option_is_refused_with_a_sentence(
    arguments: list[str], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        Options().parseOptions(arguments)


@pytest.mark.parametrize("option", ["--listen", "--admin"])
@pytest.mark.parametrize(
    ("endpoint", "complaint"),
    [
        ("nonsense", "Unknown endpoint type: 'nonsense'"),
        ("tcp:abc", "abc"),
        ("systemd:domain=INET:index=0", "has systemd passed"),
        ("ssl:1:privateKey=/nowhere.pem", "No such file or directory: '/nowhere.pem'"),
    ],
)
def test_an_invalid_endpoint_is_refused_with_a_sentence(
    option: str, endpoint: str, complaint: str
) -> None:
    options = Options()
    options.parseOptions(["--port", "1", option, endpoint])
    with pytest.raises(SystemExit, match=f"{option} {endpoint}: .*{complaint}"):
        makeService(options, MemoryReactorClock())


KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"
CERTIFICATE = KEY.replace("PRIVATE KEY", "CERTIFICATE")

# ffdhe2048 of RFC 7919.
PARAMETERS = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""


@pytest.fixture
def pem_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write valid and invalid files into the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("valid", "other"):
        text = certificate(LOOPBACK)
        Path(f"{name}.pem").write_bytes(text)
        parts = text.partition(b"-----BEGIN PRIVATE KEY")
        Path(f"{name}.crt").write_bytes(parts[0])
        Path(f"{name}.key").write_bytes(b"".join(parts[1:]))
    Path("empty.pem").write_text("")
    Path("server.pem").write_text("nothing")
    Path("broken.pem").write_text(KEY + CERTIFICATE)


@pytest.mark.usefixtures("pem_files")
@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ("", "server.pem has no usable private key"),
        (":empty.pem", "empty.pem has no usable private key"),
        (":privateKey=broken.pem", "broken.pem has no usable private key"),
        (":privateKey=valid.key:certKey=empty.pem", "empty.pem has no usable cert"),
        (":valid.key", "valid.key has no usable certificate"),
        (":privateKey=valid.key:certKey=./other.crt", "valid.key is not the private"),
        (":valid.pem:extraCertChain=empty.pem", "chain file 'empty.pem'"),
        (":valid.pem:extraCertChain=broken.pem", "broken.pem has a certificate"),
        (":privateKey=nowhere.pem", "No such file or directory: .*nowhere.pem'"),
        (":valid.pem:dhParameters=empty.pem", "empty.pem has no usable Diffie-Hell"),
        (":valid.pem:dhParameters=nowhere.pem", "No such file or directory: 'nowhere"),
    ],
)
def test_a_file_that_tls_cannot_use_is_named(files: str, complaint: str) -> None:
    options = Options()
    options.parseOptions(["--listen", f"ssl:443{files}"])
    with pytest.raises(SystemExit, match=f"ssl:443{files}: .*{complaint}"):
        makeService(options, MemoryReactorClock())


@pytest.mark.usefixtures("pem_files")
def test_parameters_that_tls_can_use_are_accepted() -> None:
    Path("dh.pem").write_text(PARAMETERS)
    options = Options()
    options.parseOptions(["--listen", "ssl:443:valid.pem:dhParameters=dh.pem"])
    assert makeService(options, MemoryReactorClock())


class ReactorWithoutPorts(MemoryReactorClock):
    """A reactor whose ports are all in use."""

    def listenTCP(self, port: int, *args: Any, **kwargs: Any) -> Any:
        raise CannotListenError("any", port, OSError(98, "Address already in use"))


@pytest.mark.parametrize("start", ["privilegedStartService", "startService"])
def test_a_port_in_use_is_reported_with_a_sentence(start: str) -> None:
    options = Options()
    options.parseOptions(["--port", "8000"])
    service: Any = makeService(options, ReactorWithoutPorts())
    with pytest.raises(CannotListen, match=r"any:8000.*in use") as raised:
        getattr(service, start)()
    assert isinstance(raised.value, SystemExit)  # the interpreter's own way to say it


def test_a_missing_tls_dependency_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(reactor: object, endpoint: str) -> None:
        raise ImportError("No module named 'OpenSSL'")

    monkeypatch.setattr("txbayeux.tap.serverFromString", missing)
    options = Options()
    options.parseOptions(["--listen", "ssl:1"])
    with pytest.raises(SystemExit, match=r"'txbayeux\[tls\]'"):
        makeService(options, MemoryReactorClock())


def usage(width: int = 80) -> str:
    return Options().getUsage(width)


def test_help_shows_every_option_but_internal_ones() -> None:
    for name in Options().longOpt:
        shown = re.search(rf"--{name.rstrip('=')}\b(?!-)", usage()) is not None
        assert shown == (not name.startswith(("adopt", "end-with-input"))), name


def test_help_is_in_groups_with_the_common_options_first() -> None:
    titles = re.findall(r"^(\w.*):$", usage(), re.MULTILINE)
    assert titles == [
        *("Listen", "Who may connect", "Limits"),
        *("Limits of an address and of a session", "Redis", "Operation", "Examples"),
    ]
    assert re.findall(r"--[a-z-]+", usage())[:3] == ["--port", "--listen", "--mount"]


@pytest.mark.parametrize("width", [80, 60, 40])
def test_help_breaks_no_url_and_no_word(width: int) -> None:
    words = usage(width).split()
    for word in (
        "redis://[[user]:password@]host[:port][/database],",
        "redis+sentinel://host[,host]/service,",
        "redis+cluster://host[,host]",
        "tcp:8000:interface=127.0.0.1",
        "long-polling",
    ):
        assert word in words


def test_help_fits_its_width() -> None:
    options = usage().partition("\nExamples:")[0]
    assert [line for line in options.splitlines() if len(line) > 80] == []


def test_examples_are_shown_as_they_are_typed() -> None:
    assert "  twistd -n bayeux --port 8000\n" in usage()


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        Options().parseOptions(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"txbayeux {txbayeux.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--port", "8000"],
            "Bayeux at http://0.0.0.0:8000/bayeux; chat page at http://0.0.0.0:8000/",
        ),
        (
            ["--port", "8000", "--listen", "haproxy:tcp:8001", "--no-page"],
            "Bayeux at http://0.0.0.0:8000/bayeux, http://0.0.0.0:8001/bayeux",
        ),
        (
            ["--port", "80", "--mount", "/", "--admin", r"tcp6:9000:interface=\:\:1"],
            "Bayeux at http://0.0.0.0:80/; "
            "http://[::1]:9000/health and http://[::1]:9000/metrics",
        ),
        (
            ["--listen", "unix:/run/bayeux.sock", "--no-page"],
            "Bayeux at http://unix:/run/bayeux.sock:/bayeux",
        ),
    ],
)
def test_the_first_log_line_names_every_url(arguments: list[str], line: str) -> None:
    with capturedLogs() as log:
        Running(*arguments)
    assert formatEvent(log[0]) == line


def test_a_tls_port_has_an_https_url() -> None:
    address = IPv4Address("TCP", "127.0.0.1", 443)
    assert base_url("ssl:443:privateKey=k", address) == "https://127.0.0.1:443"


def test_the_command_tunes_garbage_collection() -> None:
    # Python 3.12.1 counts frozen objects before any was frozen.
    program = """if True:
        import gc
        from twisted.internet import reactor
        from txbayeux.tap import Options, makeService
        options = Options()
        options.parseOptions(["--port", "0"])
        before = gc.get_freeze_count()
        makeService(options)
        assert gc.get_freeze_count() == before
        reactor.callWhenRunning(reactor.stop)
        reactor.run()
        assert gc.get_freeze_count() > before + 10_000
        assert gc.get_threshold()[0] > 700
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
