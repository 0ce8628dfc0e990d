"""A page that the server keeps up to date: python examples/clock.py

Open http://localhost:8000/ and watch.
"""

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import Data

from txbayeux import BayeuxResource, MemoryEngine, Server
from txbayeux.adapter.client_script import faye_client

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


def site(clock) -> Site:
    """Build the site, and publish the time on /clock once a second."""
    server = Server(MemoryEngine(clock))
    server.start()
    client = server.client()
    start = clock.seconds()

    def tick() -> None:
        client.publish("/clock", {"seconds": round(clock.seconds() - start)})

    ticking = LoopingCall(tick)
    ticking.clock = clock
    ticking.start(1, now=False)
    root = Resource()
    root.putChild(b"", Data(PAGE, "text/html"))
    bayeux = BayeuxResource(server, clock, client_script=faye_client())
    root.putChild(b"bayeux", bayeux)
    return Site(root, reactor=clock)


if __name__ == "__main__":
    TCP4ServerEndpoint(reactor, 8000, backlog=4096).listen(site(reactor))
    reactor.run()
