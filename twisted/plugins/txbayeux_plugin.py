"""What makes ``twistd bayeux`` and ``twist bayeux`` known to Twisted, and the reactor.

Modules are named as strings, so that no other ``twistd`` command pays for importing
them.
"""

from twisted.application.reactors import Reactor
from twisted.application.service import ServiceMaker

txbayeux = ServiceMaker(
    "txbayeux",
    "txbayeux.tap",
    "Bayeux publish/subscribe for the clients of Faye and CometD.",
    "bayeux",
)

reactor = Reactor(
    "txbayeux",
    "txbayeux.service.reactor",
    "Twisted's epoll reactor with less work for each event (Linux).",
)
