"""A BayeuxResource in a twisted.web Site: python nested.py PORT."""

import sys
from typing import Any

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from txbayeux.adapter.resource import BayeuxResource
from txbayeux.engine.memory import MemoryEngine
from txbayeux.server import Server

server = Server(MemoryEngine(reactor))
server.start()
root = Resource()
root.putChild(b"bayeux", BayeuxResource(server, reactor))
site: Any = Site(root, parsePOSTFormSubmission=False)
reactor.listenTCP(int(sys.argv[1]), site, backlog=4096, interface="127.0.0.1")
reactor.run()
