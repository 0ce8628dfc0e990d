"""One of several processes that are one service: python examples/shared.py 8001

Start as many as you like, each on a port of its own, beside a Redis on this machine.
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.task import react

from txbayeux import Bayeux
from txbayeux.signals import StopOnce


async def main(reactor, port="8001", redis="redis://localhost"):
    StopOnce(reactor)  # ignore a second Ctrl-C
    try:
        bayeux = Bayeux(reactor, redis=redis)
    except (ImportError, ValueError) as error:
        sys.exit(str(error))
    await bayeux.start()
    reactor.addSystemEventTrigger("before", "shutdown", bayeux.stop)
    endpoint = serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1")
    try:
        await endpoint.listen(bayeux.site())
    except CannotListenError as error:
        sys.exit(str(error))
    print(f"Serving http://localhost:{port}/bayeux (Ctrl-C stops the server)")
    await Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
