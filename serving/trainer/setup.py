"""What a trainer is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Setup:
    """What it trains, on what, and how its versions come to traffic.

    Attributes:
        model: the one whose episodes it hears of.
        folder: where episodes and new versions lie; below one of the control room's `registry.sources`.
        training: an npz with the rows that the first version was trained on.
        held: an npz with rows that nothing is ever trained on.
        labels: lines of feedback, with what was true by request id.
        fewest: of the captured rows, so many must have labels.
        window_rows: of a window of the new version's baseline (`drift.window.rows`).
        hold: how long the rollout's first steps take.
        trial: how long both versions stand side by side at most, until it is shown which is better.
        patience_s: how long labels are waited for, seconds.
    """

    model: str
    folder: Path
    training: Path
    held: Path
    labels: Path
    fewest: int = 1_000
    window_rows: int = 500
    hold: str = "10m"
    trial: str = "1d"
    patience_s: float = 604_800.0


def rollout_of(setup: Setup, candidate: int, episode: str) -> dict[str, object]:
    """The document of the rollout: copies, then a tenth, then half, until feedback has shown which version is better.

    A retrained version is meant to answer otherwise than the old one, so that copies that differ are shown and weighed
    with nothing; copies that fail take it back. It is promoted when its answers are shown to be right more often than
    the old version's, to requests that were dealt by lot; where that is not shown within `trial`, it goes.

    Args:
        setup: how long it may take.
        candidate: the new version.
        episode: why.
    """
    guardrails: list[dict[str, object]] = [
        {"watches": "errors"},
        {"watches": "latency", "tolerated": 2},
        {"watches": "disagreements", "weight": 0},
        {"watches": "shadow_errors"},
        {"watches": "feedback", "metric": "correct", "effect": 0.02},
    ]
    return {
        "candidate": candidate,
        "shadow": {"sample": "100%", "for": setup.hold, "min_requests": 100},
        "canary": {"steps": ["10%"], "hold": setup.hold, "needs": "minima", "min_requests": 50},
        "ab_test": {
            "arms": {str(candidate): "50%"},
            "for": setup.trial,
            "decide": "first",
            "decide_by": {"metric": "correct"},
            "watch": setup.hold,
        },
        "judged_by": {"guardrails": guardrails},
        "why": f"retrained for the episode {episode}",
    }
