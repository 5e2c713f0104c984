"""What clients saw while versions were flipped: every answer judged, latencies kept.

An answer is right if it is a 200, if the artifact that made it and the version that Triton serves it as are one, and if
that version was wanted at some moment between the sending of the request and its answer.
"""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import dataclass, field

from loadtests.steady import Answer

_MOST_TOLD = 10


@dataclass(slots=True)
class Observed:
    """All answers so far.

    Attributes:
        wanted: versions that may answer a request that is sent now.
        requests: how many have come to an end.
        failed: those without a 200.
        wrong: those that a version answered that it should not have, or an artifact that is not that version.
        told: the first few of both, in words.
        took_s: latency of each from the moment it was due, seconds.
    """

    wanted: frozenset[int]
    requests: int = 0
    failed: int = 0
    wrong: int = 0
    told: list[str] = field(default_factory=list)
    took_s: array[float] = field(default_factory=lambda: array("d"))
    _ended: dict[int, float] = field(default_factory=dict)

    def may_answer(self, versions: frozenset[int], now_s: float) -> None:
        """From this moment of the loop's clock on, these versions and no others."""
        self._ended.update(dict.fromkeys(self.wanted - versions, now_s))
        for version in versions:
            self._ended.pop(version, None)
        self.wanted = versions

    def hear(self, answer: Answer) -> None:
        """Judges one answer."""
        self.requests += 1
        self.took_s.append(answer.took_s)
        if answer.status != 200:  # noqa: PLR2004 - HTTP's word for yes
            self.failed += 1
            self._tell(f"request {answer.number}: {answer.status} {answer.error or answer.body.decode()[:200]}")
        elif mistake := self._judged(answer):
            self.wrong += 1
            self._tell(f"request {answer.number}: {mistake}")

    def quantile_s(self, share: float) -> float:
        """The latency that this share of the requests did not exceed, seconds."""
        ordered = sorted(self.took_s)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan

    def _judged(self, answer: Answer) -> str:
        """What is wrong with it; a body that is no answer of the model at all is as wrong as one of another version."""
        try:
            return self._mistake(answer)
        except (ValueError, KeyError, TypeError) as error:
            return f"no answer of the model: {error!r} in {answer.body[:100]!r}"

    def _mistake(self, answer: Answer) -> str:
        said = json.loads(answer.body)
        values = {tensor["name"]: tensor["data"] for tensor in said["outputs"]}
        named = int(said["model_version"])
        if values != {"made_as": [named], "served_as": [named]}:
            return f"version {named} answered, with {values}"
        if named not in self.wanted and self._ended.get(named, -math.inf) < answer.due_s:
            return f"version {named} answered, when only {sorted(self.wanted)} should have"
        return ""

    def _tell(self, words: str) -> None:
        if len(self.told) < _MOST_TOLD:
            self.told.append(words)
