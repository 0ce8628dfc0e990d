"""The number of Redis calls per publish does not depend on the subscribers.

The calls are counted by Redis itself.
"""

from typing import Any

from tests.engine.redis_own_server import OwnServer, text
from txbayeux.testing import RecordingStream, contract

_TURNS = 20
_EACH = 25


class TestCost(OwnServer):
    def calls(self) -> dict[str, int]:
        found: Any = self.server.client.info("commandstats")
        names = ("xadd", "eval", "evalsha", "xread")
        return {n: found.get(f"cmdstat_{n}", {}).get("calls", 0) for n in names}

    @contract
    async def test_messages_of_one_reactor_turn_share_a_call(self) -> None:
        a, _ = await self.start_node()
        b, _ = await self.start_node()
        streams: list[RecordingStream] = []
        for more in (1, 99):
            for n in range(more):
                engine = (a, b)[n % 2]
                streams.append(RecordingStream())
                session = await self.join(engine, "/a")
                await engine.attach(session, streams[-1])
            for stream in streams:
                stream.batches.clear()
            before = self.calls()
            for turn in range(_TURNS):
                numbers = range(turn * _EACH, (turn + 1) * _EACH)
                for published in [a.publish("/a", text(n)) for n in numbers]:
                    await published
            everything = list(range(_TURNS * _EACH))
            await self.soon(
                lambda: all(len(one.entries) >= _TURNS * _EACH for one in streams)
            )
            assert all(stream.data == everything for stream in streams)
            after = self.calls()
            spent = {name: after[name] - before[name] for name in after}
            # One entry per message, one call per turn, and two nodes that read; the
            # rest are checkpoints, at intervals.
            assert spent["xadd"] == len(everything)
            assert spent["eval"] + spent["evalsha"] < len(everything) / 4
            assert spent["xread"] < len(everything) / 4
