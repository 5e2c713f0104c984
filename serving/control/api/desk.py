"""What the paths about rollouts work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Request

from router.epoch import Head
from serving.control.captured_windows import CapturedWindows
from serving.control.feedback import Feedback
from serving.control.rollback_target import RollbackTarget
from serving.control.rolling.drift_episodes import Episodes
from serving.control.rolling.feed import Feed
from serving.control.rolling.kept import Answered, Claim
from serving.control.rolling.service import Rollouts
from serving.control.watched import Drift
from serving.control.webhooks import Webhooks
from serving.leases import GatewayLease


class Answers(Protocol):
    """Where answers to requests with a key of their own are kept."""

    async def claim_answer(self, name: str, digest: str) -> Claim | None:
        """What is known of that request; None where it is new, and is now being answered."""

    async def keep_answer(self, name: str, digest: str, answer: Answered) -> None:
        """Keeps what was answered for a day."""

    async def forget_claim(self, name: str) -> None:
        """Nothing was done, so that the request may be sent again."""


class Epochs(Protocol):
    """Which epochs there were, and who runs the last."""

    async def head(self) -> Head:
        """The current head."""

    async def lineage(self, epochs: Sequence[int]) -> Mapping[int, str]:
        """What is remembered of these epochs."""

    async def gateways(self) -> Sequence[GatewayLease]:
        """The gateways whose lease is alive."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Rollouts, and what is told of them.

    Attributes:
        rollouts: what operators ask of them.
        feed: what changes.
        answers: what was answered.
        epochs: which there were.
        feedback: what happened after requests; None where nobody may say.
        drift: how versions are watched; None where nobody knows.
        windows: rows of episodes of drift; None where none are kept.
        webhooks: deliveries; None where there are none.
        target: takes rollouts back for webhooks; None where none may ask.
        episodes: of drift, and what is done about it; None where nobody keeps them.
    """

    rollouts: Rollouts
    feed: Feed
    answers: Answers
    epochs: Epochs
    feedback: Feedback | None = None
    drift: Drift | None = None
    windows: CapturedWindows | None = field(default=None, kw_only=True)
    webhooks: Webhooks | None = field(default=None, kw_only=True)
    target: RollbackTarget | None = field(default=None, kw_only=True)
    episodes: Episodes | None = None


def desk_of(request: Request) -> Desk:
    """The application's."""
    desk: Desk = request.app.state.desk
    return desk


def _rollouts(request: Request) -> Rollouts:
    return desk_of(request).rollouts


TheDesk = Annotated[Desk, Depends(desk_of)]
TheRollouts = Annotated[Rollouts, Depends(_rollouts)]
