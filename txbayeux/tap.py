"""``twistd bayeux``: the service that the options of the command describe."""

from __future__ import annotations

import gc
from typing import Any, Final, cast

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString

from txbayeux.limits import Limits
from txbayeux.peer_limits import PeerLimits
from txbayeux.server import ServerOptions
from txbayeux.service.options import Options
from txbayeux.service.ports import BACKLOG
from txbayeux.service.service import BayeuxService, Configuration
from txbayeux.service.tls_files import check_parameters, unusable_file
from txbayeux.service.workers import ParentWatch, Workers
from txbayeux.signals import StopOnce

__all__ = ["Options", "makeService", "tune_garbage_collection"]

# The first threshold counts allocations less deallocations.  At 10,000, a collection of
# the youngest looked at 300,000 objects and took 0.1 s.
_THRESHOLDS: Final = (1_000, 4, 1_000)


def tune_garbage_collection() -> None:
    """Tune garbage-collection pauses; to be called once the service runs.

    Objects that exist by now are never looked at again, and full collections are rare:
    requests and deliveries leave no cycles.  While 10,000 sockets come up and idle, the
    longest pause is 20 ms instead of 450; a set-up costs 180 µs instead of 250.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def makeService(options: Options, reactor: Any = None) -> IService:
    """Return the service that the options describe.

    :param reactor: for tests; by default the installed one.
    :raises SystemExit: with a sentence, for an endpoint that cannot be used.
    """
    if reactor is not None:
        return _service(options, reactor)
    from twisted.internet import reactor as installed  # noqa: PLC0415

    service = _service(options, installed)
    cast(Any, installed).callWhenRunning(tune_garbage_collection)
    return service


def _service(options: Options, reactor: Any) -> IService:
    stop = StopOnce(reactor).stop
    configuration = _configuration(options)
    for endpoint in configuration.endpoints:
        _check_endpoint(reactor, "--listen", endpoint)
    if configuration.admin is not None:
        _check_endpoint(reactor, "--admin", configuration.admin)
    if options["workers"] > 1:
        return Workers(
            reactor,
            configuration,
            count=options["workers"],
            arguments=options.arguments,
            backlog=BACKLOG,
        )
    if options["end-with-input"]:
        ParentWatch(reactor, stop)
    return BayeuxService(
        reactor,
        configuration,
        extensions=options["extensions"],
        engine=options["engine"],
    )


def _configuration(options: Options) -> Configuration:
    endpoints = list(options["listen"])
    if options["port"] is not None:
        endpoints.insert(0, f"tcp:{options['port']}")
    return Configuration(
        endpoints=endpoints,
        adopted=options["adopt"],
        adopted_proxied=options["adopt-proxied"],
        admin=options["admin"],
        mount=options["mount"],
        origins=options["origins"],
        limits=Limits(
            request_bytes=options["max-request-bytes"],
            batch_messages=options["max-batch-messages"],
            request_objects=options["max-request-objects"],
            sessions=options["max-sessions"],
            session_subscriptions=options["max-session-subscriptions"],
            session_subscription_bytes=options["max-session-subscription-bytes"],
            queue_messages=options["max-queue-messages"],
            queue_bytes=options["max-queue-bytes"],
            queued_bytes=options["max-queued-bytes"],
            request_deliveries=options["max-request-deliveries"],
        ),
        peer_limits=_peer_limits(options),
        trusted_proxies=options["trusted-proxy"],
        session_timeout=options["session-timeout"],
        websocket_deflate=bool(options["websocket-deflate"]),
        page=not options["no-page"],
        verbose=bool(options["verbose"]),
        server=ServerOptions(
            timeout=options["timeout"],
            interval=options["interval"],
            publish_without_session=not options["require-session"],
            channel_names=options["channel-names"],
        ),
    )


def _peer_limits(options: Options) -> PeerLimits:
    return PeerLimits(
        connections=options["max-peer-connections"],
        sessions=options["max-peer-sessions"],
        handshakes=options["peer-handshakes"],
        requests=options["peer-requests"],
        received=options["peer-bytes"],
        publishes=options["peer-publishes"],
        deliveries=options["peer-deliveries"],
        session_messages=options["session-messages"],
        session_publishes=options["session-publishes"],
        session_published=options["session-bytes"],
        unlimited=(*PeerLimits().unlimited, *options["unlimited-peer"]),
    )


def _check_endpoint(reactor: Any, option: str, endpoint: str) -> None:
    """Check that an endpoint can be made of its description, keys and all.

    :raises SystemExit: with a sentence; Twisted would show a traceback.
    """
    try:
        serverFromString(reactor, endpoint)
        check_parameters(endpoint)
    except Exception as error:
        what = f"twistd bayeux: {option} {endpoint}: "
        what += unusable_file(endpoint) or str(error) or type(error).__name__
        if isinstance(error, ImportError):
            what += " (for TLS: pip install 'txbayeux[tls]')"
        if endpoint.startswith("systemd:"):
            what += " (has systemd passed such a socket?)"
        raise SystemExit(what) from error
