"""A program that consumes a durable channel and writes down what it does.

``python -m tests.chaos.consumer URL TRANSPORT HOW DIRECTORY``.  The file ``record`` in
DIRECTORY gets a line for each event when work on it begins, and when it ends; the file
``store`` has what Replay stores.  HOW is ``iterator`` or ``listener``.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any, Final

from twisted.internet import reactor as default_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from txbayeux import Client
from txbayeux.extensions import ALL, Replay

reactor: Any = default_reactor

CHANNEL: Final = "/events"
LONGEST: Final = {"iterator": 0.0005, "listener": 0.02}
"""Seconds that work on an event takes at most."""


class Store(MutableMapping[str, int]):
    """Replay ids in a file, which is whole whenever the process is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids: dict[str, int] = (
            json.loads(path.read_text()) if path.exists() else {}
        )

    def __getitem__(self, channel: str) -> int:
        return self._ids[channel]

    def __setitem__(self, channel: str, replay_id: int) -> None:
        self._ids[channel] = replay_id
        written = self._path.with_suffix(".new")
        written.write_text(json.dumps(self._ids))
        written.replace(self._path)

    def __delitem__(self, channel: str) -> None:
        raise NotImplementedError

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


async def main(_: object, url: str, transport: str, how: str, directory: str) -> None:
    """Consume until the process is killed."""
    path = Path(directory)
    record = os.open(path / "record", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def work(message: Any) -> None:
        number = message["data"]["event"]["replayId"]
        os.write(record, b"begin %d\n" % number)
        await deferLater(reactor, random.uniform(0, LONGEST[how]), lambda: None)
        os.write(record, b"end %d\n" % number)

    replay = Replay(Store(path / "store"), default=ALL)
    client = Client(url, transports=[transport], extensions=[replay])
    if how == "listener":
        client.subscribe(CHANNEL, work)
        await Deferred()
    async for message in client.subscribe(CHANNEL):
        await work(message)


if __name__ == "__main__":
    react(main, sys.argv[1:])
