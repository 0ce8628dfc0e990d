"""One of several front-ends of one service: python examples/shared.py 8001

Start as many as you like, each on a port of its own; a Redis is on this machine.
"""

import sys

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import Site

from txbayeux import BayeuxResource, Server
from txbayeux.engine.redis import RedisEngine, RedisOptions
from txbayeux.engine.redis.location import parse


def site(clock, url: str = "redis://localhost") -> Site:
    """Build the site on an engine that all front-ends share."""
    options = RedisOptions(namespace="chat")
    server = Server(RedisEngine(clock, parse(url), options=options))
    server.start()
    root = Resource()
    root.putChild(b"bayeux", BayeuxResource(server, clock))
    return Site(root, reactor=clock)


if __name__ == "__main__":
    port = int(sys.argv[1])
    TCP4ServerEndpoint(reactor, port, backlog=4096).listen(site(reactor))
    reactor.run()
