"""Where Redis is, and how one gets in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from tests.engine.redis_own_server import OwnServer
from tests.engine.redis_parts import feed_connection
from tests.engine.redis_server import RedisServer
from tests.ports import free_port
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.engine.redis.location import Location, parse
from txbayeux.limits import Limits
from txbayeux.testing import RecordingStream, contract

HERE = ("127.0.0.1", 6379)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("redis://127.0.0.1", Location(hosts=(HERE,))),
        (
            "redis://127.0.0.1:7000/3",
            Location(hosts=(("127.0.0.1", 7000),), database=3),
        ),
        ("redis://", Location(hosts=(("localhost", 6379),))),
        (
            "redis://:p%40ss@127.0.0.1/",
            Location(hosts=(HERE,), password="p@ss"),
        ),
        (
            "rediss://me:secret@127.0.0.1?ca=/ca.pem",
            Location(
                hosts=(HERE,),
                tls=True,
                username="me",
                password="secret",
                certificates="/ca.pem",
            ),
        ),
        ("redis://[::1]:7000", Location(hosts=(("::1", 7000),))),
        ("redis+unix:///run/r.sock?db=2", Location(path="/run/r.sock", database=2)),
        ("unix:///run/r.sock", Location(path="/run/r.sock")),
        (
            "rediss+cluster://me:pw@one,two:7000?ca=/ca.pem",
            Location(
                hosts=(("one", 6379), ("two", 7000)),
                cluster=True,
                tls=True,
                username="me",
                password="pw",
                certificates="/ca.pem",
            ),
        ),
        (
            "redis+sentinel://:pw@one,two:7000/main/1",
            Location(
                hosts=(("one", 26379), ("two", 7000)),
                service="main",
                password="pw",
                database=1,
            ),
        ),
    ],
)
def test_a_url_is_read(url: str, location: Location) -> None:
    assert parse(url) == location


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1",
        "127.0.0.1:6379",
        "",
        "redis://:secret@127.0.0.1/zero",
        "redis://:secret@127.0.0.1/0/1",
        "redis://:secret@one,two/0",
        "redis://:secret@one:port/0",
        "redis://:secret@one/0?ca=/ca.pem",
        "redis://:secret@one/0?timeout=5",
        "redis://:secret@one/0#x",
        "redis+sentinel://:secret@one",
        "redis+cluster://:secret@one/0",
        "redis+cluster://:secret@one?db=1",
        "redis+unix://:secret@",
        "redis://:secret/more@one",
        "redis://:12?secret=more@one",
        "redis://:secret#more@one",
        "redis://user@one",
    ],
)
def test_a_url_that_makes_no_sense_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        parse(url)
    assert "secret" not in str(caught.value)


def test_a_location_is_named_without_its_password() -> None:
    for url in (
        "redis://:secret@one",
        "redis+sentinel://:secret@one/main",
        "redis+cluster://:secret@one",
    ):
        assert "secret" not in str(parse(url))


@pytest.mark.parametrize(
    "wrong",
    [
        {"namespace": "a b"},
        {"namespace": ""},
        {"namespace": "{x}"},
        {"patience": 0},
        {"retained_messages": -1},
    ],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"namespace|positive"):
        RedisOptions(**wrong)


class TestWays(OwnServer):
    """Over TCP, with users, passwords and databases, and by Sentinel."""

    where = ""

    def make_engine(self, *, limits: Limits, session_timeout: float) -> RedisEngine:
        return RedisEngine(
            reactor,
            parse(self.where),
            limits=limits,
            session_timeout=session_timeout,
            options=self.options(),
        )

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path) -> Iterator[None]:
        self.namespace = "ways"
        self.port = free_port()
        self.server = RedisServer(tmp_path, port=self.port)
        self.server.start()
        yield
        self.server.stop()

    async def works(self) -> None:
        engine, _ = await self.start_node()
        alice = await self.join(engine, "/a")
        await self.publish(engine, "/a", 1)
        assert await self.poll(engine, alice) == [1]

    @contract
    async def test_tcp_and_a_database(self) -> None:
        self.where = f"redis://127.0.0.1:{self.port}/5"
        await self.works()
        databases: Any = self.server.client.info("keyspace")
        assert list(databases) == ["db5"]

    @contract
    async def test_a_password(self) -> None:
        self.server.client.config_set("requirepass", "p@ss word")
        self.where = f"redis://:p%40ss%20word@127.0.0.1:{self.port}"
        await self.works()

    @contract
    async def test_a_wrong_password_is_not_ready_and_is_tried_again(self) -> None:
        self.server.client.config_set("requirepass", "right")
        self.where = f"redis://:wrong@127.0.0.1:{self.port}"
        engine = await self.start()
        await self.settle()
        assert not engine.ready()
        waiting = engine.create_session()
        waiting.addErrback(lambda failure: None)
        await self.settle()
        assert not waiting.called

    @contract
    async def test_a_reader_that_stayed_with_a_former_master_comes_over(self) -> None:
        place = self.server.folder / "master.sock"
        place.symlink_to(self.server.socket)
        self.where = f"redis+unix://{place}"
        engine, observer = await self.start_node()
        alice, stream = await self.join(engine, "/a"), RecordingStream()
        await engine.attach(alice, stream)
        former = RedisServer(self.server.folder / "former")
        former.start()
        try:
            before: Any = feed_connection(engine)
            place.unlink()
            place.symlink_to(former.socket)
            before.abort()
            await self.soon(
                lambda: feed_connection(engine) not in {None, before} and engine.ready()
            )
            place.unlink()
            place.symlink_to(self.server.socket)
            await self.publish(engine, "/a", 1)
            await self.soon(lambda: stream.data == [1])
            assert observer.closed == []
        finally:
            former.stop()
