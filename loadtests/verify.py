"""Is every answer where the policy says it should be? Answers are noted while they come, and judged when all are in.

An answer names its version, its reason and its epoch. The policy of that epoch is in the ledger, and `router.choose`,
the very function that the gateways ask, says where the request had to go: so an answer in the wrong place, or one from
an epoch that nobody published, shows. Noting costs a few bytes an answer, so that a client can hear millions of them.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from loadtests.steady import Answer
from router.choose import Facts, Reason, choose
from router.codec import policy_from_dict
from router.policy import Policy

_OK = 200
_MOST_TOLD = 10
_REASONS = tuple(Reason)
_NUMBER = {reason.value: number for number, reason in enumerate(_REASONS)}


class Noted(NamedTuple):
    """What one answer said."""

    number: int
    version: int
    reason: Reason
    epoch: int


@dataclass(slots=True)
class Notes:
    """What the answers said, in a few bytes each.

    Attributes:
        failed: how many were no 200.
        told: the first few of those, in words.
    """

    failed: int = 0
    told: list[str] = field(default_factory=list)
    _columns: tuple[array[int], array[int], array[int], array[int]] = field(
        default_factory=lambda: (array("Q"), array("Q"), array("B"), array("Q"))
    )

    def __len__(self) -> int:
        """How many have been noted, failed ones not among them."""
        return len(self._columns[0])

    def hear(self, answer: Answer) -> None:
        """Notes one answer."""
        headers = answer.headers
        if answer.status != _OK:
            self.failed += 1
            if len(self.told) < _MOST_TOLD:
                self.told.append(f"request {answer.number}: {answer.status} {answer.error or answer.body[:200]!r}")
            return
        said = (
            answer.number, int(headers["sluice-version"]), _NUMBER[headers["sluice-reason"]],
            int(headers["sluice-epoch"]),
        )  # fmt: skip
        for column, value in zip(self._columns, said, strict=True):
            column.append(value)

    def __iter__(self) -> Iterator[Noted]:
        """All that were noted."""
        for number, version, reason, epoch in zip(*self._columns, strict=True):
            yield Noted(number, version, _REASONS[reason], epoch)


class Published:
    """Which policy a model had at which epoch, as the ledger tells it.

    Args:
        model: whose policies.
        entries: of the ledger, in any order; those that changed no policy are passed over.
    """

    def __init__(self, model: str, entries: Iterable[Mapping[str, Any]]) -> None:
        policies: dict[int, Policy] = {}
        for entry in entries:
            facts = entry["facts"]
            if facts.get("model") == model and facts.get("policy") and facts.get("epoch"):
                policies[int(facts["epoch"])] = policy_from_dict(facts["policy"])
        self._epochs = sorted(policies)
        self._policies = [policies[epoch] for epoch in self._epochs]

    def at(self, epoch: int) -> Policy | None:
        """What was in force at that epoch; None before the first."""
        nth = bisect_right(self._epochs, epoch)
        return self._policies[nth - 1] if nth else None

    def __len__(self) -> int:
        """How many policies there were."""
        return len(self._epochs)


@dataclass(slots=True)
class Judged:
    """What became of the judgement.

    Attributes:
        right: answers where `choose` puts them.
        wrong: the others.
        fallbacks: answers that stable gave for a failed candidate; they are neither.
        by_version: right answers by version.
        epochs: how many epochs answers came from.
        told: the first few wrong ones, in words.
        strays: the numbers of the wrong ones.
    """

    right: int = 0
    wrong: int = 0
    fallbacks: int = 0
    by_version: Counter[int] = field(default_factory=Counter)
    epochs: int = 0
    told: list[str] = field(default_factory=list)
    strays: array[int] = field(default_factory=lambda: array("Q"))


def judge(notes: Iterable[Noted], published: Published, facts: Callable[[int], Facts]) -> Judged:
    """Every answer against `choose`.

    Args:
        notes: what the answers said.
        published: the policies by epoch.
        facts: what request number n said about itself; it must have named a unit, for a nonce is not known here.
    """
    judged = Judged()
    epochs = set()
    for one in notes:
        epochs.add(one.epoch)
        policy = published.at(one.epoch)
        if one.reason is Reason.FALLBACK:
            judged.fallbacks += 1
            continue
        choice = None if policy is None else choose(policy, facts(one.number))
        if choice is not None and (choice.version, choice.reason) == (one.version, one.reason):
            judged.right += 1
            judged.by_version[one.version] += 1
            continue
        judged.wrong += 1
        judged.strays.append(one.number)
        if len(judged.told) < _MOST_TOLD:
            due = "no policy" if choice is None else f"version {choice.version} ({choice.reason})"
            judged.told.append(
                f"request {one.number}: version {one.version} ({one.reason}) at epoch {one.epoch}, where {due} was due"
            )
    judged.epochs = len(epochs)
    return judged
