"""What Redis knows of sessions, and what nodes want: docs/explanation/routing.md."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

_WANTS = re.compile(r"([0-9a-f]+):\d+:\d+ ")


@dataclass
class State:
    """The keys of the current epoch.

    ``interest`` has the nodes that want each channel, ``needed`` those that should.
    """

    nodes: set[str] = field(default_factory=set)
    sessions: dict[str, set[str]] = field(default_factory=dict)
    interest: dict[str, set[str]] = field(default_factory=dict)
    needed: dict[str, set[str]] = field(default_factory=dict)
    immortal: list[str] = field(default_factory=list)
    """The keys without a time to live."""
    keys: list[str] = field(default_factory=list)
    log: tuple[int, int] = (0, 0)
    """First and last position."""


def read_state(client: Redis) -> State:
    """Read them all in one transaction."""
    found: Any = client.eval(_READ, 0)
    epoch, keys, immortal, interest, nodes, sessions, log = found
    state = State(nodes={node.decode() for node in nodes})
    state.keys = [key.decode().partition(f"{epoch.decode()}:")[2] for key in keys]
    if log[0]:
        first, last = (int(entries[0][0].partition(b"-")[0]) for entries in log)
        state.log = first, last
    state.immortal = [key.decode() for key in immortal]
    for channel, value in zip(interest[::2], interest[1::2], strict=True):
        if wanting := set(_WANTS.findall(value.decode())):
            state.interest[channel.decode()] = wanting
    needed: defaultdict[str, set[str]] = defaultdict(set)
    for node in state.nodes:
        needed[node].add(node)
    for key, fields in sessions:
        hash_ = {
            name.decode(): value.decode()
            for name, value in zip(fields[::2], fields[1::2], strict=True)
        }
        channels = {name for name in hash_ if name.startswith("/")}
        state.sessions[key.decode().rpartition(":")[2]] = channels
        if hash_["owner"] in state.nodes:
            for channel in channels:
                needed[channel].add(hash_["owner"])
    state.needed = dict(needed)
    return state


_READ = """
local epoch = redis.call('GET', '{txbayeux}:epoch')
local prefix = '{txbayeux}:' .. epoch .. ':'
local keys, immortal, sessions = redis.call('KEYS', prefix .. '*'), {}, {}
for _, key in ipairs(keys) do
  if redis.call('PTTL', key) < 0 then immortal[#immortal + 1] = key end
  if string.find(key, ':session:', 1, true) then
    sessions[#sessions + 1] = {key, redis.call('HGETALL', key)}
  end
end
return {epoch, keys, immortal, redis.call('HGETALL', prefix .. 'interest'),
  redis.call('HKEYS', prefix .. 'nodes'), sessions,
  {redis.call('XRANGE', prefix .. 'log', '-', '+', 'COUNT', 1),
   redis.call('XREVRANGE', prefix .. 'log', '+', '-', 'COUNT', 1)}}
"""
