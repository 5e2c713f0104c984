"""What became of deliveries to webhooks, those of rollouts and those of drift."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from serving.metrics.figure import Facts, Figure, Kind, Row


def _over(facts: Facts) -> Iterator[Row]:
    if facts.deliveries is not None:
        for result, count in facts.deliveries._asdict().items():
            yield (result,), count


WEBHOOKS: Final = (
    Figure(
        "sluice_webhook_deliveries_total",
        Kind.COUNTER,
        ("result",),
        "Deliveries to webhooks, of rollouts and of drift, that came to this end since the store began: delivered, dead"
        " (given up: a dead letter), ended (nobody was left to tell), dropped (found no room in the queue).",
        _over,
    ),
)
"""In the order of the answer."""
