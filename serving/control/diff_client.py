"""The control API's path for what was found in the answers to copies, from the caller's side."""

from __future__ import annotations

from typing import Any, TypedDict, cast

from serving.control.client import ControlClient, path_part


class RateAnswer(TypedDict):
    """How often it happened, and what its rate may be."""

    events: int
    total: int
    rate: float | None
    lower: float
    upper: float


class OutputDiffAnswer(TypedDict):
    """One output."""

    output: str
    disagreement: RateAnswer
    kinds: dict[str, int]
    largest: float
    confused: list[dict[str, Any]]


class PairAnswer(TypedDict):
    """One pair whose answers differ."""

    request_id: str
    at: str
    epoch: int
    protocol: str
    badness: float
    segment: dict[str, str]
    outputs: dict[str, dict[str, Any]]
    inputs: dict[str, dict[str, Any]]
    stable: dict[str, dict[str, Any]]
    candidate: dict[str, dict[str, Any]]


class CandidateDiffAnswer(TypedDict):
    """What was found of one candidate's copies."""

    candidate: int
    stable: int
    epoch: int
    since: str
    at: str
    words: list[str]
    disagreement: RateAnswer
    noise: RateAnswer | None
    against_noise: dict[str, int]
    errors: dict[str, int]
    slower: dict[str, int]
    unread: int
    offered: int
    sent: int
    shed: dict[str, int]
    dropped: dict[str, int]
    shown: float | None
    representative: bool | None
    outputs: list[OutputDiffAnswer]
    segments: list[dict[str, Any]]
    worst: list[PairAnswer]


class DiffAnswer(TypedDict):
    """What was found in the answers to a rollout's copies."""

    id: str
    model: str
    candidates: list[CandidateDiffAnswer]


def diff_of(control: ControlClient, rollout_id: str, worst: int) -> DiffAnswer:
    """What was found in the answers to that rollout's copies.

    Args:
        control: the connection.
        rollout_id: which.
        worst: how many of the worst pairs of each candidate.
    """
    path = f"rollouts/{path_part(rollout_id)}/diff"
    return cast("DiffAnswer", control.call("GET", path, DiffAnswer, params=[("worst", str(worst))]))
