"""Mutations of an input that keep most of its structure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from tests.fuzz.targets import MAX_INPUT, Target

__all__ = ["mutate"]

_MOST: Final = 4
"""Changes of one mutation."""


def mutate(
    data: bytes, target: Target, chance: random.Random, others: Sequence[bytes] = ()
) -> bytes:
    """Return a mutation of an input.

    :param others: inputs, parts of which it may get.
    """
    pieces = target.LEXEMES.findall(data)
    for _ in range(chance.randint(1, _MOST)):
        at = chance.randrange(len(pieces) + 1)
        end = min(len(pieces), at + chance.choice((1, 1, 1, 2, 5, 20)))
        kind = chance.randrange(8)
        if kind == 0:
            del pieces[at:end]
        elif kind == 1:
            pieces[at:at] = pieces[at:end] * chance.choice((1, 1, 3))
        elif kind == 2:
            pieces[at:end] = [_changed(b"".join(pieces[at:end]), chance)]
        elif kind == 3 and others:
            found = target.LEXEMES.findall(chance.choice(others))
            start = chance.randrange(len(found) + 1)
            pieces[at:end] = found[start : start + chance.choice((1, 5, 50))]
        elif kind == 4 and pieces:
            pieces[at:end] = [chance.choice(pieces)]
        else:
            pieces[at : at + chance.randrange(2)] = [chance.choice(target.TOKENS)]
    return b"".join(pieces)[:MAX_INPUT]


def _changed(text: bytes, chance: random.Random) -> bytes:
    """Return a text with one byte changed, added or removed."""
    octets = bytearray(text)
    at = chance.randrange(len(octets) + 1)
    octets[at : at + chance.randrange(2)] = chance.choice(
        (b"", chance.randbytes(1), chance.choice((b"\0", b"\r", b"\n", b" ", b"\xff")))
    )
    return bytes(octets)
