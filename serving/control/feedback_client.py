"""The control API's paths for feedback, from the caller's side: what is sent in batches, and what is known."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypedDict, cast

from serving.control.client import ControlClient, path_part
from serving.errors import ControlError

MOST_ITEMS: Final = 1_000
MOST_BYTES: Final = 900_000
"""Of a batch, so that it is well under what the API reads."""

_TOO_OFTEN: Final = 429
_TRIES: Final = 10


class ItemAnswer(TypedDict):
    """What became of one item, by metric."""

    request_id: str
    became: dict[str, str]
    why: str | None


class FeedbackAnswer(TypedDict):
    """What became of a batch."""

    counts: dict[str, int]
    items: list[ItemAnswer]


class ModelFeedbackAnswer(TypedDict):
    """What was said of a model's answers, by version."""

    model: str
    counts: dict[str, int]
    versions: dict[str, Any]


class ResultsAnswer(TypedDict):
    """What feedback says of a rollout."""

    id: str
    model: str
    winner: int | None
    words: list[str]
    metrics: list[dict[str, Any]]
    not_first: int
    beyond: int
    sample_ratio: dict[str, float]
    sample_ratio_threshold: float
    values_per_s: float


def send(
    control: ControlClient, items: Iterable[Mapping[str, Any]], *, pause: Callable[[float], None] = time.sleep
) -> Iterator[FeedbackAnswer]:
    """Sends all of them, batch by batch; what became of each batch.

    A batch that came too fast is sent again a second later. What is sent again after a failure is counted once.

    Raises:
        ControlError: a batch was refused as a whole, or nobody answers.
    """
    for batch in _batches(items):
        yield _sent(control, batch, pause)


def feedback_of(control: ControlClient, model: str) -> ModelFeedbackAnswer:
    """What was said of a model's answers."""
    path = f"models/{path_part(model)}/feedback"
    return cast("ModelFeedbackAnswer", control.call("GET", path, ModelFeedbackAnswer))


def results_of(control: ControlClient, rollout_id: str) -> ResultsAnswer:
    """What feedback says of a rollout."""
    path = f"rollouts/{path_part(rollout_id)}/results"
    return cast("ResultsAnswer", control.call("GET", path, ResultsAnswer))


def _batches(items: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    batch: list[Mapping[str, Any]] = []
    size = 0
    for item in items:
        length = len(json.dumps(item)) + 1
        if batch and (len(batch) == MOST_ITEMS or size + length > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += length
    if batch:
        yield batch


def _sent(control: ControlClient, batch: list[Mapping[str, Any]], pause: Callable[[float], None]) -> FeedbackAnswer:
    for tried in range(_TRIES):
        try:
            return cast("FeedbackAnswer", control.call("POST", "feedback", FeedbackAnswer, json={"items": batch}))
        except ControlError as error:
            if error.status != _TOO_OFTEN or tried + 1 == _TRIES:
                raise
        pause(1.0)
    raise ControlError("the control API takes no more feedback just now", "send it again later; nothing counts twice")
