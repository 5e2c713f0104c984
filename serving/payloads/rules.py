"""What is kept of which requests: the rules of a payload log, as plain values. Pure.

All errors are kept, all disagreements of shadows, and a share of the rest. Whether a request is in the share hangs on
its nonce alone, so that every arm, and every gateway, keeps the same requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Self

from xxhash import xxh3_64_intdigest

from router.policy import WHOLE
from serving.captured import Captured

FAILED: Final = frozenset({"server_error", "unavailable", "refused", "broken", "late"})
"""Ways for an attempt to end, of `serving.totals.OUTCOMES`, that are the server's failure and not the client's."""

_DAY_S: Final = 86_400.0


class Kept(StrEnum):
    """Why a request is kept; the first that holds."""

    ERROR = "error"
    """The version failed, or one that got a copy did."""
    DISAGREEMENT = "disagreement"
    """A copy was answered otherwise, by the rules of comparison."""
    SAMPLE = "sample"
    """It is in the share."""


@dataclass(frozen=True, slots=True)
class PayloadRules:
    """What a payload log keeps, where, and how much of it.

    Attributes:
        folder: absolute; made with mode 0700 where it is missing.
        share_ppm: of the requests that are neither errors nor disagreements, how many of a million are kept.
        max_bytes: that all files together may have; the oldest are removed for newer ones.
        file_bytes: after which a file is finished.
        file_s: after which a file is finished, seconds: what a process that is killed may lose.
        keep_s: after which a file is removed, seconds.
        redact: patterns (`*` is anything) of names whose values are not kept: of inputs, outputs and segments, alone
            or after the model's name and a colon.

    Raises:
        ValueError: one of them is none.
    """

    folder: Path
    share_ppm: int = 10_000
    max_bytes: int = 2**30
    file_bytes: int = 2**26
    file_s: float = 60.0
    keep_s: float = 30 * _DAY_S
    redact: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        object.__setattr__(self, "redact", tuple(self.redact))
        if not self.folder.is_absolute():
            raise ValueError(f"the payload log's folder is {str(self.folder)!r}: it must be absolute")
        if not 0 <= self.share_ppm <= WHOLE:
            raise ValueError(f"the payload log's share is {self.share_ppm!r}: it must be 0 to {WHOLE:,} ppm")
        if not 1 <= self.file_bytes <= self.max_bytes:
            raise ValueError("a file of the payload log may have at least one byte and at most those of all together")
        if not (self.file_s > 0 and self.keep_s > 0):
            raise ValueError("the payload log's times must be above 0 s")

    def to_json(self) -> str:
        """One line; `from_json` reads it."""
        return json.dumps({**asdict(self), "folder": str(self.folder)})

    @classmethod
    def from_json(cls, line: str) -> Self:
        """What `to_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        try:
            return cls(**json.loads(line))
        except TypeError as error:
            raise ValueError(f"these are no rules of a payload log: {error}") from error


def kept_because(captured: Captured, share_ppm: int, *, disagrees: bool) -> Kept | None:
    """Why it is kept; None where it is not.

    Args:
        captured: the request with its answers.
        share_ppm: of the rest, in parts per million.
        disagrees: whether a copy's answer differs, by the rules of comparison.
    """
    if any(answer.outcome in FAILED for answer in (captured.first, *captured.copies)):
        return Kept.ERROR
    if disagrees:
        return Kept.DISAGREEMENT
    return Kept.SAMPLE if in_share(captured.nonce, share_ppm) else None


def in_share(nonce: int, share_ppm: int) -> bool:
    """Whether a request with this nonce is in the share; a larger share holds every smaller one."""
    return xxh3_64_intdigest(b"payloads" + nonce.to_bytes(8, "big")) % WHOLE < share_ppm


def redacted(model: str, names: Iterable[str], patterns: Iterable[str], exact: Iterable[str] = ()) -> frozenset[str]:
    """Those of the names whose values are not kept.

    Args:
        model: whose inputs and outputs they are.
        names: of inputs, outputs or segments.
        patterns: as `PayloadRules.redact` has them.
        exact: further names, as `router.agreement.Comparison.redact` has them.
    """
    every, plain = tuple(patterns), frozenset(exact)
    return frozenset(
        name
        for name in names
        if name in plain or any(fnmatchcase(name, one) or fnmatchcase(f"{model}:{name}", one) for one in every)
    )
