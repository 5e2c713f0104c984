"""What the API says of drift, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from serving.control.drift_client import (
    BaselineAnswer,
    FindingAnswer,
    SeenAnswer,
    StatusAnswer,
)
from serving.drift_report import feature_words, segment_words
from serving.rollout_standing import printable
from serving.tables import console, moment, table

_BAR: Final = 24
_MOST_BARS: Final = 20
_MOST_FEATURES: Final = 5


def show_statuses(statuses: Sequence[StatusAnswer], baselines: Iterable[BaselineAnswer]) -> None:
    """How each version is watched, and those with a baseline at which nobody has looked yet."""
    out = console()
    watched = {(one["model"], one["version"]) for one in statuses}
    rows = [
        *map(_row, statuses),
        *(_waiting(one) for one in baselines if (one["model"], one["version"]) not in watched),
    ]
    if not rows:
        out.print("No version is watched: none has a baseline. Make one with `sluice drift baseline`.", soft_wrap=True)
        return
    names = ("model", "version", "drift", "windows", "rows", "evidence", "of", "moved", "how it stands")
    out.print(table("drift", names, sorted(rows, key=lambda row: (row[0], int(row[1])))))
    for model, samples in sorted({one["model"]: one["samples"] for one in statuses}.items()):
        if lost := _lost(samples):
            out.print(f"{printable(model)}: {lost}", soft_wrap=True)


def show_baseline(one: BaselineAnswer) -> None:
    """What a version is held against from now on."""
    already = ", as it was before: watching goes on" if one["again"] else ""
    console().print(
        f"{printable(one['model'])} version {one['version']} is held against {one['rows']:,} rows, "
        f"{one['size_bytes']:,} bytes, digest {one['digest']}{already}",
        soft_wrap=True,
    )


def show_findings(findings: Sequence[FindingAnswer]) -> None:
    """Findings at a glance."""
    if not findings:
        console().print("Nothing was found.")
        return
    rows = (
        (one["id"], moment(one["at"]), one["layer"], moment(one["since"]), printable(one["words"])) for one in findings
    )
    console().print(table("findings", ("id", "at", "layer", "since", "what"), rows))


def show_finding(one: FindingAnswer) -> None:
    """One finding: what, since when, where, and the features that moved with histograms before and after."""
    out = console()
    out.print(printable(one["words"]), soft_wrap=True)
    out.print(
        f"since {moment(one['since'])} UTC, {one['rows']:,} rows to {moment(one['last'])} UTC; {one['statistic']} "
        f"{one['value']:.4g} (calm {one['threshold']:.4g}), evidence {one['log_sum']:.2f} of {one['log_alarm']:.2f}",
        soft_wrap=True,
    )
    out.print(f"finding {one['id']}, episode {printable(one['episode'])}", soft_wrap=True)
    for broken in one["breaks"]:
        out.print(f"  {printable(broken['sentence'])}", soft_wrap=True)
    if one["segment"]:
        out.print(printable(segment_words(one["segment"])), soft_wrap=True)
    for feature in one["features"][:_MOST_FEATURES]:
        out.print(f"{printable(feature['name'])}: {feature_words(feature)}", soft_wrap=True)
        for line in _bars(feature["bars"]):
            out.print(f"  {line}", soft_wrap=True)


def show_seen(seen: SeenAnswer) -> None:
    """One version: how it stands, and its newest finding."""
    out = console()
    status = seen["status"]
    out.print(printable(status["sentence"] if status else "No sidecar has looked at it yet."), soft_wrap=True)
    if status is not None:
        out.print(table("layers", ("layer", "statistic", "value", "calm", "evidence", "alarm at", ""), _layers(status)))
        if status["strata"]:
            out.print(f"compared with {printable(status['strata'])}", soft_wrap=True)
        for words in status["encoders"]:
            out.print(f"encoded: {printable(words)}", soft_wrap=True)
    if seen["findings"]:
        show_finding(seen["findings"][0])
    else:
        out.print("Nothing was found.")


def line_of(one: FindingAnswer) -> str:
    """One finding on one line, as it comes."""
    return f"{moment(one['at'])} {one['id']} {printable(one['words'])}"


def _row(one: StatusAnswer) -> tuple[str, ...]:
    worst = _worst(one)
    drifts = f"since {moment(one['episode']['since'])}" if one["drifting"] and one["episode"] else ""
    evidence, of = (f"{worst['log_sum']:.1f}", f"{worst['log_alarm']:.1f}") if worst else ("", "")
    moved = ", ".join(printable(name) for name in worst["features"][:2]) if worst and one["drifting"] else ""
    figures = (drifts, f"{one['windows']:,}", f"{one['rows']:,}", evidence, of, moved)
    return (printable(one["model"]), str(one["version"]), *figures, printable(one["sentence"]))


def _waiting(one: BaselineAnswer) -> tuple[str, ...]:
    return (printable(one["model"]), str(one["version"]), "", "0", "0", "", "", "", "No sidecar has looked at it yet.")


def _worst(one: StatusAnswer) -> Mapping[str, Any] | None:
    """The layer with the most evidence."""
    return max((layer for layer in one["layers"] if not layer["waiting"]), key=_log_sum, default=None)


def _log_sum(layer: Mapping[str, Any]) -> float:
    return float(layer["log_sum"] or 0.0)


def _layers(status: StatusAnswer) -> Iterator[tuple[str, ...]]:
    for one in status["layers"]:
        if one["waiting"]:
            yield one["layer"], one["statistic"], "", "", "", "", printable(one["waiting"])
        else:
            value, calm = f"{one['value']:.4g}", f"{one['threshold']:.4g}"
            moved = ", ".join(printable(name) for name in one["features"][:3])
            yield one["layer"], one["statistic"], value, calm, f"{one['log_sum']:.2f}", f"{one['log_alarm']:.2f}", moved


def _lost(samples: Mapping[str, int]) -> str:
    """What of the samples nobody looked at, in words; empty where there is nothing."""
    said = (
        (samples["dropped"], "samples dropped by gateways"),
        (samples["lost"], "rows lost before they were read"),
        (samples["unreadable"], "batches unreadable"),
        (samples["pending"], "batches pending"),
    )
    return ", ".join(f"{count:,} {words}" for count, words in said if count)


def _bars(bars: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Before and after beside each other, a line for each interval or level."""
    most = max((max(bar["before"], bar["after"]) for bar in bars), default=0.0) or 1.0
    for bar in bars[:_MOST_BARS]:
        name = printable(bar["name"] or "all other levels")[:_BAR]
        before, after = ("#" * round(_BAR * bar[side] / most) for side in ("before", "after"))
        yield f"{name:>{_BAR}}  {bar['before']:>6.1%} {before:<{_BAR}} {bar['after']:>6.1%} {after}"
    if len(bars) > _MOST_BARS:
        yield f"{'':>{_BAR}}  and {len(bars) - _MOST_BARS} more"
