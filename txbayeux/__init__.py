"""Bayeux publish/subscribe for Twisted.

These are the names that applications use.  Each is imported when it is first used:
a program that only checks channel names does not load Autobahn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from txbayeux.adapter.origins import Origins
    from txbayeux.adapter.resource import BayeuxResource
    from txbayeux.adapter.site import BayeuxSite
    from txbayeux.bayeux import Bayeux
    from txbayeux.client import Client, Subscription
    from txbayeux.engine.memory import MemoryEngine
    from txbayeux.errors import BayeuxError
    from txbayeux.extension import Extension
    from txbayeux.limits import Limits
    from txbayeux.message import Message
    from txbayeux.peer_limits import PeerLimits
    from txbayeux.rates import Rate
    from txbayeux.server import Server, ServerOptions

__all__ = [
    "Bayeux",
    "BayeuxError",
    "BayeuxResource",
    "BayeuxSite",
    "Client",
    "Extension",
    "Limits",
    "MemoryEngine",
    "Message",
    "Origins",
    "PeerLimits",
    "Rate",
    "Server",
    "ServerOptions",
    "Subscription",
]

__version__ = "0.1.0"

_HOMES: Final = {
    "Bayeux": "bayeux",
    "BayeuxError": "errors",
    "BayeuxResource": "adapter.resource",
    "BayeuxSite": "adapter.site",
    "Client": "client",
    "Extension": "extension",
    "Limits": "limits",
    "MemoryEngine": "engine.memory",
    "Message": "message",
    "Origins": "adapter.origins",
    "PeerLimits": "peer_limits",
    "Rate": "rates",
    "Server": "server",
    "ServerOptions": "server",
    "Subscription": "client",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
