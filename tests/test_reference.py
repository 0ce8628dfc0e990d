"""The reference lists the options, arguments, limits and metrics of the code."""

import inspect
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.testing import MemoryReactorClock

from examples import faults_test
from txbayeux import Bayeux, ServerOptions, channel, message, rates
from txbayeux.adapter import (
    callback_polling,
    http,
    io,
    resource,
    response,
    site,
    websocket,
    websocket_input,
)
from txbayeux.engine import expiry, hub, large_entries, queue_limits, session
from txbayeux.engine.memory import MemoryEngine
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.engine.redis.location import parse
from txbayeux.engine.redis.options import SHARED, SHARED_LIMITS
from txbayeux.peer_limits import PeerLimits, PeerRegistry
from txbayeux.server import fields as message_fields
from txbayeux.service import admin, ports
from txbayeux.tap import Options
from txbayeux.testing import MemoryServer, ScriptedServer

REFERENCE = Path(__file__).parent.parent / "docs/reference"


def rows(heading: str, page: str = "service.md") -> list[list[str]]:
    """Return the cells of the tables below a heading."""
    text = (REFERENCE / page).read_text()
    section = re.split(rf"^##? {heading}$", text, flags=re.MULTILINE)[1]
    section = section.partition("\n## ")[0]
    tables = re.findall(r"^\|---.*\n((?:\|.*\n)+)", section, flags=re.MULTILINE)
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in "".join(tables).splitlines()
    ]


def default_of(function: Any, name: str) -> Any:
    return inspect.signature(function).parameters[name].default


def written(value: Any) -> str:
    """Return an option's default as the table shows it."""
    if value is None or value == []:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return "off" if value == 0 else str(value)


def test_every_option_is_documented_with_its_default() -> None:
    options = Options()
    documented = set()
    for names, default, _ in rows("Options"):
        long = re.findall(r"`--([a-z-]+)`", names)
        documented.update(long)
        for short in re.findall(r"`-(\w)`", names):
            assert options.synonyms[short] == long[0]
        assert default == written(options[long[0]]), names
    undocumented = {"help", "version", "adopt", "adopt-proxied", "end-with-input"}
    assert documented == {name.rstrip("=") for name in options.longOpt} - undocumented


BOUNDS = {
    "channel name or pattern": channel.MAX_LENGTH,
    "segments of a channel": channel.MAX_SEGMENTS,
    "nesting": message.MAX_DEPTH,
    "message id": message_fields.MAX_ID_LENGTH,
    "name of a JSON-P callback": callback_polling.MAX_CALLBACK,
    "URL and headers": site.BoundedChannel.totalHeadersSize,
    "seconds in which the head": response.HEAD_TIMEOUT,
    "seconds in which a request": response.REQUEST_TIMEOUT,
    "seconds that an HTTP connection may be idle": default_of(
        http.FastHTTPFactory, "timeout"
    ),
    "requests of one HTTP connection": http.REQUESTS_PER_TURN,
    "bytes of one HTTP connection": site.BYTES_PER_TURN,
    "seconds between keep-alives": default_of(resource.BayeuxResource, "keep_alive"),
    "replies that a WebSocket": websocket.MAX_HELD,
    "keep-alives of a WebSocket before": websocket.MAX_UNACCEPTED,
    "keep-alives during one WebSocket message": websocket_input.MAX_UNFINISHED,
    "connects with the same messages": session.MAX_REPEATS,
    "requests in a row": websocket.MAX_REFUSED,
    "addresses and sessions": rates.MAX_KEYS,
    "connections that wait": ports.BACKLOG,
    "seconds that a client has to answer": websocket.CLOSE_TIMEOUT,
    "seconds that a WebSocket whose session has ended": websocket.REPLY_TIMEOUT,
    "deliveries queued in a reactor turn": hub.TURN_WORK,
    "sessions for which one message is queued": large_entries.SLICE,
    "messages with more subscribers than that": large_entries.MAX_ENTRIES,
    "deliveries written in a reactor turn": hub.TURN_WORK,
    "bytes of messages that a connection is given at once": session.WRITE_BYTES,
    "sessions whose queue is over a limit": queue_limits.CLOSED_AT_ONCE,
    "milliseconds of a reactor turn for closed": io.TIME_SLICE * 1000,
    "small messages of one WebSocket": websocket_input.GATHERED,
    "milliseconds for which the input of one WebSocket": websocket_input.TURN * 1000,
    "milliseconds of a reactor turn for expired": expiry.TIME_SLICE * 1000,
}


def test_every_fixed_limit_is_that_of_the_code() -> None:
    table = rows("Fixed limits")
    assert len(table) == len(BOUNDS)
    for (what, value), (name, bound) in zip(table, BOUNDS.items(), strict=True):
        assert what.startswith(name)
        assert float(value) == bound, name
    assert site.BoundedChannel.totalHeadersSize == site.BoundedChannel.MAX_LENGTH
    assert default_of(site.BoundedSite, "timeout") == default_of(
        http.FastHTTPFactory, "timeout"
    )


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_every_metric_is_documented_as_in_its_help(kind: str) -> None:
    clock = MemoryReactorClock()
    peers = PeerRegistry(PeerLimits(), clock)
    engine: Any = (
        MemoryEngine(clock)
        if kind == "memory"
        else RedisEngine(clock, parse("redis://localhost"))
    )
    documented = dict(rows("Metrics"))
    assert documented == {
        f"`txbayeux_{name}`": meaning for name, meaning in admin.MEANINGS.items()
    }
    names = set(engine.statistics()) | set(peers.statistics())
    assert names <= set(admin.MEANINGS)
    if kind == "redis":
        assert names == set(admin.MEANINGS)


def test_every_option_of_the_redis_engine_is_documented_with_its_default() -> None:
    documented = {}
    for names, defaults, _ in rows("Options", "redis.md"):
        values = defaults.strip("`").split(", ")
        found = re.findall(r"`(\w+)`", names)
        documented.update(zip(found, values, strict=True))
    expected = {}
    for field in fields(RedisOptions):
        value: Any = field.default
        if field.name in ("tail_bytes", "pending_bytes"):
            expected[field.name] = f"{value // 2**20} MiB"
        else:
            expected[field.name] = (
                f"{value:,}" if isinstance(value, int) else written(value)
            )
    assert documented == expected


def test_nodes_compare_the_options_that_are_documented_as_shared() -> None:
    documented = rows("What all nodes must agree on", "redis.md")
    names = re.findall(r"`([a-z_]+)`", "".join(named for _, named in documented))
    assert sorted(names) == sorted(["session_timeout", *SHARED, *SHARED_LIMITS])
    for flags, named in documented:
        for flag in re.findall(r"`--max-([a-z-]+)`", flags):
            assert f"`{flag.replace('-', '_')}`" in named


def test_every_argument_and_method_of_bayeux_is_documented() -> None:
    parameters = dict(inspect.signature(Bayeux).parameters)
    del parameters["reactor"]
    table = rows("Bayeux, the server in your program", "bayeux.md")
    arguments = [row for row in table if len(row) == 3]
    assert [name.strip("`") for name, _, _ in arguments] == list(parameters)
    for name, default, _ in arguments:
        value = parameters[name.strip("`")].default
        assert default == ("" if value == () else written(value)), name
    members = {
        name
        for cell in (row[0] for row in table if len(row) == 2)
        for name in re.findall(r"`(\w+)", cell)
    }
    bayeux = Bayeux(MemoryReactorClock())
    assert members == {name for name in dir(bayeux) if not name.startswith("_")}


def test_options_of_the_server_are_documented_with_their_defaults() -> None:
    text = (REFERENCE / "bayeux.md").read_text()
    assert f"`{ServerOptions()!r}`" in text


@pytest.mark.parametrize("kind", [MemoryServer, ScriptedServer])
def test_every_method_of_the_test_kit_is_documented(kind: type) -> None:
    text = (REFERENCE / "testing.md").read_text()
    named = set(re.findall(r"`(?:\w+\.)?(\w+)(?:\([^`]*\))?`", text))
    called_by_transports = {
        "connection_lost",
        "connection_paused",
        "requested",
        "serve",
    }
    public = {name for name in dir(kind) if not name.startswith("_")}
    assert public - named == called_by_transports


def test_every_fault_of_the_test_kit_has_its_example() -> None:
    examples = set(vars(faults_test))
    for fault, _, tests in rows("Faults", "testing.md"):
        name = fault.strip("`").partition("(")[0]
        assert callable(getattr(MemoryServer, name))
        found = re.findall(r"`(\w+)`", tests)
        assert found[0] == f"test_{name}"
        assert set(found) <= examples
