"""Extensions of the client that CometD's and Salesforce's servers support.

Our server's half of ack is built in: ``ServerOptions.acknowledge``.
"""

from __future__ import annotations

from txbayeux.extensions.ack import Ack
from txbayeux.extensions.replay import ALL, NEW, Replay
from txbayeux.extensions.timesync import TimeSync

__all__ = ["ALL", "NEW", "Ack", "Replay", "TimeSync"]
