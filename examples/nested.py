"""Bayeux inside a twisted.web site of one's own: python examples/nested.py

Then: curl -d 'message={"channel":"/clock","data":"hello"}' http://localhost:8000/bayeux
"""

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.static import Data

from txbayeux import BayeuxResource, BayeuxSite, MemoryEngine, Server


def site(clock) -> BayeuxSite:
    """Build the site; Bayeux is one of its resources."""
    server = Server(MemoryEngine(clock))
    server.start()
    root = Resource()
    root.putChild(b"", Data(b"<h1>My site</h1>", "text/html"))
    return BayeuxSite(root, BayeuxResource(server, clock), clock, path="/bayeux")


if __name__ == "__main__":
    endpoint = TCP4ServerEndpoint(reactor, 8000, backlog=4096)
    endpoint.listen(site(reactor))
    reactor.run()
