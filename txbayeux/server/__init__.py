"""The Bayeux protocol on the server, independent of HTTP and WebSocket."""

from txbayeux.server.local import LocalClient
from txbayeux.server.options import ServerOptions
from txbayeux.server.server import Server

__all__ = ["LocalClient", "Server", "ServerOptions"]
