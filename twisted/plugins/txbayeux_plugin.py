"""Register ``twistd bayeux`` and ``twist bayeux`` with Twisted.

The module is named as a string, so that no other ``twistd`` command imports it.
"""

from twisted.application.service import ServiceMaker

txbayeux = ServiceMaker(
    "txbayeux",
    "txbayeux.tap",
    "Bayeux publish/subscribe for the clients of Faye and CometD.",
    "bayeux",
)
