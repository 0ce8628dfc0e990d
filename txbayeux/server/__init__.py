"""The Bayeux protocol on plain objects: no HTTP, no WebSocket, no JSON."""

from txbayeux.server.local import LocalClient
from txbayeux.server.options import ServerOptions
from txbayeux.server.server import Server

__all__ = ["LocalClient", "Server", "ServerOptions"]
