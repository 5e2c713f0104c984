"""What the API says of feedback, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from serving.control.feedback_client import ModelFeedbackAnswer, ResultsAnswer
from serving.rollout_standing import printable
from serving.rollout_verdicts import odds
from serving.tables import console, table

_BY_METRIC = ("metric", "version", "values", "mean", "difference to stable (95 %)", "better", "worse", "feedback alike")


def show_feedback(answer: ModelFeedbackAnswer) -> None:
    """What was said of a model's answers."""
    out = console()
    counted = ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in sorted(answer["counts"].items()))
    out.print(f"{answer['model']}: {counted or 'no feedback'}", soft_wrap=True)
    out.print(table("metrics", ("version", "metric", "values", "mean", "deviation"), _metrics(answer["versions"])))
    labels = list(_labels(answer["versions"]))
    if labels:
        out.print(table("labels", ("version", "predicted", "true", "requests"), labels))


def show_results(answer: ResultsAnswer) -> None:
    """What feedback says of a rollout, and what it would take to decide."""
    out = console()
    rows = [row for metric in answer["metrics"] for row in _results(metric)]
    out.print(table(f"{answer['model']}: {answer['id']}", _BY_METRIC, rows))
    for version, log10_e in answer["sample_ratio"].items():
        fits = "do not fit" if log10_e >= answer["sample_ratio_threshold"] else "fit"
        out.print(f"version {version}: the units that were dealt {fits} the shares", soft_wrap=True)
    for words in answer["words"]:
        out.print(printable(words), soft_wrap=True)
    if answer["not_first"] or answer["beyond"]:
        out.print(
            f"{answer['not_first']:,} values of units that had one before, and {answer['beyond']:,} of units beyond "
            "those that are remembered, are not compared",
            soft_wrap=True,
        )


def _metrics(versions: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for version, said in sorted(versions.items(), key=lambda one: int(one[0])):
        for metric, one in sorted(said["metrics"].items()):
            deviation = "" if one["deviation"] is None else f"{one['deviation']:.6g}"
            yield version, printable(metric), f"{one['count']:,}", f"{one['mean']:.6g}", deviation


def _labels(versions: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for version, said in sorted(versions.items(), key=lambda one: int(one[0])):
        for one in said["labels"]:
            yield version, printable(one["predicted"] or "?"), printable(one["label"]), f"{one['count']:,}"


def _results(metric: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    name = printable(metric["metric"]) + (" (decides)" if metric["decides"] else "")
    for arm in (metric["stable"], *metric["candidates"]):
        values, effect = arm["values"], arm["effect"]
        role = " (stable)" if arm is metric["stable"] else ""
        row = (name, f"{arm['version']}{role}", f"{values['count']:,}", f"{values['mean']:.6g}")
        yield (*row, "", "", "", "") if effect is None else (*row, *_effect(effect))


def _effect(effect: Mapping[str, Any]) -> tuple[str, ...]:
    bounds = "" if effect["lower"] is None else f" ({effect['lower']:.4g} to {effect['upper']:.4g})"
    needed = odds(effect["threshold"], ":1")
    return (
        f"{effect['difference']:.4g}{bounds}",
        f"{odds(effect['log10_better'], ':1')} of {needed}",
        f"{odds(effect['log10_worse'], ':1')} of {needed}",
        "yes" if effect["trusted"] else "NO",
    )
