"""Count the calls from ``client.subscribe()`` to its confirmation.

Run ``python -m tests.client.walk`` (``-v`` lists every call).  The server is in the
same process; what it calls is not counted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.internet.task import Clock

import txbayeux
from txbayeux import Client, MemoryEngine, Server

PACKAGE = Path(txbayeux.__file__).parent
SERVER = ("server", "engine")


def walk(*, connected: bool) -> list[tuple[str, str]]:
    """Subscribe, and return each call as a file's name and a function's.

    :param connected: whether there is a session before ``subscribe`` is called;
        otherwise the walk includes the handshake and the first connect.
    """
    clock = Clock()
    server = Server(MemoryEngine(clock))
    server.start()
    client = Client.in_process(server, reactor=clock)
    if connected:
        client.connect()
        clock.pump([0.0] * 5)
    calls: list[tuple[str, str]] = []

    in_server = 0

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal in_server
        code = frame.f_code
        if event not in ("call", "return") or str(PACKAGE) not in code.co_filename:
            return
        name = str(Path(code.co_filename).relative_to(PACKAGE))
        if name.startswith(SERVER):
            in_server += 1 if event == "call" else -1
        elif event == "call" and not in_server:
            calls.append((name, code.co_qualname))

    confirmed: list[Any] = []
    sys.setprofile(profile)
    client.subscribe("/chat/*", print).ready.addCallback(
        lambda _: (sys.setprofile(None), confirmed.append(True))
    )
    clock.pump([0.0] * 5)
    sys.setprofile(None)
    assert confirmed == [True]
    client.disconnect()
    return calls


def main() -> None:
    """Print both walks: the number of calls, and the files in order."""
    for connected in (False, True):
        calls = walk(connected=connected)
        files = list(dict.fromkeys(name for name, _ in calls))
        start = "in a session" if connected else "from an idle client"
        print(f"{start}: {len(calls)} calls in {len(files)} files")
        print("  " + " > ".join(files))
        if "-v" in sys.argv:
            for name, function in calls:
                print(f"    {name}: {function}")


if __name__ == "__main__":
    main()
