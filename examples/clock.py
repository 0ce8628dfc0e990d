"""A page that the server keeps up to date: python examples/clock.py

Open http://localhost:8000/ and watch.
"""

import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall, react
from twisted.web.resource import Resource
from twisted.web.static import Data

from txbayeux import Bayeux
from txbayeux.signals import StopOnce

PAGE = b"""<!doctype html>
<title>Clock</title>
<h1 id="time">...</h1>
<script src="/bayeux/client.js"></script>
<script>
  const client = new Faye.Client('/bayeux');
  client.subscribe('/clock', (data) => {
    document.getElementById('time').textContent = `up for ${data.seconds} s`;
  });
</script>
"""


async def main(reactor, port="8000"):
    StopOnce(reactor)  # ignore a second Ctrl-C
    bayeux = Bayeux(reactor)
    root = Resource()
    root.putChild(b"", Data(PAGE, "text/html"))
    await bayeux.start()
    reactor.addSystemEventTrigger("before", "shutdown", bayeux.stop)

    endpoint = serverFromString(reactor, f"tcp:{port}:interface=127.0.0.1")
    try:
        await endpoint.listen(bayeux.site(root))
    except CannotListenError as error:
        sys.exit(str(error))
    print(f"Open http://localhost:{port}/ (Ctrl-C stops the server)")

    start = reactor.seconds()

    def tick() -> Deferred:
        seconds = round(reactor.seconds() - start)
        return bayeux.publish("/clock", {"seconds": seconds})

    ticking = LoopingCall(tick)
    ticking.clock = reactor
    reactor.addSystemEventTrigger("before", "shutdown", ticking.stop)
    await ticking.start(1, now=False)


if __name__ == "__main__":
    react(main, sys.argv[1:])
