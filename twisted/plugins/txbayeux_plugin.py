"""What makes ``twistd bayeux`` and ``twist bayeux`` known to Twisted.

The service module is named as a string, so that no other ``twistd`` command pays for
importing it.
"""

from twisted.application.service import ServiceMaker

txbayeux = ServiceMaker(
    "txbayeux",
    "txbayeux.tap",
    "Bayeux publish/subscribe for the clients of Faye and CometD.",
    "bayeux",
)
