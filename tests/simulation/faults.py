"""What can go wrong, how likely, and whether it does now.

Each kind is active in a quarter of the sessions and then fires with its own probability at each opportunity (BUGGIFY
of FoundationDB's simulation, Zhou et al., SIGMOD 2021). A batch of sessions in which a kind never fired proves nothing
about it, and fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

ACTIVE_SHARE = 0.25

KINDS = {
    # the process
    "crash before a request": 0.0015,
    "crash after a request": 0.0015,
    "crash before a disk operation": 0.0008,
    "crash after a disk operation": 0.0008,
    "killed between two minutes": 0.004,
    "killed as an entry is filled in part": 0.5,
    "killed while halted": 0.05,
    "starts on a full disk": 0.2,
    "stopped in order": 0.003,
    "SIGTERM": 0.001,
    # the way to the broker
    "no answer, nothing booked": 0.01,
    "no answer, but booked": 0.01,
    "too many requests": 0.005,
    "broker away for minutes": 0.001,
    "keys refused": 0.0006,
    # orders
    "duplicate id in disguise": 0.15,
    "order refused": 0.08,
    "taken for a wash trade": 0.08,
    "order rejected later": 0.06,
    "partial fill, rest later": 0.3,
    "partial fill, rest never": 0.15,
    "slow fill": 0.15,
    "target fills in part": 0.3,
    "stop fills in part": 0.2,
    "order not listed for a while": 0.1,
    "cancel meets a fill": 0.15,
    "cancel takes its time": 0.3,
    "stop refused": 0.3,
    "replacement refused": 0.2,
    # the account
    "positions empty once": 0.01,
    "positions lag": 0.2,
    "account blocked": 0.02,
    "account does not say whether it is blocked": 0.02,
    "account is nonsense": 0.02,
    "broker's clock says closed": 0.05,
    "broker closes early": 0.05,
    "broker's clock is off": 0.05,
    "order of an unknown state": 0.05,
    # a person
    "a person buys": 0.006,
    "a person sells ours": 0.006,
    "a person cancels a stop": 0.01,
    "a person halts": 0.003,
    # the market's bars
    "no bars": 0.005,
    "bar missing": 0.02,
    "bar late": 0.02,
    "bars twice": 0.02,
    "bars frozen": 0.004,
    "bar ten times too high": 0.003,
    "bar of an absurd price": 0.003,
    "no model": 0.005,
    "training fails": 0.5,
    "training breaks after the open": 0.5,
    # the disk
    "disk full": 0.0005,
    "disk read-only": 0.0005,
    "write fails": 0.001,
    "write falls short": 0.003,
    "fsync fails": 0.003,
    "rename fails": 0.015,
    # time
    "clock steps back": 0.003,
    "clock steps ahead": 0.003,
    "machine suspended": 0.003,
}


class Faults:
    """Decides whether a fault fires, from a random source of its own. While `calm`, none does.

    `rates` names kinds that are active whatever the seed says, each with a probability of its own.
    """

    def __init__(self, random: Random, rates: Mapping[str, float]) -> None:
        self.random = random
        self.active = {kind for kind in KINDS if random.random() < ACTIVE_SHARE} | rates.keys()
        self._rates = {**KINDS, **rates}
        self.fired: Counter[str] = Counter()
        self.calm = False
        self.count = 0

    def fires(self, kind: str) -> bool:
        if self.calm or kind not in self.active or self.random.random() >= self._rates[kind]:
            return False
        self.fired[kind] += 1
        self.count += 1
        return True

    def power_fails(self) -> bool:
        """Whether the machine goes down with a process that is killed."""
        return not self.calm and self.random.random() < 0.5
