"""The process that ``twistd bayeux`` runs: engine, server, site, ports, pages, log."""

from txbayeux.service.service import BayeuxService, Configuration

__all__ = ["BayeuxService", "Configuration"]
