"""Extensions that CometD's and Salesforce's servers, and CometD's clients, support.

All but ``ServerTimeSync`` are the client's.  Our server's half of ack is built in:
``ServerOptions.acknowledge``.
"""

from __future__ import annotations

from txbayeux.extensions.ack import Ack
from txbayeux.extensions.replay import ALL, NEW, Replay
from txbayeux.extensions.replay_file import ReplayFile
from txbayeux.extensions.timesync import ServerTimeSync, TimeSync

__all__ = [
    "ALL",
    "NEW",
    "Ack",
    "Replay",
    "ReplayFile",
    "ServerTimeSync",
    "TimeSync",
]
